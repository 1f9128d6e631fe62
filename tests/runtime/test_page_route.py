"""The page at `/`, of a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tempo_runtime import save
from tempo_runtime.testing import Server, serve
from tests.helpers import pipelines


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("models")
    save(pipelines.echo, str(root / "echo"))
    with serve(root, env={"TEMPO_RUNTIME_PAGE": "true"}) as server:
        yield server


@pytest.fixture(scope="module")
def http(server: Server) -> httpx.Client:
    return server.http


def test_the_page_loads_nothing_from_elsewhere_and_runs_no_other_scripts(
    http: httpx.Client,
) -> None:
    answer = http.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "<h1" in answer.text


@pytest.mark.parametrize("path", ["/", "/page/index.html"])
def test_head_has_the_headers_of_get_and_no_body(http: httpx.Client, path: str) -> None:
    head, get = http.head(path), http.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(get.content))
    assert head.headers["content-security-policy"] == get.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    [
        "/page/none.js",
        "/page/__init__.py",
        "/page/",
        "/page/..%2f..%2f__init__.py",
        "/page/../settings.py",
        "/page/%2e%2e/settings.py",
        "/page/..%5cindex.html",
        "/page//etc/passwd",
        "/page/index.html%00.js",
    ],
)
def test_only_files_of_the_page_are_served(server: Server, path: str) -> None:
    url = httpx.URL(server.url).copy_with(raw_path=path.encode())
    assert httpx.get(url).status_code == 404


def test_other_methods_are_refused(http: httpx.Client) -> None:
    assert http.post("/").status_code == 405


def test_a_server_has_no_page_unless_the_setting_asks_for_it(tmp_path: Path) -> None:
    save(pipelines.echo, str(tmp_path / "echo"))
    with serve(tmp_path) as server:
        assert server.http.get("/").status_code == 404
        assert server.http.get("/pipelines.json").status_code == 404
