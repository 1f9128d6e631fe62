"""A failed upload or download is reported on one line, with the remedy, and changes nothing."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tempo_runtime import StorageError, download, upload
from tempo_runtime._util import extras
from tempo_runtime._util.ports import HOST, reserved
from tempo_runtime.storage import rclone
from tests.helpers.artifacts import answer, contents
from tests.storage.answering import answering
from tests.storage.conftest import Save
from tests.storage.s3 import KEYS, S3


@contextmanager
def s3_that_answers(status: int, code: str, message: str) -> Iterator[str]:
    """An endpoint that answers each request with an error of S3's."""
    error = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()

    with answering("application/xml", lambda path: (status, error)) as port:
        yield f"http://{HOST}:{port}"


def refusal(folder: Path, uri: str) -> str:
    """The one line that an upload ends with; a download from there ends the same way."""
    with pytest.raises(StorageError) as uploading:
        upload(folder, uri=uri)
    before = contents(folder)
    with pytest.raises(StorageError) as downloading:
        download(uri, str(folder))
    assert contents(folder) == before
    told, other = str(uploading.value), str(downloading.value)
    assert told == other or "there is nothing at" in other
    assert "\n" not in told
    assert not any(key in told for key in KEYS)
    return told


WRONG = [("SECRET_ACCESS_KEY", "SignatureDoesNotMatch"), ("ACCESS_KEY_ID", "InvalidAccessKeyId")]


@pytest.mark.parametrize(("which", "code"), WRONG)
def test_a_wrong_key(
    which: str, code: str, s3: S3, uri: str, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save("old")
    upload(folder, uri=uri)
    monkeypatch.setenv(f"RCLONE_CONFIG_S3_{which}", "not-the-key-of-it")
    told = refusal(save("new"), uri)
    assert f"{uri}: access was refused ({code}: " in told
    assert "correct the credentials in rclone's config, in RCLONE_CONFIG_S3_... or in the" in told
    assert "not-the-key-of-it" not in told
    assert answer(s3.folder(uri)) == "old"


@pytest.mark.parametrize(
    ("status", "code", "message", "words"),
    [
        (
            400,
            "ExpiredToken",
            "The provided token has expired.",
            "the credentials have expired; rene",
        ),
        (
            403,
            "AccessDenied",
            "Access Denied.",
            "access was refused (AccessDenied: Access Denied.); corr",
        ),
        (
            507,
            "XMinioStorageFull",
            "Storage is full.",
            "no space is left (XMinioStorageFull: Stora",
        ),
        (
            500,
            "Odd",
            "Something odd.",
            "Odd: Something odd.; try again, and the transfer resumes",
        ),
    ],
)
def test_an_access_that_a_server_refuses_is_reported(
    status: int,
    code: str,
    message: str,
    words: str,
    s3: S3,
    uri: str,
    save: Save,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with s3_that_answers(status, code, message) as endpoint:
        monkeypatch.setenv("RCLONE_CONFIG_S3_ENDPOINT", endpoint)
        assert f"{uri}: {words}" in refusal(save("new"), uri)


def test_a_bucket_that_is_not_there(s3: S3, save: Save) -> None:
    told = refusal(save("new"), "s3://absent/x")
    assert told == (
        "s3://absent/x: there is no bucket 'absent'; create it (`rclone mkdir s3:absent`), or correct "
        "the uri"
    )
    assert not (s3.data / "absent").exists()


def test_a_server_that_is_not_there(
    s3: S3, uri: str, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reserved() as port:
        monkeypatch.setenv("RCLONE_CONFIG_S3_ENDPOINT", f"http://{HOST}:{port}")
        told = refusal(save("new"), uri)
    assert (
        f"the server cannot be reached (dial tcp {HOST}:{port}: connect: connection refused" in told
    )
    assert "correct the endpoint in rclone's config, in RCLONE_CONFIG_S3_..." in told


def test_words_in_a_uri_do_not_count_as_a_failure(
    s3: S3, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RCLONE_CONFIG_S3_ENDPOINT", "http://127.0.0.1:1")
    told = refusal(save("new"), "s3://tempo/expired-credentials/x509/no space left")
    assert "the server cannot be reached" in told


def test_an_account_that_is_not_named(save: Save) -> None:
    assert "no account is set; set AZURE_STORAGE_ACCOUNT_NAME" in refusal(save("new"), "az://b/x")


def test_a_machine_without_rclone(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert extras.command("storage") in refusal(save("new"), "s3://tempo/x")


def test_the_rclone_of_the_path_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "rclone", "")
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path / "none"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert rclone.program() == str(tmp_path / "rclone")


def test_an_rclone_that_is_too_old(
    s3: S3, uri: str, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = "import sys; sys.exit('Error: unknown flag: --files-from-raw\\nUsage:\\n  rclone copy')"
    monkeypatch.setattr(rclone, "program", lambda: script(tmp_path / "rclone", old))
    assert f"this rclone is too old; {extras.command('storage')}" in refusal(save("new"), uri)


def test_settings_that_would_silence_rclone_are_not_passed_on(
    s3: S3, uri: str, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RCLONE_DRY_RUN", "true")
    monkeypatch.setenv("RCLONE_VERBOSE", "2")
    monkeypatch.setenv("RCLONE_LOG_FILE", str(tmp_path / "log"))
    upload(save("new"), uri=uri)
    assert answer(s3.folder(uri)) == "new"
    assert not (tmp_path / "log").exists()


def script(path: Path, code: str) -> str:
    path.write_text(f"#!{sys.executable}\n{code}\n")
    os.chmod(path, stat.S_IRWXU)
    return str(path)
