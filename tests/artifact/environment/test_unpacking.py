"""Whether a process is in the environment that an artifact is meant for."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from tempo_runtime.artifact.description import (
    Description,
    EnvironmentDescription,
    SignatureDescription,
)
from tempo_runtime.artifact.environment import LOCK
from tempo_runtime.artifact.environment.unpacking import foreign, is_active, settle
from tempo_runtime.errors import EnvironmentFailed

WITHOUT = Description(
    format_version=1,
    tempo_runtime="0.1.0",
    python="3.11",
    name="p",
    signature=SignatureDescription(inputs=[], outputs=[], streams=False),
    children={},
    packages={"numpy": "1"},
    files={},
)
DESCRIPTION = WITHOUT.model_copy(
    update={"environment": EnvironmentDescription(maker="venv", python="3.11")}
)


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An artifact, with a process that is in its environment."""
    prefix, folder = tmp_path / "prefix", tmp_path / "artifact"
    for place in (prefix, folder):
        place.mkdir()
        (place / LOCK).write_text("the same")
    monkeypatch.setattr(sys, "prefix", str(prefix))
    return folder


def test_a_process_with_the_same_lock_is_in_it(inside: Path) -> None:
    assert is_active(str(inside))
    (inside / LOCK).write_text("another")
    assert not is_active(str(inside))


def test_in_it_other_environments_packages_are_taken_from_the_path(
    inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = f"{sys.prefix}/lib/python3/site-packages"
    kept = [own, "/usr/lib/python3", "/my/code", ""]
    monkeypatch.setattr(sys, "path", [*kept, "/server/lib/python3/site-packages"])
    settle(str(inside), DESCRIPTION, "environment.tar.gz")
    assert sys.path == kept


def test_out_of_it_and_with_its_tarball_set_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailed, match="Set MLSERVER_PARALLEL_WORKERS=1"):
        settle(str(tmp_path), DESCRIPTION, "/models/environment.tar.gz")


def test_without_the_setting_any_environment_will_do(tmp_path: Path) -> None:
    settle(str(tmp_path), DESCRIPTION, None)


def test_packages_missing_from_another_tarball_are_named(
    inside: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (inside / LOCK).unlink()  # packed by hand
    with caplog.at_level(logging.WARNING):
        settle(str(inside), WITHOUT, "/models/mine.tar.gz")
    assert "lacks mlserver, numpy" in caplog.text


def test_packages_of_this_environment_are_not_foreign() -> None:
    assert foreign(["numpy", "mlserver", "no-such-package"]) == []
