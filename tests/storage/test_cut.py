"""Transfers that are cut in the middle: the old artifact stays whole, and the next one goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tempo_runtime import StorageError, download, upload
from tempo_runtime.storage import rclone
from tests.helpers.artifacts import answer, contents
from tests.storage.conftest import Save
from tests.storage.s3 import S3, Proxy, put, until

SMALL, LARGE = b"s" * 50_000, 4_000_000
HALF = LARGE // 2
# SIGINT is ignored where tests run in the background.
MAIN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
MAIN += "from tempo_runtime.cli import main; main()"


@pytest.fixture
def behind(s3: S3, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Proxy:
    """The server, as it is reached through the proxy: one file after the other, by their names."""
    monkeypatch.setenv("RCLONE_CONFIG_S3_ENDPOINT", proxy.endpoint)
    monkeypatch.setenv("RCLONE_TRANSFERS", "1")
    monkeypatch.setenv("RCLONE_LOW_LEVEL_RETRIES", "1")
    return proxy


def test_an_interrupted_upload_leaves_the_old_artifact_and_resumes(
    behind: Proxy, s3: S3, uri: str, save: Save
) -> None:
    folder = save("old", a=b"old", z=b"old")
    upload(folder, uri=uri)
    save("new", a=SMALL, z=os.urandom(LARGE))
    behind.cut(HALF, up=True)
    with pytest.raises(StorageError, match=r"server cannot be reached.*the transfer resumes"):
        upload(folder, uri=uri)
    assert answer(s3.folder(uri)) == "old"
    behind.pass_on()
    assert set(upload(folder, uri=uri).sent) == {"z", "tempo.json"}
    assert answer(s3.folder(uri)) == "new"
    assert contents(s3.folder(uri)) == contents(folder)


def test_an_interrupted_first_upload_leaves_no_artifact_and_resumes(
    behind: Proxy, s3: S3, uri: str, save: Save
) -> None:
    folder = save("new", a=SMALL, z=os.urandom(LARGE))
    behind.cut(HALF, up=True)
    with pytest.raises(StorageError):
        upload(folder, uri=uri)
    assert not (s3.folder(uri) / "tempo.json").exists()
    behind.pass_on()
    assert set(upload(folder, uri=uri).sent) == {"z", "tempo.json"}
    assert answer(s3.folder(uri)) == "new"


def test_an_interrupted_download_leaves_the_old_artifact_and_resumes(
    behind: Proxy, uri: str, save: Save
) -> None:
    new = save("new", a=SMALL, z=os.urandom(LARGE))
    upload(new, uri=uri)
    old = save("old", "old", a=b"old")
    behind.cut(HALF, up=False)
    with pytest.raises(StorageError, match="the transfer resumes"):
        download(uri, str(old))
    assert answer(old) == "old"
    behind.pass_on()
    assert download(uri, str(old)).sent == ("z",)
    assert answer(old) == "new"
    assert contents(old) == contents(new)


@pytest.mark.parametrize("up", [True, False])
def test_a_connection_that_breaks_once_is_restored(
    up: bool, behind: Proxy, uri: str, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save("new", large=os.urandom(LARGE))
    monkeypatch.delenv("RCLONE_LOW_LEVEL_RETRIES")
    behind.break_once(HALF, up=up)
    upload(folder, uri=uri)
    download(uri, str(tmp_path / "got"))
    assert behind.reached.is_set()
    assert contents(tmp_path / "got") == contents(folder)


class Killed(BaseException):
    """As SIGKILL does it: nothing after it is run."""


KillBefore = Callable[[Any], None]


@pytest.fixture
def kill_before(monkeypatch: pytest.MonkeyPatch) -> KillBefore:
    """Ends the process, as far as the package sees, before that call of rclone, or that command."""
    run = rclone.run

    def at(limit: int | str) -> None:
        calls = 0

        def counted(*arguments: str, **options: Any) -> bytes:
            nonlocal calls
            calls += 1
            if limit in (calls, arguments[0]):
                raise Killed
            return run(*arguments, **options)

        monkeypatch.setattr(rclone, "run", counted)

    return at


def test_an_upload_that_is_killed_at_any_step_leaves_the_old_artifact_or_the_new_one(
    tmp_path: Path,
    save: Save,
    kill_before: KillBefore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A folder as a remote, so that each step begins with the same state.
    monkeypatch.setenv("RCLONE_CONFIG_DISK_TYPE", "alias")
    monkeypatch.setenv("RCLONE_CONFIG_DISK_REMOTE", str(tmp_path / "disk"))
    folder = save("old", gone=b"gone", changed=b"old")
    upload(folder, uri="disk://old")
    (folder / "gone").unlink()
    save("new", changed=b"new", come=b"come")
    states: list[set[str]] = []
    finished = False
    while not finished:
        place = tmp_path / "disk" / f"{len(states)}"
        shutil.copytree(tmp_path / "disk" / "old", place)
        kill_before(len(states) + 1)
        try:
            upload(folder, uri=f"disk://{place.name}")
            finished = True
        except Killed:
            answer(place)
        states.append(set(json.loads((place / "tempo.json").read_bytes())["files"]))
        kill_before(0)
        upload(folder, uri=f"disk://{place.name}")
        # One that was killed before it removed what is gone leaves it; nothing names it any more.
        assert contents(folder).items() <= contents(place).items()
        assert contents(place).keys() - contents(folder).keys() <= {"gone"}
    commits = [state == states[-1] for state in states].index(True)
    assert 1 < commits < len(states) - 1


@pytest.fixture
def half(save: Save, tmp_path: Path) -> Path:
    """As a commit leaves it between its tempo.json and the last file in its place; `saved` is whole."""
    folder = save("old", one=b"old", two=b"old")
    place = Path(shutil.copytree(folder, tmp_path / "half"))
    save("new", one=b"new", two=b"new")
    (place / ".tempo-next").mkdir()
    for path in ("pipeline.dill", "two"):
        shutil.copy(folder / path, place / ".tempo-next" / path)
    for path in ("one", "tempo.json"):
        shutil.copy(folder / path, place / path)
    assert answer(place) == "new"
    return place


def test_a_half_moved_upload_is_downloaded_completely(half: Path, tmp_path: Path) -> None:
    download(f"file://{half}", str(tmp_path / "got"))
    assert contents(tmp_path / "got") == contents(tmp_path / "saved")


def test_a_half_moved_upload_is_finished_by_the_next(
    half: Path, s3: S3, uri: str, tmp_path: Path
) -> None:
    put(half, uri)
    assert upload(tmp_path / "saved", uri=uri).sent == ()
    assert contents(s3.folder(uri)) == contents(tmp_path / "saved")


def test_a_half_moved_upload_survives_an_interrupted_next_one(
    half: Path, s3: S3, uri: str, save: Save, kill_before: KillBefore
) -> None:
    put(half, uri)
    folder = save("newest", two=b"newest")
    kill_before("copyto")  # of tempo.json, when all else has been sent
    with pytest.raises(Killed):
        upload(folder, uri=uri)
    assert answer(s3.folder(uri)) == "new"


def test_a_half_moved_download_is_finished_by_the_next(
    half: Path, save: Save, tmp_path: Path
) -> None:
    # The download gets the content at the places of the files that were not moved.
    save("old", one=b"old", two=b"old")
    download(f"file://{tmp_path / 'saved'}", str(half))
    assert contents(half) == contents(tmp_path / "saved")


def start_upload(folder: Path, uri: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", MAIN, "upload", str(folder), uri]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def rclones(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


@pytest.mark.parametrize(
    ("sent", "code", "told"), [(signal.SIGINT, 130, "Stopped.\n"), (signal.SIGKILL, -9, "")]
)
def test_no_rclone_outlives_its_command(
    sent: signal.Signals, code: int, told: str, behind: Proxy, uri: str, save: Save
) -> None:
    folder = save("new", z=os.urandom(LARGE))
    behind.hold(HALF, up=True)
    with start_upload(folder, uri) as process:
        until(behind.reached.is_set, "nothing was sent")
        left = rclones(process)
        assert left
        process.send_signal(sent)
        _, printed = process.communicate()
    assert (process.returncode, printed) == (code, told)
    psutil.wait_procs(left, timeout=60)
    assert not [each for each in left if each.is_running()]


def test_a_killed_rclone_is_reported(behind: Proxy, uri: str, save: Save) -> None:
    folder = save("new", z=os.urandom(LARGE))
    behind.hold(HALF, up=True)
    with start_upload(folder, uri) as process:
        until(behind.reached.is_set, "nothing was sent")
        for each in rclones(process):
            each.kill()
        _, printed = process.communicate()
    assert process.returncode == 1
    assert printed == (
        f"Error: {uri}: rclone was stopped by signal 9; try again, and the transfer resumes\n"
    )
