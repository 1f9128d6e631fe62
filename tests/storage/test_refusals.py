"""Links that lead out of the folder and passwords in a URI are refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from tempo_runtime import (
    AuthoringError,
    Model,
    ModelFramework,
    StorageError,
    download,
    model,
    pipeline,
    upload,
)
from tempo_runtime.storage import rclone
from tests.helpers.artifacts import contents
from tests.storage.conftest import Save
from tests.storage.s3 import S3

URIS = [
    "s3://me:hunter2@models/x",
    "https://me:hunter2@models.example/x",
    "https://hunter2@models.example/x",
    "webdav://:hunter2@models.example/x",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "forest"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.joblib").write_bytes(b"model")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "id_rsa").write_bytes(b"key")
    return folder


@pytest.mark.parametrize("link", ["config", "sub/config"])
@pytest.mark.parametrize("to", ["outside/id_rsa", "outside", "missing", "forest/sub"])
@pytest.mark.parametrize("target", ["s3://bucket/x", "file"])
def test_a_link_that_leads_out_of_the_folder_or_to_a_folder_is_refused(
    folder: Path, tmp_path: Path, link: str, to: str, target: str
) -> None:
    (folder / link).symlink_to(tmp_path / to)
    uri = f"file://{tmp_path}/there" if target == "file" else target
    with pytest.raises(StorageError, match=f"{link} is a link to .*; replace the link with a copy"):
        upload(str(folder), uri=uri)
    assert not (tmp_path / "there").exists()


def test_a_chain_of_links_that_ends_outside_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("../outside/id_rsa")
    with pytest.raises(StorageError, match="is not in the folder"):
        upload(str(folder), uri="s3://bucket/x")


@pytest.mark.parametrize("target", ["s3", "file"])
def test_a_link_to_a_file_in_the_folder_is_sent_as_that_file(
    s3: S3, uri: str, folder: Path, tmp_path: Path, target: str
) -> None:
    (folder / "sub" / "latest").symlink_to("../model.joblib")
    there = tmp_path / "there"
    upload(str(folder), uri=uri if target == "s3" else f"file://{there}")
    found = contents(s3.folder(uri) if target == "s3" else there)
    assert found == {"model.joblib": b"model", "sub/latest": b"model"}


def test_a_folder_may_itself_be_reached_by_a_link(s3: S3, uri: str, folder: Path) -> None:
    link = folder.parent / "link"
    link.symlink_to(folder)
    upload(str(link), uri=uri)
    assert contents(s3.folder(uri)) == {"model.joblib": b"model"}


@pytest.mark.parametrize("uri", URIS)
def test_a_password_in_a_uri_is_refused_and_not_shown(
    uri: str, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rclone, "run", lambda *_, **__: pytest.fail("rclone was run"))
    calls = [
        lambda: upload(str(folder), uri=uri),
        lambda: upload(str(folder), uri=uri, digest=True),
        lambda: download(uri, str(folder)),
        lambda: download(uri),
    ]
    with caplog.at_level(logging.DEBUG):
        for call in calls:
            with pytest.raises(StorageError, match="contains a password; leave it out") as raised:
                call()
            assert "hunter2" not in str(raised.value)
    assert "hunter2" not in caplog.text


def test_a_password_in_the_uri_of_an_artifact_is_refused_and_not_shown(save: Save) -> None:
    folder = save("here")
    path = folder / "tempo.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "uri": URIS[0]}))
    with pytest.raises(StorageError) as raised:
        upload(str(folder))
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("uri", URIS)
def test_no_model_is_declared_with_a_password_in_its_uri(uri: str) -> None:
    def declare_model() -> None:
        Model("forest", platform=ModelFramework.SKLearn, uri=uri)

    def declare_pipeline() -> None:
        @pipeline("shop", uri=uri)
        def shop(x: int) -> int:
            return x

    def declare_custom() -> None:
        @model("shop", uri=uri)
        def shop(x: int) -> int:
            return x

    for declare in (declare_model, declare_pipeline, declare_custom):
        with pytest.raises(AuthoringError, match="contains a password") as raised:
            declare()
        assert "hunter2" not in str(raised.value)


def test_a_uri_with_a_digest_has_no_password() -> None:
    uri = "s3://models/check@sha256:" + "5a" * 32
    assert Model("check", platform=ModelFramework.SKLearn, uri=uri).get_tempo().details.uri == uri
