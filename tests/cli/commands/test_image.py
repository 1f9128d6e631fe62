"""`tempo-runtime image build`, without an engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tempo_runtime.deploy.local import image_build
from tests.helpers.command_line import run


def test_the_line_that_runs_an_image_publishes_it_to_this_machine_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    baked = image_build.BuiltImage("shop:1", "sha256:0", 10, "base:1")
    monkeypatch.setattr(image_build, "build_image", lambda *_: baked)
    code, printed, _ = run("image", "build", tmp_path)
    assert code == 0
    assert "docker run --rm -p 127.0.0.1:8080:8080 shop:1" in printed
