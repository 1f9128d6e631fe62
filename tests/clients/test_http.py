"""A child over HTTP, against a real server that follows a script."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tempo_runtime._util.ports import reserved
from tempo_runtime.errors import (
    ChildFailed,
    ChildNotFound,
    ChildRefused,
    ChildUnavailable,
    DeadlineExceeded,
    TempoError,
)
from tempo_runtime.request import context
from tempo_runtime.testing import Fail, Hang
from tests.clients.connected_child import Connect, connect
from tests.helpers.byte_faults import Cut, FaultyModel, NotHttp, Raw, Stall

__all__ = ["connect"]
LABELS = np.array([3, 4])


@pytest.fixture
def fake() -> Iterator[FaultyModel]:
    with FaultyModel("iris", LABELS, columns=True) as fake:
        yield fake


def test_an_answer_loses_the_column_mlserver_gave_it(fake: FaultyModel, connect: Connect) -> None:
    found = connect(fake.url)(np.ones((2, 4)))
    assert found.tolist() == [3, 4]
    assert found.dtype == np.int64


def test_an_answer_may_keep_its_column(fake: FaultyModel, connect: Connect) -> None:
    assert connect(fake.url, flatten_single_column=False)(np.ones((2, 4))).tolist() == [[3], [4]]


def test_the_version_is_part_of_the_path(fake: FaultyModel, connect: Connect) -> None:
    connect(fake.url, version="v2")(np.ones(1))
    assert fake.calls[0].path == "/v2/models/iris/versions/v2/infer"


def test_only_headers_that_may_travel_go_along(fake: FaultyModel, connect: Connect) -> None:
    headers = {"X-Request-Id": "7", "traceparent": "00-1", "Seldon-Model": "me", "Host": "a"}
    with context.serving(None, headers):
        connect(fake.url)(np.ones(1))
    sent = fake.calls[0].headers
    assert (sent["x-request-id"], sent["traceparent"]) == ("7", "00-1")
    assert "seldon-model" not in sent
    assert sent["host"] != "a"


def test_a_child_has_headers_of_its_own(fake: FaultyModel, connect: Connect) -> None:
    connect(fake.url, headers={"Authorization": "Bearer s3cret"})(np.ones(1))
    assert fake.calls[0].headers["authorization"] == "Bearer s3cret"


def test_the_requests_id_goes_along(fake: FaultyModel, connect: Connect) -> None:
    with context.serving(None, {}, id="abc"):
        connect(fake.url)(np.ones(1))
    assert fake.calls[0].id == "abc"


ANSWERS: list[tuple[int, bytes, type[TempoError], str]] = [
    (404, b'{"error": "Model iris not found"}', ChildNotFound, "Model iris not found"),
    (400, b'{"error": "Model iris is not ready yet."}', ChildUnavailable, "not ready"),
    (400, b'{"error": "bad rows"}', ChildRefused, "answered 400: bad rows"),
    (422, b'{"detail": [{"loc": ["body", "x"], "msg": "no"}]}', ChildRefused, "422: body.x: no"),
    (413, b"too large", ChildRefused, "answered 413: too large"),
    (401, b"who are you", ChildFailed, "answered 401: who are you"),
    (429, b"slow down", ChildUnavailable, "slow down"),
    (
        500,
        b"Internal Server Error",
        ChildFailed,
        "Server Error; see its server's log for the reason",
    ),
    (500, b'{"message": {"reason": "no GPU"}}', ChildFailed, "answered 500: no GPU"),
    (
        500,
        b"Traceback (most recent call last):\n  File\nKeyError: 3",
        ChildFailed,
        "500: KeyError: 3",
    ),
    (502, b"Bad Gateway", ChildFailed, "answered 502: Bad Gateway"),
    (503, b"", ChildUnavailable, "status 503"),
    (504, b'{"error": "late"}', DeadlineExceeded, "late"),
    (301, b"", ChildFailed, "answered 301"),
    (200, b"<html>hello", ChildFailed, "not JSON"),
    (200, b"[1]", ChildFailed, "not a V2 body"),
    (200, b'{"outputs": [{"name": "y"}]}', ChildFailed, "'shape' must be a JSON list"),
    (200, b'{"outputs": 3}', ChildFailed, "'outputs' must be a JSON list"),
    (
        200,
        b'{"outputs": [{"name": "y", "shape": [2], "datatype": "INT64", "data": [1]}]}',
        ChildFailed,
        "tensor 'y' has shape [2]",
    ),
]


@pytest.mark.parametrize(("status", "body", "kind", "told"), ANSWERS)
def test_an_unusable_answer_becomes_an_error_that_names_the_child(
    status: int,
    body: bytes,
    kind: type[TempoError],
    told: str,
    fake: FaultyModel,
    connect: Connect,
) -> None:
    fake.answer = Raw(body, status)
    with pytest.raises(kind) as caught:
        connect(fake.url, retries=0)(np.ones(1))
    assert type(caught.value) is kind
    assert told in str(caught.value)
    assert "child 'iris'" in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("target", ["https://login.example/?next=infer", "/v2/models/iris/"])
def test_the_target_of_a_redirect_is_named_and_not_called(
    fake: FaultyModel, connect: Connect, status: int, target: str
) -> None:
    fake.script(Raw(b"", status, {"location": target}))
    with pytest.raises(ChildFailed, match=re.escape(f"answered {status} → {target}; correct")):
        connect(fake.url)(np.ones(1))
    assert len(fake.calls) == 1


def test_credentials_in_the_target_of_a_redirect_are_not_told(
    fake: FaultyModel, connect: Connect
) -> None:
    location = "https://me:hunter2@login.example/?token=hunter2"
    fake.script(Raw(b"", 307, {"location": location}))
    with pytest.raises(ChildFailed, match=r"login\.example") as raised:
        connect(fake.url)(np.ones(1))
    assert "hunter2" not in str(raised.value)


def test_a_child_nobody_serves_is_unavailable_with_its_url(connect: Connect) -> None:
    with (
        reserved() as port,
        pytest.raises(ChildUnavailable, match=f"cannot be reached at http://127.0.0.1:{port}/"),
    ):
        connect(f"http://127.0.0.1:{port}")(np.ones(1))


def test_a_host_that_does_not_exist_is_unavailable(connect: Connect) -> None:
    with pytest.raises(ChildUnavailable, match=r"nowhere\.invalid"):
        connect("http://nowhere.invalid")(np.ones(1))


@pytest.mark.parametrize(
    ("sent", "kind"), [(b"", ChildUnavailable), (b"hello\r\n\r\n", ChildFailed)]
)
def test_a_server_that_does_not_speak_http_is_reported(
    sent: bytes, kind: type[TempoError], fake: FaultyModel, connect: Connect
) -> None:
    fake.answer = NotHttp(sent)
    with pytest.raises(kind, match="child 'iris'"):
        connect(fake.url)(np.ones(1))


def test_a_child_that_hangs_ends_with_the_requests_deadline(
    fake: FaultyModel, connect: Connect
) -> None:
    fake.script(Hang())
    child = connect(fake.url)
    told = "child 'iris' at .* did not answer in time"
    with context.serving(0.2, {}), pytest.raises(DeadlineExceeded, match=told):
        child(np.ones(1))


def test_a_child_that_stops_within_its_answer_ends_with_the_deadline_and_others_go_on(
    fake: FaultyModel, connect: Connect
) -> None:
    child = connect(fake.url)
    fake.script(*Stall() * 3)
    for _ in range(3):
        with context.serving(0.2, {}), pytest.raises(DeadlineExceeded):
            child(np.ones(1))
    assert child(np.ones(1)).tolist() == [3, 4]


def test_an_answer_that_is_cut_off_is_unavailable(fake: FaultyModel, connect: Connect) -> None:
    fake.script(*Cut("body", reset=False) * 3)
    with pytest.raises(ChildUnavailable, match="the connection broke"):
        connect(fake.url)(np.ones(1))


def test_a_child_may_be_given_less_time_than_the_request(
    fake: FaultyModel, connect: Connect
) -> None:
    fake.script(Hang())
    child = connect(fake.url, timeout=0.2)
    told = r"did not answer within 0\.2 s, its `timeout`"
    with context.serving(20, {}), pytest.raises(ChildUnavailable, match=told):
        child(np.ones(1))


def test_an_answer_whose_bytes_stop_coming_ends_with_the_read_timeout(
    fake: FaultyModel, connect: Connect
) -> None:
    fake.script(Stall())
    told = r"did not answer within 0\.2 s, its `read_timeout`"
    with context.serving(20, {}), pytest.raises(ChildUnavailable, match=told):
        connect(fake.url, read_timeout=0.2)(np.ones(1))


def test_no_call_is_made_once_the_time_is_up(fake: FaultyModel, connect: Connect) -> None:
    with context.serving(1e-9, {}), pytest.raises(DeadlineExceeded):
        connect(fake.url)(np.ones(1))
    assert fake.calls == []


async def test_a_sync_child_can_be_called_inside_a_running_loop(
    fake: FaultyModel, connect: Connect
) -> None:
    assert connect(fake.url)(np.ones(1)).tolist() == [3, 4]


def test_calls_from_several_event_loops_share_a_client(fake: FaultyModel, connect: Connect) -> None:
    child = connect(fake.url, awaitable=True)

    async def call() -> Any:
        return await child(np.ones(1))

    assert [asyncio.run(call()).tolist() for _ in range(2)] == [[3, 4], [3, 4]]


def test_a_call_that_is_submitted_works_beside_its_caller(
    fake: FaultyModel, connect: Connect
) -> None:
    gate = Hang()
    fake.script(gate)
    child = connect(fake.url)
    with context.serving(20, {"traceparent": "00-1"}):
        first = child.submit(np.ones(1))
        assert child(np.ones(1)).tolist() == [3, 4]  # answered while the first still hangs
    gate.release()
    assert first.result().tolist() == [3, 4]
    assert [call.headers["traceparent"] for call in fake.calls] == ["00-1", "00-1"]


def test_a_submitted_call_raises_when_it_is_asked_for(fake: FaultyModel, connect: Connect) -> None:
    fake.answer = Fail(500, "no")
    future = connect(fake.url).submit(np.ones(1))
    with pytest.raises(ChildFailed, match="answered 500: no"):
        future.result()


def test_a_proxy_is_asked_in_the_servers_place(fake: FaultyModel, connect: Connect) -> None:
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as proxy:

        def work() -> None:
            connection, _ = proxy.accept()
            with connection:
                asked.append(connection.recv(65536).split(b"\r\n")[0])
                body = json.dumps(
                    {"outputs": [{"name": "y", "shape": [1], "datatype": "INT64", "data": [7]}]}
                ).encode()
                head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n"
                connection.sendall(head.encode() + body)

        threading.Thread(target=work, daemon=True).start()
        url = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        assert connect("http://iris.example", proxy=url)(np.ones(1)).tolist() == [7]
    assert asked == [b"POST http://iris.example/v2/models/iris/infer HTTP/1.1"]
