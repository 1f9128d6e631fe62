"""Fixtures of uploads and downloads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tempo_runtime
from tempo_runtime.storage import remotes
from tests.storage.cluster import Cluster, running
from tests.storage.s3 import BUCKET, KEYS, S3, Proxy, s3_server

Save = Callable[..., Path]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("s3") / "data") as running:
        yield running


@pytest.fixture
def proxy(server: S3) -> Iterator[Proxy]:
    between = Proxy(server.port)
    yield between
    between.close()


@pytest.fixture(autouse=True)
def _no_other_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remotes, "_own_config", None)
    monkeypatch.setenv("RCLONE_CONFIG", str(tmp_path / "rclone.conf"))


@pytest.fixture
def s3(server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """The server, configured in the environment as Seldon's storage initializer is."""
    settings = {
        "TYPE": "s3",
        "PROVIDER": "Minio",
        "ACCESS_KEY_ID": KEYS[0],
        "SECRET_ACCESS_KEY": KEYS[1],
        "ENDPOINT": server.endpoint,
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"RCLONE_CONFIG_S3_{name}", value)
    return server


@pytest.fixture
def uri(s3: S3, request: pytest.FixtureRequest) -> str:
    """A place of the test's own."""
    return f"s3://{BUCKET}/{re.sub('[^a-z0-9]+', '-', request.node.name.lower())}/x"


@pytest.fixture
def cluster(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    """A cluster, the current context's."""
    pytest.importorskip("kubernetes", reason="the package kubernetes is not installed")
    kubeconfig = tmp_path_factory.mktemp("cluster") / "config"
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    with running(kubeconfig) as found:
        yield found


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Saves an artifact that answers with a word, and has these files."""

    def saved(word: str, folder: str = "saved", uri: str = "", **others: bytes) -> Path:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        for name, content in others.items():
            (place / name).write_bytes(content)

        @tempo_runtime.model("word", uri=uri)
        def f() -> str:
            return word

        return Path(tempo_runtime.save(f, str(place)))

    return saved
