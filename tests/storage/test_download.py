"""Downloads from a real S3 server."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tempo_runtime import Model, StorageError, download, upload
from tests.helpers.artifacts import answer, contents
from tests.storage.conftest import Save
from tests.storage.s3 import S3, put


def test_an_artifact_comes_as_it_was_and_runs(s3: S3, uri: str, save: Save, tmp_path: Path) -> None:
    folder = save("there", weights=b"0" * 100_000)
    upload(folder, uri=uri)
    done = download(uri, str(tmp_path / "new" / "got"))
    assert contents(tmp_path / "new" / "got") == contents(folder)
    assert set(done.sent) == set(contents(folder))
    assert answer(tmp_path / "new" / "got") == "there"


def test_a_model_comes_from_its_uri_to_its_folder(s3: S3, uri: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.joblib").write_bytes(b"model")
    upload(str(tmp_path / "model"), uri=uri)
    download(Model("forest", local_folder=str(tmp_path / "got"), uri=uri))
    assert contents(tmp_path / "got") == {"model.joblib": b"model"}


def test_the_new_one_takes_the_place_of_the_old_and_leaves_other_files(
    s3: S3, uri: str, save: Save, tmp_path: Path
) -> None:
    old = save("old", "old", gone=b"gone", kept=b"kept")
    new = save("new", "new", kept=b"kept")
    upload(new, uri=uri)
    (old / "notes").write_bytes(b"mine")
    done = download(uri, str(old))
    assert answer(old) == "new"
    assert contents(old) == {**contents(new), "notes": b"mine"}
    assert done.removed == ("gone",)
    assert "kept" not in done.sent


def test_files_that_are_already_here_are_not_fetched_again(
    s3: S3, uri: str, save: Save, tmp_path: Path
) -> None:
    upload(save("there"), uri=uri)
    download(uri, str(tmp_path / "got"))
    before = contents(tmp_path / "got")
    assert download(uri, str(tmp_path / "got")).sent == ()
    assert contents(tmp_path / "got") == before


def test_a_damaged_artifact_is_refused_and_the_old_one_stays(s3: S3, uri: str, save: Save) -> None:
    folder = save("there", weights=b"0" * 1000)
    upload(folder, uri=uri)
    (folder / "weights").write_bytes(b"1" * 1000)
    put(folder, uri)
    old = save("old", "old")
    before = contents(old)
    with pytest.raises(
        StorageError, match=r"is not a complete artifact .*weights.*upload it again"
    ):
        download(uri, str(old))
    assert contents(old) == before


def test_an_artifact_without_the_digest_in_its_uri_is_refused_and_the_old_one_stays(
    s3: S3, uri: str, save: Save, tmp_path: Path
) -> None:
    folder = save("one")
    done = upload(folder, uri=uri, digest=True)
    download(done.uri, str(tmp_path / "got"))
    save("two")
    put(folder, done.uri)
    with pytest.raises(StorageError, match=r"has the digest .*, not the one in its URI"):
        download(done.uri, str(tmp_path / "got"))
    assert answer(tmp_path / "got") == "one"
    (tmp_path / "other").mkdir()
    (tmp_path / "other/model.joblib").write_bytes(b"model")
    named = done.uri.replace("/x@", "/other@")
    put(tmp_path / "other", named)
    with pytest.raises(StorageError, match=r"its URI has a digest, but it has no tempo\.json"):
        download(named, str(tmp_path / "got"))
    assert answer(tmp_path / "got") == "one"


def test_an_empty_uri_is_reported_and_leaves_nothing(s3: S3, uri: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"there is nothing at .*correct the uri"):
        download(uri, str(tmp_path / "got"))
    with pytest.raises(StorageError, match="there is nothing at file:///no/such: "):
        download("file:///no/such", str(tmp_path / "got"))
    assert not (tmp_path / "got").exists()


def test_a_folder_below_a_file_is_reported(s3: S3, uri: str, save: Save, tmp_path: Path) -> None:
    upload(save("there"), uri=uri)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"file.*: (Not a directory|File exists)"):
        download(uri, str(tmp_path / "file" / "got"))


def test_a_model_of_another_kind_takes_the_place_of_an_artifact(
    s3: S3, uri: str, save: Save, tmp_path: Path
) -> None:
    (tmp_path / "forest").mkdir()
    (tmp_path / "forest" / "model.joblib").write_bytes(b"model")
    artifact = save("old")
    upload(artifact, uri=uri)
    upload(tmp_path / "forest", uri=uri)
    assert contents(s3.folder(uri)) == {"model.joblib": b"model"}
    download(uri, str(artifact))
    assert contents(artifact) == {"model.joblib": b"model"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    if subprocess.run([mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_is_too_small_is_reported_first_and_the_old_artifact_stays(
    s3: S3, uri: str, save: Save, small_disk: Path
) -> None:
    old = save("old", "disk/artifact")
    before = contents(old)
    upload(save("new", weights=os.urandom(3_000_000)), uri=uri)
    with pytest.raises(StorageError, match=r"it needs 3,0.*bytes, but .* left; make room"):
        download(uri, str(old))
    assert contents(old) == before


def test_a_disk_that_fills_up_is_reported_and_the_old_artifact_stays(
    s3: S3, uri: str, save: Save, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = save("old", "disk/artifact")
    upload(save("new", weights=os.urandom(3_000_000)), uri=uri)
    plenty = shutil.disk_usage("/")._replace(free=1 << 40)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: plenty)
    with pytest.raises(StorageError, match=r"no space is left .*make room, and try again"):
        download(uri, str(old))
    assert answer(old) == "old"
