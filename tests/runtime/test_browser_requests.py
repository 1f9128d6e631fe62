"""Requests that a page of another site sends without asking first, to a real server."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tempo_runtime import save
from tempo_runtime.testing import Server, serve
from tests.helpers import pipelines

FORM = {"content-type": "application/x-www-form-urlencoded"}
EVIL = {"origin": "https://evil.example"}
BODY = b'{"inputs": [{"name": "x", "datatype": "INT64", "shape": [1], "data": [1]}]}'
OTHERS = {
    "a form": {**FORM, **EVIL},
    "plain text": {"content-type": "text/plain; charset=utf-8", **EVIL},
    "no type": EVIL,
    "a file": {"content-type": "multipart/form-data; boundary=x", **EVIL},
    "a page without an origin": {**FORM, "origin": "null"},
    "another port of this machine": {**FORM, "origin": "http://127.0.0.1:1"},
    "no origin": {**FORM, "sec-fetch-site": "cross-site"},
    "a name beside": {**FORM, "sec-fetch-site": "same-site", **EVIL},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("models")
    for target in (pipelines.echo, pipelines.count_up):
        save(target, str(root / target.details.name))
    with serve(root, timeout=120) as server:
        yield server


@pytest.mark.parametrize("case", OTHERS)
def test_a_page_of_another_site_is_refused_on_each_route(case: str, server: Server) -> None:
    for path in (
        "models/echo/infer",
        "models/echo/infer_stream",
        "models/echo/generate",
        "repository/models/count-up/unload",
    ):
        answer = server.http.post(f"/v2/{path}", content=BODY, headers=OTHERS[case])
        assert answer.status_code == 403, path
        assert "cors_settings" in answer.json()["error"]
    assert server.http.get("/v2/models/count-up/ready").status_code == 200


@pytest.mark.parametrize("type_", ["application/json", "text/plain", None])
def test_a_page_of_the_server_itself_may_call_it(type_: str | None, server: Server) -> None:
    headers = {"content-type": type_} if type_ else {}
    plain = server.http.post("/v2/models/echo/infer", content=BODY, headers=headers)
    for own in ({"origin": server.url}, {"sec-fetch-site": "same-origin", **EVIL}):
        answer = server.http.post("/v2/models/echo/infer", content=BODY, headers={**headers, **own})
        assert answer.status_code == plain.status_code


def test_curl_needs_no_content_type(server: Server, tmp_path: Path) -> None:
    url = f"{server.url}/v2/models/echo/infer"
    command = ["curl", "-s", "-o", str(tmp_path / "answer"), "-w", "%{http_code}", "-d", BODY, url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    plain = server.http.post("/v2/models/echo/infer", content=BODY, headers=FORM)
    assert done.stdout == str(plain.status_code)
    assert done.stdout != "403"
