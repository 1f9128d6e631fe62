"""A cache for tests that make environments."""

from __future__ import annotations

from pathlib import Path

import pytest

from tempo_runtime.artifact.environment import cache


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"
