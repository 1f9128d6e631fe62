"""Uploads to a real S3 server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tempo_runtime
from tempo_runtime import (
    ArtifactDamaged,
    ArtifactError,
    Model,
    ModelFramework,
    StorageError,
    upload,
)
from tempo_runtime.artifact.store import inspect
from tests.helpers.artifacts import answer, contents
from tests.storage.conftest import Save
from tests.storage.s3 import S3


def test_an_artifact_arrives_as_it_is(s3: S3, uri: str, save: Save) -> None:
    folder = save("here", weights=b"0" * 100_000)
    done = upload(str(folder), uri=uri)
    assert contents(s3.folder(uri)) == contents(folder)
    assert (done.uri, done.removed) == (uri, ())
    assert done.size == sum(map(len, contents(folder).values()))
    assert answer(s3.folder(uri)) == "here"


def test_a_folder_goes_to_the_uri_it_was_saved_with(s3: S3, uri: str, save: Save) -> None:
    upload(save("here", uri=uri))
    assert answer(s3.folder(uri)) == "here"


def test_a_model_goes_from_its_folder_to_its_uri(s3: S3, uri: str, tmp_path: Path) -> None:
    (tmp_path / "model.joblib").write_bytes(b"model")
    forest = Model("forest", platform=ModelFramework.SKLearn, local_folder=str(tmp_path), uri=uri)
    upload(forest)
    assert contents(s3.folder(uri)) == {"model.joblib": b"model"}


def test_files_that_are_already_there_are_not_sent_again(s3: S3, uri: str, save: Save) -> None:
    folder = save("here", weights=b"0" * 1000)
    upload(folder, uri=uri)
    assert upload(folder, uri=uri).sent == ()
    save("there", weights=b"0" * 1000)
    assert set(upload(folder, uri=uri).sent) == {"pipeline.dill", "tempo.json"}
    assert answer(s3.folder(uri)) == "there"


def test_a_file_that_is_no_longer_part_of_it_is_removed(s3: S3, uri: str, save: Save) -> None:
    folder = save("here", old=b"old")
    upload(folder, uri=uri)
    (folder / "old").unlink()
    save("here", new=b"new")
    assert upload(folder, uri=uri).removed == ("old",)
    assert contents(s3.folder(uri)) == contents(folder)


def test_files_that_were_never_part_of_it_stay(
    s3: S3, uri: str, save: Save, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.joblib").write_bytes(b"other")
    upload(tmp_path / "other", uri=f"{uri}/other")
    folder = save("here")
    upload(folder, uri=uri)
    save("there")
    upload(folder, uri=uri)
    assert contents(s3.folder(uri) / "other") == {"model.joblib": b"other"}


def test_hidden_files_and_bytecode_stay_behind(s3: S3, uri: str, tmp_path: Path) -> None:
    for path in (".env", "model.joblib", "__pycache__/a.pyc", ".git/config"):
        place = tmp_path / "model" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"x")
    upload(str(tmp_path / "model"), uri=uri)
    assert contents(s3.folder(uri)) == {"model.joblib": b"x"}


def test_names_of_files_may_be_odd(s3: S3, uri: str, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    names = ["a b", "[x]*", "#a;", "é", "-n", "{a,b}", "%41"]
    for name in names:
        (folder / name).write_text(name)
    upload(folder, uri=uri)
    for name in names:
        (folder / name).write_text(name + name)
    upload(folder, uri=uri)
    assert contents(s3.folder(uri)) == contents(folder)
    tempo_runtime.download(uri, str(tmp_path / "back"))
    assert contents(tmp_path / "back") == contents(folder)


def test_a_damaged_artifact_is_not_sent(s3: S3, uri: str, save: Save) -> None:
    folder = save("here", weights=b"0" * 1000)
    (folder / "weights").write_bytes(b"1" * 1000)
    with pytest.raises(ArtifactDamaged, match=r"weights .* is not the file that was saved"):
        upload(folder, uri=uri)
    assert not s3.folder(uri).exists()


def test_an_artifact_of_another_python_is_carried(s3: S3, uri: str, save: Save) -> None:
    folder = save("here")
    manifest = json.loads((folder / "tempo.json").read_text())
    (folder / "tempo.json").write_text(json.dumps(manifest | {"python": "3.99"}))
    upload(folder, uri=uri)
    tempo_runtime.download(uri, str(folder.parent / "back"))
    assert contents(folder.parent / "back") == contents(folder)


def test_a_remote_without_digests_is_read_instead(
    tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A crypt remote has no digests of the original files.
    monkeypatch.setenv("RCLONE_CONFIG_VAULT_TYPE", "crypt")
    monkeypatch.setenv("RCLONE_CONFIG_VAULT_REMOTE", str(tmp_path / "vault"))
    monkeypatch.setenv("RCLONE_CONFIG_VAULT_PASSWORD", "qMdr45zv01GrrzfmWMb2xo7ytlRdPAHqNXdq4g")
    folder = save("here", weights=b"0" * 1000)
    upload(folder, uri="vault://x")
    assert upload(folder, uri="vault://x").sent == ()
    tempo_runtime.download("vault://x", str(tmp_path / "back"))
    assert contents(tmp_path / "back") == contents(folder)


def test_a_file_uri_is_a_folder_of_this_machine(tmp_path: Path, save: Save) -> None:
    folder = save("here", old=b"old")
    uri = f"file://{tmp_path}/there"
    upload(folder, uri=uri)
    (folder / "old").unlink()
    save("there")
    done = upload(folder, uri=uri)
    assert (done.folder, done.uri, done.removed) == (str(folder), uri, ("old",))
    assert contents(tmp_path / "there") == contents(folder)
    assert upload(folder, uri=uri, digest=True).uri == f"{uri}@{digest_of(folder)}"
    assert contents(tmp_path / f"there@{digest_of(folder)}") == contents(folder)


def digest_of(folder: Path) -> str:
    return str(inspect(str(folder)).digest)


def test_with_the_digest_in_its_path_the_previous_upload_stays(
    s3: S3, uri: str, save: Save, tmp_path: Path
) -> None:
    folder = save("one")
    one = upload(folder, uri=uri, digest=True)
    assert one.uri == f"{uri}@{digest_of(folder)}"
    save("two")
    two = upload(folder, uri=f"{uri}/", digest=True)
    assert two.uri == f"{uri}@{digest_of(folder)}" != one.uri
    tempo_runtime.download(one.uri, str(tmp_path / "back"))
    assert answer(tmp_path / "back") == "one"
    tempo_runtime.download(two.uri, str(tmp_path / "back"))
    assert answer(tmp_path / "back") == "two"


def test_the_same_digest_is_not_uploaded_again(s3: S3, uri: str, save: Save) -> None:
    folder = save("one")
    done = upload(folder, uri=uri, digest=True)
    again = upload(folder, uri=uri, digest=True)
    assert (again.uri, again.sent, again.removed) == (done.uri, (), ())
    assert upload(folder, uri=done.uri).sent == ()


def test_a_uri_with_the_digest_of_another_artifact_is_refused(s3: S3, uri: str, save: Save) -> None:
    folder = save("one")
    done = upload(folder, uri=uri, digest=True)
    save("two")
    with pytest.raises(StorageError, match="names the digest of another artifact"):
        upload(folder, uri=done.uri)
    assert upload(folder, uri=done.uri, digest=True).uri == f"{uri}@{digest_of(folder)}"


def test_a_model_without_a_tempo_json_has_no_digest(uri: str, tmp_path: Path) -> None:
    (tmp_path / "model.joblib").write_bytes(b"model")
    with pytest.raises(StorageError, match=r"has no tempo\.json, so it has no digest"):
        upload(str(tmp_path), uri=uri, digest=True)


def test_a_pipeline_that_changed_since_it_was_saved_is_saved_again(
    s3: S3, uri: str, tmp_path: Path
) -> None:
    def made(word: str) -> Any:
        @tempo_runtime.model("word", uri=uri, local_folder=str(tmp_path / "word"))
        def f() -> str:
            return word

        return f

    tempo_runtime.save(made("one"))
    with pytest.raises(ArtifactError, match="changed since"):
        upload(made("two"), stale="refuse")
    upload(made("two"))
    assert answer(s3.folder(uri)) == "two"


REFUSED = {
    "pvc://claim/x": "pvc:// is a volume of a cluster.*copy the folder into it.*s3://",
    "models/x": "'models/x' is not a URI; examples are s3://bucket/folder",
    "s3://": "'s3://' has no bucket",
    "file://x": "must name a folder by its absolute path",
    "file:///": "must name a folder by its absolute path",
    "ftp://x/y": "rclone has no remote 'ftp'; create it with `rclone config`, set RCLONE_CONFIG_FTP_",
}


@pytest.mark.parametrize("uri", REFUSED)
def test_an_impossible_uri_is_refused_with_the_remedy(uri: str, save: Save) -> None:
    with pytest.raises(StorageError, match=REFUSED[uri]):
        upload(save("here"), uri=uri)


def test_a_missing_folder_and_a_missing_uri_are_reported(tmp_path: Path, save: Save) -> None:
    with pytest.raises(
        StorageError, match=r"nothing to upload in .*absent; save the artifact there first"
    ):
        upload(str(tmp_path / "absent"), uri="s3://tempo/x")
    with pytest.raises(StorageError, match="there is no uri to upload it to; give one"):
        upload(save("here"))
    with pytest.raises(StorageError, match="forest: it has no folder; give it a local_folder"):
        upload(Model("forest"))
    with pytest.raises(StorageError, match="3 is neither a Model, nor a pipeline, nor a folder"):
        upload(3)
