"""Deployments of tests, of which nothing is to be left."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tempo_runtime import LocalOptions
from tests.deploy.studio import Studio
from tests.leftovers import left

MARK = "TEMPO_TEST_DEPLOYMENT"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where deployments are written down, for this test only."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state/tempo-runtime/deployments"


@pytest.fixture
def options(state: Path) -> Iterator[LocalOptions]:
    """Options of deployments whose processes are known; none is left when the test has ended."""
    mark = uuid.uuid4().hex
    yield LocalOptions(env={MARK: mark}, timeout=120)
    assert not left(MARK, mark)
    assert not state.exists() or not list(state.iterdir())


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """Pipelines to deploy."""
    (tmp_path / "studio").mkdir()
    return Studio(tmp_path / "studio")


def eventually(holds: Callable[[], bool], seconds: float) -> bool:
    """Waits until something holds; False if it does not within so many seconds."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
