"""URIs, and what rclone is told about them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempo_runtime import StorageError
from tempo_runtime.storage.remotes import remote_of

CLOUDS = {
    "s3": {"TYPE": "s3", "PROVIDER": "AWS", "ENV_AUTH": "true"},
    "gs": {"TYPE": "google cloud storage", "ANONYMOUS": "true"},
    "az": {"TYPE": "azureblob", "ENV_AUTH": "true"},
}


def settings(uri: str, secret: dict[str, str] | None = None) -> dict[str, str]:
    prefix = f"RCLONE_CONFIG_{uri.partition(':')[0].upper()}_"
    found = remote_of(uri, secret).environment
    return {name.removeprefix(prefix): found[name] for name in found if name.startswith(prefix)}


@pytest.fixture(autouse=True)
def _no_cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)


@pytest.mark.parametrize("scheme", CLOUDS)
def test_a_remote_that_nobody_configured_is_the_clouds(scheme: str) -> None:
    assert settings(f"{scheme}://bucket/x") == CLOUDS[scheme]


def test_googles_own_credentials_are_used_where_there_are_any(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "key.json")
    assert settings("gs://bucket/x") == {"TYPE": "google cloud storage", "ENV_AUTH": "true"}


def test_a_remote_of_rclones_config_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "rclone.conf").write_text("[s3]\ntype = s3\nprovider = Minio\n")
    assert settings("s3://bucket/x") == {}


def test_a_remote_of_the_environment_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RCLONE_CONFIG_S3_TYPE", "alias")
    assert settings("s3://bucket/x") == {}


def test_a_remote_of_the_environment_needs_no_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RCLONE_CONFIG_S3_ENDPOINT", "http://localhost:9000")
    assert settings("s3://bucket/x") == {"TYPE": "s3"}


def test_a_secret_is_in_rclones_environment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = {"RCLONE_CONFIG_S3_TYPE": "s3", "RCLONE_CONFIG_S3_SECRET_ACCESS_KEY": "hush"}
    assert settings("s3://bucket/x", secret) == {"TYPE": "s3", "SECRET_ACCESS_KEY": "hush"}
    assert "hush" not in repr(remote_of("s3://bucket/x", secret))


names = st.text(st.characters(exclude_characters="/", exclude_categories=["Cc", "Cs"]), min_size=1)


@given(st.lists(names, min_size=1, max_size=3))
def test_bucket_and_folder_follow_the_scheme(parts: list[str]) -> None:
    path = "/".join(parts)
    assert remote_of(f"mine://{path}/").at("tempo.json") == f"mine:{path}/tempo.json"


@given(
    st.one_of(st.text(), st.builds("{}://{}".format, st.sampled_from(["file", "x", ""]), st.text()))
)
def test_any_text_is_a_uri_or_refused(text: str) -> None:
    try:
        at = remote_of(text).at()
    except StorageError:
        return
    assert at.startswith("/") or ":" in at
    assert "\0" not in at
