"""The page at `/` of a real server, and the requests of browsers that such a server refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mlserver import Settings
from mlserver.handlers import DataPlane, ModelRepositoryHandlers
from mlserver.registry import MultiModelRegistry
from mlserver.repository import ModelRepositoryFactory
from mlserver.rest.server import RESTServer

from tempo_runtime import save
from tempo_runtime.runtime import page_route
from tempo_runtime.testing import Server, serve
from tests.helpers import pipelines

BODY = {"inputs": [{"name": "x", "datatype": "FP64", "shape": [1], "data": [1.0]}]}
ANCHOR = {
    "meta": {"name": "AnchorTabular"},
    "data": {"anchor": ["Age > <30>"], "precision": 0.97, "coverage": 0.2},
}
NAMED, FRIEND = "models.example.com", "https://friend.example"
CROSS_SITE = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
ROUTES = [
    ("POST", "/v2/models/echo/infer"),
    ("POST", "/v2/models/echo/infer_stream"),
    ("POST", "/v2/models/echo/predict"),
    ("POST", "/v2/models/echo/predict_stream"),
    ("POST", "/v2/repository/index"),
    ("POST", "/v2/repository/models/echo/unload"),
    ("POST", "/page/explanation"),
    ("GET", "/"),
    ("GET", "/page/index.html"),
    ("GET", "/pipelines.json"),
    ("GET", "/openapi.json"),
    ("GET", "/v2/models/echo"),
]
FOR_THE_PAGE = ["/", "/page/index.html", "/pipelines.json", "/openapi.json"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("models")
    save(pipelines.echo, str(root / "echo"))
    env = {"TEMPO_RUNTIME_PAGE": "true", "TEMPO_RUNTIME_PAGE_HOSTS": f"other, {NAMED.upper()}"}
    settings = {"cors_settings": {"allow_origins": [FRIEND]}}
    with serve(root, env=env, settings=settings) as server:
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
    assert '<script type="module" src="page/main.js">' in answer.text


@pytest.mark.parametrize("path", ["/", "/page/index.html"])
def test_head_has_the_headers_of_get_and_no_body(http: httpx.Client, path: str) -> None:
    headers = {"accept-encoding": "identity"}
    head, get = http.head(path, headers=headers), http.get(path, headers=headers)
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
    assert httpx.get(url, trust_env=False).status_code == 404


def test_mlservers_page_of_a_pipelines_api_which_needs_the_internet_leads_to_ours(
    http: httpx.Client,
) -> None:
    answer = http.get("/v2/models/echo/docs")
    assert (answer.status_code, answer.headers["location"]) == (307, "/#echo")
    assert http.get("/v2/models/none/docs").status_code == 404
    assert "swagger" in http.get("/v2/docs").text


def test_other_methods_are_refused(http: httpx.Client) -> None:
    assert http.post("/").status_code == 405


@pytest.mark.parametrize("explanation", [ANCHOR, json.dumps(ANCHOR)], ids=["object", "text"])
def test_an_explanation_is_answered_with_its_picture(http: httpx.Client, explanation: Any) -> None:
    answer = http.post("/page/explanation", json=explanation)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "Age &gt; &lt;30&gt;" in answer.text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "the body is not valid JSON"),
        ("[1, 2]", "the body is not an explanation"),
        ('{"data": 1, "meta": 2}', "the body is not an explanation"),
        ('"text"', "the body is not an explanation"),
        (f'"{"[" * 100_000}"', "the body is not"),
    ],
)
def test_a_body_that_is_not_an_explanation_is_refused(
    http: httpx.Client, content: str, text: str
) -> None:
    headers = {"content-type": "application/json"}
    answer = http.post("/page/explanation", content=content, headers=headers)
    assert answer.status_code == 422
    assert text in answer.json()["error"]
    assert answer.json()["tempo"]["kind"] == "PayloadError"


def test_an_explanation_must_be_stated_to_be_json(http: httpx.Client) -> None:
    answer = http.post("/page/explanation", content=json.dumps(ANCHOR))
    assert answer.status_code == 415


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        CROSS_SITE,
        {"sec-fetch-site": "same-site", "origin": "http://localhost:1"},
        {**CROSS_SITE, "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
    ],
    ids=["other site", "null", "other port", "no origin", "same site", "frame"],
)
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_page_of_another_site_cannot_call_any_route(
    http: httpx.Client, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = http.request(method, path, json=BODY if method == "POST" else None, headers=headers)
    assert answer.status_code == 403
    assert "a page of another site" in answer.json()["error"]
    assert answer.json()["tempo"]["kind"] == "OriginRefused"


@pytest.mark.parametrize(
    ("content_type", "status"),
    [(None, 200), ("text/plain", 422), ("application/x-www-form-urlencoded", 422)],
)
def test_a_form_of_another_site_that_spells_a_v2_request_is_refused(
    http: httpx.Client, content_type: str | None, status: int
) -> None:
    own = {"content-type": content_type} if content_type else {}
    path, content = "/v2/models/echo/infer", json.dumps(BODY)
    other = http.post(path, content=content, headers={**own, "origin": "https://evil.example"})
    assert other.status_code == 403
    assert http.post(path, content=content, headers=own).status_code == status  # as before


def test_a_preflight_of_another_site_is_refused(http: httpx.Client) -> None:
    headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    answer = http.options("/v2/models/echo/infer", headers=headers)
    assert answer.status_code == 400
    assert "access-control-allow-origin" not in answer.headers


def test_an_origin_in_cors_settings_may_call_the_server(http: httpx.Client) -> None:
    headers = {"origin": FRIEND, "sec-fetch-site": "cross-site"}
    answer = http.post("/v2/models/echo/infer", json=BODY, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == FRIEND


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1:9", "[::1]:8080", NAMED, "10.1.2.3"])
@pytest.mark.parametrize("site", ["same-origin", None])
def test_the_servers_own_page_may_call_it_by_each_name_that_it_knows(
    http: httpx.Client, host: str, site: str | None
) -> None:
    headers = {"host": host, "origin": f"http://{host}"}
    headers |= {"sec-fetch-site": site} if site else {}
    answer = http.post("/v2/models/echo/predict", json={"x": [1]}, headers=headers)
    assert answer.status_code == 200, answer.text
    for path in FOR_THE_PAGE:
        assert http.get(path, headers={"host": host}).status_code == 200


def test_a_proxy_may_change_the_host_to_one_that_the_server_knows(http: httpx.Client) -> None:
    headers = {"host": "localhost:8080", "origin": "https://a-tunnel.example"}
    headers |= {"sec-fetch-site": "same-origin"}
    answer = http.post("/v2/models/echo/predict", json={"x": [1]}, headers=headers)
    assert answer.status_code == 200


def test_a_link_of_another_site_opens_the_page_only(http: httpx.Client) -> None:
    link = {**CROSS_SITE, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert http.get("/", headers=link).status_code == 200
    assert http.get("/pipelines.json", headers=link).status_code == 403


@pytest.mark.parametrize(
    "host", ["rebound.example:8080", "localhost.evil.example", "127.0.0.1.nip.io"]
)
def test_a_name_that_leads_to_the_server_by_dns_cannot_use_it(
    http: httpx.Client, host: str
) -> None:
    for headers in ({"origin": f"http://{host}"}, {"sec-fetch-site": "same-origin"}):
        for method, path in ROUTES:
            answer = http.request(method, path, headers={"host": host, **headers})
            assert answer.status_code == 403, path
            assert "TEMPO_RUNTIME_PAGE_HOSTS" in answer.json()["error"]
    # A browser marks no request that only reads from the same site over HTTP.
    for path in (*FOR_THE_PAGE, "/v2/models/echo/docs/dataplane.json"):
        assert http.get(path, headers={"host": host}).status_code == 403, path
        assert http.head(path, headers={"host": host}).status_code == 403, path


@pytest.mark.parametrize("host", ["echo.default.svc.cluster.local", "a name!", "", "x:port"])
def test_clients_that_are_not_browsers_may_use_any_host(server: Server, host: str) -> None:
    headers = {"host": host}
    http = server.http
    assert http.post("/v2/models/echo/infer", json=BODY, headers=headers).status_code == 200
    assert http.post("/v2/models/echo/predict", json={"x": [1]}, headers=headers).status_code == 200
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/echo/ready", "/v2/models/echo"):
        assert http.get(path, headers=headers).status_code == 200


def test_a_models_own_route_at_the_path_of_the_page_stays() -> None:
    settings = Settings(metrics_endpoint=None)
    registry = MultiModelRegistry()
    repository = ModelRepositoryFactory.resolve_model_repository(settings)
    handlers = ModelRepositoryHandlers(repository, registry)
    server = RESTServer(settings, DataPlane(settings, registry), handlers)

    async def own() -> str:
        return "own"

    page_route.extend(server)
    server._app.add_api_route("/", own)
    page_route.extend(server)  # as when the next model is loaded
    matching = [route for route in server._app.routes if getattr(route, "path", "") == "/"]
    assert getattr(matching[0], "endpoint", None) is own
    assert len(matching) == 2


def test_behind_the_prefix_of_an_ingress_the_page_is_found_and_guarded(tmp_path: Path) -> None:
    save(pipelines.echo, str(tmp_path / "echo"))
    env = {"TEMPO_RUNTIME_PAGE": "true"}
    with serve(tmp_path, env=env, settings={"root_path": "/team"}) as server:
        for path in ("/", "/page/index.html", "/pipelines.json"):
            assert server.http.get(path).status_code == 200, path
            rebound = server.http.get(path, headers={"host": "rebound.example"})
            assert rebound.status_code == 403, path
        link = {**CROSS_SITE, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
        assert server.http.get("/", headers=link).status_code == 200


def test_a_server_has_no_page_and_refuses_no_browser_unless_the_setting_asks_for_it(
    tmp_path: Path,
) -> None:
    save(pipelines.echo, str(tmp_path / "echo"))
    with serve(tmp_path) as server:
        for path in ("/", "/pipelines.json", "/page/index.html"):
            assert server.http.get(path).status_code == 404
        headers = {"origin": "https://evil.example"}
        answer = server.http.post("/v2/models/echo/infer", json=BODY, headers=headers)
        assert answer.status_code == 200
