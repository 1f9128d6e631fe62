"""The port that leads through the cluster's API: what it refuses, and how it ends."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from tempo_runtime import deploy_remote
from tempo_runtime.deploy.kubernetes import connection as connections
from tempo_runtime.deploy.kubernetes.platforms import endpoint
from tempo_runtime.deploy.kubernetes.service_proxy import TOKEN, ServiceProxy
from tempo_runtime.testing import FakeModel
from tests.deploy.kubernetes.api_server import ApiServer
from tests.deploy.kubernetes.conftest import options, plus


@pytest.fixture
def relay(api: ApiServer) -> Iterator[ServiceProxy]:
    connection = connections.connect()
    found = ServiceProxy(connection, endpoint("plus", options()))
    yield found
    found.close()
    connection.close()


def sent(relay: ServiceProxy, text: str, *, token: bool = True) -> bytes:
    """All that comes back for a request whose host, and token, are right."""
    where = urlsplit(relay.url)
    begun, end, rest = text.partition("\n")
    own = f"host: {where.netloc}\n" + (f"{TOKEN}: {relay.headers[TOKEN]}\n" if token else "")
    with socket.create_connection((where.hostname, where.port), timeout=10) as client:
        client.sendall(f"{begun}{end}{own}{rest}".replace("\n", "\r\n").encode())
        found = b""
        while part := client.recv(4096):
            found += part
    return found


@pytest.mark.parametrize("token", [None, "", "x", "\xe9"])
@pytest.mark.parametrize(("method", "path"), [("GET", "ready"), ("POST", "infer")])
def test_a_call_without_the_token_is_refused(
    api: ApiServer,
    relay: ServiceProxy,
    served: FakeModel,
    token: str | None,
    method: str,
    path: str,
) -> None:
    headers = {} if token is None else {TOKEN.encode(): token.encode("latin-1")}
    url = f"{relay.url}/v2/models/plus/{path}"
    answer = httpx.request(method, url, headers=headers, trust_env=False)
    assert answer.status_code == 403
    assert not api.requests


def test_a_refused_call_is_answered_before_its_body_arrives(relay: ServiceProxy) -> None:
    """The body of 2 MB is announced, and never sent."""
    answer = sent(
        relay, "POST /v2/models/plus/infer HTTP/1.1\ncontent-length: 2000000\n\n", token=False
    )
    assert answer.startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"sec-fetch-mode": "no-cors"},
        {"host": "evil.example"},
    ],
    ids=str,
)
def test_a_web_page_is_refused_even_with_the_token(
    api: ApiServer, relay: ServiceProxy, served: FakeModel, headers: dict[str, str]
) -> None:
    url = f"{relay.url}/v2/models/plus/infer"
    answer = httpx.post(url, headers={**relay.headers, **headers}, json={}, trust_env=False)
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert not api.requests


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH", "HEAD", "TRACE"])
def test_no_other_method_is_answered(api: ApiServer, relay: ServiceProxy, method: str) -> None:
    answer = sent(relay, f"{method} /v2/models/plus/infer HTTP/1.1\n\n")
    assert answer.startswith(b"HTTP/1.1 501 ")
    assert b"access-control" not in answer.lower()
    assert not api.requests


@pytest.mark.parametrize(
    "call",
    [
        "GET /api/v1/secrets",
        "GET /v2/models/other",
        "GET /v2/models/plus/infer",
        "GET /v2/models/plus/docs",
        "GET /v2/models/plus/ready?x=1",
        "GET /v2/models/plus/versions/..",
        "GET /v2/models/plus/%2e%2e/ready",
        "GET /v2/health/ready",
        "POST /v2/models/plus/../other/infer",
        "POST /v2/models/plus2/infer",
        "POST /v2/models/plus/ready",
        "POST /v2/repository/models/plus/unload",
        "POST http://elsewhere/v2/models/plus/infer",
    ],
)
def test_only_paths_of_the_model_are_passed_on(
    api: ApiServer, relay: ServiceProxy, call: str
) -> None:
    assert sent(relay, f"{call} HTTP/1.1\n\n").startswith(b"HTTP/1.1 403 ")
    assert not api.requests


@pytest.mark.parametrize(
    "path", ["", "/ready", "/versions/1", "/versions/v1.0/ready"], ids=lambda path: path or "itself"
)
def test_the_models_own_metadata_is_passed_on(
    relay: ServiceProxy, api: ApiServer, path: str
) -> None:
    sent(relay, f"GET /v2/models/plus{path} HTTP/1.1\nconnection: close\n\n")
    assert [each for _, each in api.requests] == [
        f"/api/v1/namespaces/production/services/plus-default:9000/proxy/v2/models/plus{path}"
    ]


def test_credentials_of_a_caller_do_not_reach_the_cluster(
    relay: ServiceProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}
    api = connections.ApiConnection

    def opened(self: Any, method: str, path: str, **how: Any) -> Any:
        asked.update(how)
        raise connections.Unreachable("here it ends")

    monkeypatch.setattr(api, "open", opened)
    headers = {
        "Impersonate-User": "admin",
        "Impersonate-Group": "system:masters",
        "impersonate-extra-scopes": "all",
        "authorization": "Bearer other",
        "cookie": "session=1",
        "x-remote-user": "admin",
        "x-forwarded-for": "10.0.0.1",
        "forwarded": "for=10.0.0.1",
        "traceparent": "00-1-2-01",
        "x-request-id": "abc",
        "content-type": "application/json",
    }
    url = f"{relay.url}/v2/models/plus/infer"
    answer = httpx.post(url, headers={**headers, **relay.headers}, content=b"{}", trust_env=False)
    assert answer.status_code == 502
    assert {name.lower() for name in asked["headers"]} == {
        *("accept", "accept-encoding", "content-length", "content-type", "traceparent"),
        *("user-agent", "x-request-id"),
    }


def test_headers_that_open_an_answer_to_a_page_are_not_returned(
    relay: ServiceProxy, api: ApiServer
) -> None:
    opened = {"access-control-allow-origin": "*", "set-cookie": "a=1", "retry-after": "3"}
    api.fault("GET", "/proxy/", 429, "busy", headers=opened)
    url = f"{relay.url}/v2/models/plus"
    answer = httpx.get(url, headers=relay.headers, trust_env=False)
    assert answer.headers["retry-after"] == "3"
    assert not {"access-control-allow-origin", "set-cookie"} & {*answer.headers}


def test_a_large_call_is_passed_on(api: ApiServer, operator: Any, served: FakeModel) -> None:
    remote = deploy_remote(plus(), options(), timeout=30)
    x = np.arange(500_000.0)
    np.testing.assert_array_equal(remote.predict(x), x + 1)
    remote.undeploy()


def test_another_client_takes_the_headers_from_the_remote_model(
    api: ApiServer, operator: Any, served: FakeModel
) -> None:
    remote = deploy_remote(plus(), options(), timeout=30)
    ready = f"{remote.endpoint}/ready"
    assert httpx.get(ready, headers=remote.headers, trust_env=False).status_code == 200
    refused = httpx.get(ready, trust_env=False)
    assert refused.status_code == 403
    assert "RemoteModel.headers" in refused.text
    assert remote.headers[TOKEN] not in f"{remote!r} {remote.deployment.main()!r} {refused.text}"
    remote.undeploy()


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        ("content-length: x\n\n", 400),
        ("content-length: -1\n\n", 400),
        ("content-length: 1\ncontent-length: 2\n\n", 400),
        ("transfer-encoding: chunked\n\nx\n", 411),
    ],
)
def test_a_body_without_a_length_is_refused(
    relay: ServiceProxy, rest: str, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = sent(relay, f"POST /v2/models/plus/infer HTTP/1.1\n{rest}")
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert capfd.readouterr().err == ""


def test_a_model_that_does_not_answer_is_given_up(
    api: ApiServer, relay: ServiceProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempo_runtime.deploy.kubernetes.service_proxy._SILENT", 0.2)
    api.fault("GET", "/proxy/", -1)
    answer = sent(relay, "GET /v2/models/plus HTTP/1.1\nconnection: close\n\n")
    assert answer.startswith(b"HTTP/1.1 502 ")


def test_its_own_thread_may_close_it(relay: ServiceProxy) -> None:
    peeked = relay.close.peek()
    assert peeked is not None
    server, thread = peeked[2]
    server.service_actions = relay.close  # called by the thread that serves
    thread.join(10)
    assert not thread.is_alive()
