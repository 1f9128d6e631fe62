"""Records of deployments: who may write them, and what a full disk leaves."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tempo_runtime._util import private_folders
from tempo_runtime.deploy.local import records
from tempo_runtime.deploy.local.records import Process, Record
from tempo_runtime.errors import DeploymentFailed


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return records.home()


@contextmanager
def full_disk() -> Iterator[None]:
    """Lets no file grow beyond 100 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def made(name: str = "alone") -> Record:
    return records.create(name, Process.of(os.getpid()), "http")


def test_a_full_disk_is_reported_and_leaves_no_new_record(home: Path) -> None:
    with (
        full_disk(),
        pytest.raises(DeploymentFailed, match=r"too large; .*XDG_STATE_HOME") as raised,
    ):
        made()
    assert "\n" not in str(raised.value)
    assert list(home.iterdir()) == []


def test_a_full_disk_leaves_the_old_record_as_it_was(home: Path) -> None:
    record = made()
    with full_disk(), pytest.raises(DeploymentFailed):
        replace(record, created="x" * 1000).write()
    assert os.listdir(record.folder) == ["deployment.json"]
    assert list(records.list_records()) == [record]


def test_folders_that_others_can_read_are_closed_to_them(home: Path) -> None:
    home.mkdir(parents=True)
    for folder in (home, home.parent):
        folder.chmod(0o777)
    made()
    assert [oct(each.stat().st_mode & 0o777) for each in (home, home.parent)] == ["0o700"] * 2


@pytest.mark.parametrize("level", [0, 1], ids=["deployments", "tempo-runtime"])
@pytest.mark.parametrize("act", ["deploy", "list"])
def test_a_folder_of_records_that_is_a_link_is_refused(
    home: Path, tmp_path: Path, level: int, act: str
) -> None:
    linked = [home, home.parent][level]
    (tmp_path / "elsewhere" / "deployments").mkdir(parents=True)
    linked.parent.mkdir(exist_ok=True)
    linked.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DeploymentFailed, match=f"{linked}: it is a link; .*XDG_STATE_HOME"):
        made() if act == "deploy" else list(records.list_records())


@pytest.mark.parametrize("act", ["deploy", "list"])
def test_a_folder_of_records_of_another_user_is_refused(
    home: Path, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir(parents=True)
    own = os.geteuid()
    monkeypatch.setattr(private_folders.os, "geteuid", lambda: own + 1)
    with pytest.raises(DeploymentFailed, match="it belongs to another user"):
        made() if act == "deploy" else list(records.list_records())


@pytest.mark.parametrize("planted", ["folder", "file"])
def test_a_record_that_is_a_link_is_not_believed(home: Path, tmp_path: Path, planted: str) -> None:
    record = made()
    elsewhere = tmp_path / "elsewhere"
    if planted == "folder":
        Path(record.folder).rename(elsewhere)
        Path(record.folder).symlink_to(elsewhere)
    else:
        Path(record.folder, "deployment.json").rename(elsewhere)
        Path(record.folder, "deployment.json").symlink_to(elsewhere)
    assert list(records.list_records()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
@pytest.mark.parametrize("planted", ["folder", "file"])
def test_a_record_of_another_user_is_not_believed(home: Path, planted: str) -> None:
    """As one that was put there while the folder was open to others."""
    record = made()
    assert json.loads(Path(record.folder, "deployment.json").read_text())["name"] == "alone"
    os.chown(
        record.folder if planted == "folder" else f"{record.folder}/deployment.json", 12345, -1
    )
    assert list(records.list_records()) == []
