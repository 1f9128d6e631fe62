"""A fake model over HTTP: what a client sees of its steps.

The one with faults in each byte, of `tests.helpers`, has its own server and passes the same tests.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import numpy as np
import pytest

from tempo_runtime import Model, ModelFramework, PipelineModels, pipeline
from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.binding import decode_results, encode_arguments
from tempo_runtime.protocol.messages import Request, request_to_json, response_from_json
from tempo_runtime.request.portal import background
from tempo_runtime.testing import (
    Answer,
    Delay,
    Fail,
    FakeModel,
    Hang,
    Step,
)
from tests.helpers.byte_faults import (
    Cut,
    FaultyModel,
    NotHttp,
    Raw,
    Stale,
    Stall,
    Trickle,
)

ROWS = np.arange(8.0).reshape(2, 4)


def body(*args: Any, **kwargs: Any) -> bytes:
    return request_to_json(Request(encode_arguments(None, args, kwargs)))


@pytest.fixture(params=[FakeModel, FaultyModel])
def kind(request: pytest.FixtureRequest) -> type[FakeModel]:
    kind: type[FakeModel] = request.param
    return kind


@pytest.fixture
def fake(kind: type[FakeModel]) -> Iterator[FakeModel]:
    with kind("iris", answer=lambda rows: rows.sum(axis=1)) as fake:
        yield fake


@pytest.fixture
def faulty() -> Iterator[FaultyModel]:
    with FaultyModel("iris", answer=lambda rows: rows.sum(axis=1)) as fake:
        yield fake


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=20, trust_env=False) as client:
        yield client


def post(
    client: httpx.Client, fake: FakeModel, content: bytes = body(ROWS), **options: Any
) -> httpx.Response:
    return client.post(f"{fake.url}/v2/models/iris/infer", content=content, **options)


def value(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    response = response_from_json(answer.content)
    return decode_results(None, response.tensors, response.content_type)


# -- What it answers -------------------------------------------------------------------------------


def test_it_answers_with_the_functions_result(fake: FakeModel, client: httpx.Client) -> None:
    assert value(post(client, fake)).tolist() == [6.0, 22.0]


def test_steps_come_first_in_order_and_then_the_answer_again(
    fake: FakeModel, client: httpx.Client
) -> None:
    fake.script(Answer("one"), Answer("two") * 2)
    found = [value(post(client, fake)) for _ in range(4)]
    assert found[:3] == ["one", "two", "two"]
    assert found[3].tolist() == [6.0, 22.0]


def by_name(cities: Any, rows: Any) -> list[Any]:
    return [rows, cities]


def by_position(a: Any, b: Any) -> list[Any]:
    return [a, b]


async def later(a: Any, b: Any) -> list[Any]:
    await asyncio.sleep(0)
    return [a, b]


@pytest.mark.parametrize("function", [by_name, by_position, later])
def test_a_function_gets_values_by_its_names_or_else_in_order(
    function: Callable[..., Any], fake: FakeModel, client: httpx.Client
) -> None:
    fake.answer = function
    assert value(post(client, fake, body(rows="a", cities="b"))) == ["a", "b"]


def test_a_function_may_choose_a_step(fake: FakeModel, client: httpx.Client) -> None:
    fake.answer = lambda rows: Fail(429, "too many") if len(rows) > 1 else len(rows)
    assert post(client, fake).status_code == 429
    assert value(post(client, fake, body(ROWS[:1]))) == [1]


def test_an_exception_of_a_function_is_an_error_with_its_message(
    fake: FakeModel, client: httpx.Client
) -> None:
    fake.answer = lambda rows: rows["absent"]
    answer = post(client, fake)
    assert (answer.status_code, answer.json()["error"][:11]) == (500, "IndexError:")
    fake.answer = lambda rows: (_ for _ in ()).throw(PayloadError("wrong rows"))
    answer = post(client, fake)
    assert (answer.status_code, answer.json()) == (422, {"error": "wrong rows"})


def test_an_answer_that_cannot_travel_is_an_error(fake: FakeModel, client: httpx.Client) -> None:
    fake.script(Answer(object()))
    assert "the fake's answer cannot travel" in post(client, fake).json()["error"]


def test_without_an_answer_it_says_so_once_the_script_ends(
    kind: type[FakeModel], client: httpx.Client
) -> None:
    with kind("iris") as fake:
        fake.script(Answer(1))
        assert post(client, fake).status_code == 200
        assert "has no answer left" in post(client, fake).json()["error"]


def test_a_usual_answer_may_be_a_step(fake: FakeModel, client: httpx.Client) -> None:
    fake.answer = Fail(503, "busy")
    for _ in range(2):
        assert post(client, fake).json() == {"error": "busy"}
    fake.answer = Delay(0.01)
    assert "has no answer left" in post(client, fake).json()["error"]


def test_columns_writes_shapes_as_mlserver_does(
    kind: type[FakeModel], client: httpx.Client
) -> None:
    with kind("iris", np.array([1, 2]), columns=True) as fake:
        assert value(post(client, fake)).tolist() == [[1], [2]]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/health/live", 200),
        ("/v2/health/ready", 200),
        ("/v2/models/iris", 200),
        ("/v2/models/iris/ready", 200),
        ("/seldon/ns/iris/v2/models/iris/versions/v1/ready", 200),
        ("/v2/models/other/ready", 404),
        ("/v2/models/iris/other", 404),
    ],
)
def test_it_answers_health_and_metadata_as_mlserver_does(
    path: str, status: int, fake: FakeModel, client: httpx.Client
) -> None:
    assert client.get(fake.url + path).status_code == status


def test_it_may_be_not_ready(fake: FakeModel, client: httpx.Client) -> None:
    fake.ready = False
    assert client.get(f"{fake.url}/v2/models/iris/ready").status_code == 400


@pytest.mark.parametrize("content", [b"{", b"{}", b'{"inputs": [1]}'])
def test_a_body_that_is_not_v2_is_refused_and_not_recorded(
    content: bytes, fake: FakeModel, client: httpx.Client
) -> None:
    assert post(client, fake, content).status_code == 422
    assert fake.calls == []


# -- What it records -------------------------------------------------------------------------------


def test_a_call_is_recorded_with_its_headers_and_parameters(
    fake: FakeModel, client: httpx.Client
) -> None:
    content = request_to_json(
        Request(encode_arguments(None, (ROWS,), {}), ["probabilities"], {"top": 3}, "7")
    )
    client.post(
        f"{fake.url}/v2/models/iris/versions/v2/infer",
        content=content,
        headers={"X-Request-Id": "abc"},
    )
    [call] = fake.calls
    assert call.inputs["input-0"].tolist() == ROWS.tolist()
    assert (call.outputs, call.parameters, call.id) == (["probabilities"], {"top": 3}, "7")
    assert call.headers["x-request-id"] == "abc"
    assert (call.transport, call.version) == ("http", "v2")
    assert call.path == "/v2/models/iris/versions/v2/infer"


def test_a_kept_connection_has_one_number(fake: FakeModel, client: httpx.Client) -> None:
    post(client, fake)
    post(client, fake)
    post(client, fake, headers={"connection": "close"})
    post(client, fake)
    assert [call.connection for call in fake.calls] == [1, 1, 1, 2]


def test_a_chunked_body_is_read(fake: FakeModel, client: httpx.Client) -> None:
    content = body(ROWS)
    answer = client.post(
        f"{fake.url}/v2/models/iris/infer", content=iter([content[:9], content[9:]])
    )
    assert value(answer).tolist() == [6.0, 22.0]


def test_a_large_body_and_long_headers_are_read(fake: FakeModel, client: httpx.Client) -> None:
    rows = np.ones((200_000, 2))
    headers = {"x-long": "a" * 20_000, "expect": "100-continue"}
    answer = post(client, fake, body(rows), headers=headers)
    assert value(answer).shape == (200_000,)
    assert len(fake.calls[0].headers["x-long"]) == 20_000


def test_waiting_for_calls_that_do_not_come_says_how_many_came(fake: FakeModel) -> None:
    with pytest.raises(AssertionError, match=r"iris: 0 of 2 calls after 0\.01 s"):
        fake.wait_for_calls(2, timeout=0.01)


def test_clear_forgets_calls_and_steps(fake: FakeModel, client: httpx.Client) -> None:
    fake.script(Answer(1) * 3)
    post(client, fake)
    fake.clear()
    assert fake.calls == []
    assert value(post(client, fake)).tolist() == [6.0, 22.0]


# -- What goes wrong -------------------------------------------------------------------------------


def test_a_failure_has_its_status_message_and_retry_after(
    fake: FakeModel, client: httpx.Client
) -> None:
    fake.script(Fail(503, "busy", retry_after=1.5), Fail(502))
    answer = post(client, fake)
    assert (answer.status_code, answer.json()) == (503, {"error": "busy"})
    assert answer.headers["retry-after"] == "1.5"
    assert post(client, fake).json() == {"error": "Bad Gateway"}


def test_pauses_can_be_joined(fake: FakeModel, client: httpx.Client) -> None:
    fake.script(Delay(0.01, Delay(0.01, Fail(503, "busy"))))
    assert post(client, fake).json() == {"error": "busy"}


def test_a_raw_body_is_sent_without_changes(faulty: FaultyModel, client: httpx.Client) -> None:
    faulty.script(Raw(b"<html>", status=418, headers={"content-type": "text/html"}))
    answer = post(client, faulty)
    assert (answer.status_code, answer.content) == (418, b"<html>")
    assert answer.headers["content-type"] == "text/html"


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (Cut("start"), httpx.ReadError),
        (Cut("start", reset=False), httpx.RemoteProtocolError),
        (Cut("body"), httpx.ReadError),
        (Cut("body", reset=False), httpx.RemoteProtocolError),
        (NotHttp(b"hello\r\n\r\n"), httpx.RemoteProtocolError),
    ],
)
def test_the_client_sees_that_the_connection_ends(
    step: Step, kind: type[Exception], faulty: FaultyModel, client: httpx.Client
) -> None:
    faulty.script(step)
    with pytest.raises(kind):
        post(client, faulty)
    assert len(faulty.calls) == 1


@pytest.mark.parametrize(
    ("reset", "kind"), [(True, httpx.ReadError), (False, httpx.RemoteProtocolError)]
)
def test_a_stale_connection_ends_unread_with_the_next_request(
    reset: bool, kind: type[Exception], faulty: FaultyModel, client: httpx.Client
) -> None:
    faulty.script(Stale(reset=reset))
    assert post(client, faulty).status_code == 200
    with pytest.raises(kind):
        post(client, faulty)
    assert len(faulty.calls) == 1
    assert post(client, faulty).status_code == 200
    assert [call.connection for call in faulty.calls] == [1, 2]


def test_a_stalled_body_stops_half_way(faulty: FaultyModel) -> None:
    faulty.script(Stall())
    with httpx.Client(timeout=0.2) as client, pytest.raises(httpx.ReadTimeout):
        post(client, faulty)


def test_a_trickled_body_arrives_a_byte_at_a_time_and_whole(
    faulty: FaultyModel, client: httpx.Client
) -> None:
    faulty.script(Trickle(0.01))
    with client.stream("POST", f"{faulty.url}/v2/models/iris/infer", content=body(ROWS)) as answer:
        chunks = list(answer.iter_raw())
    assert len(chunks) > 2
    found = response_from_json(b"".join(chunks)).tensors
    assert decode_results(None, found).tolist() == [6.0, 22.0]


def test_a_delivery_may_follow_a_pause(faulty: FaultyModel, client: httpx.Client) -> None:
    faulty.script(Delay(0.01, Trickle(0.01, Fail(503, "busy"))))
    assert post(client, faulty).json() == {"error": "busy"}


def test_a_usual_answer_may_be_a_delivery(faulty: FaultyModel, client: httpx.Client) -> None:
    faulty.answer = Cut("start")
    for _ in range(2):
        with pytest.raises(httpx.ReadError):
            post(client, faulty)
    faulty.answer = Trickle(0.01)
    assert "has no answer left" in post(client, faulty).json()["error"]


def test_a_call_that_hangs_continues_when_it_is_released(
    fake: FakeModel, client: httpx.Client
) -> None:
    held = Hang(Answer("held"))
    fake.script(held)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(post, client, fake)
        fake.wait_for_calls(1)
        assert value(post(client, fake)).tolist() == [6.0, 22.0]
        assert not waiting.done()
        held.release()
        assert value(waiting.result()) == "held"


@pytest.mark.parametrize("step", [Hang(), Delay(3600)])
def test_stopping_ends_a_call_that_waits(step: Step, fake: FakeModel, client: httpx.Client) -> None:
    _stop_with_a_call_under_way(step, fake, client)


@pytest.mark.parametrize("step", [Stall(), Trickle(3600)])
def test_stopping_ends_an_answer_that_is_being_sent(
    step: Step, faulty: FaultyModel, client: httpx.Client
) -> None:
    _stop_with_a_call_under_way(step, faulty, client)


def _stop_with_a_call_under_way(step: Step, fake: FakeModel, client: httpx.Client) -> None:
    fake.script(step)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(post, client, fake)
        fake.wait_for_calls(1)
        fake.stop()
        with pytest.raises(httpx.RemoteProtocolError):
            waiting.result()


# -- Starting and stopping -------------------------------------------------------------------------


def test_it_refuses_calls_when_stopped_and_starts_at_the_same_url(
    fake: FakeModel, client: httpx.Client
) -> None:
    url = fake.url
    assert post(client, fake).status_code == 200
    for _ in range(3):
        fake.stop()
        with pytest.raises(httpx.ConnectError):
            post(client, fake)
        fake.start()
        assert fake.url == url
        assert post(client, fake).status_code == 200


def test_a_connection_that_is_accepted_while_it_stops_is_ended(fake: FakeModel) -> None:
    url = httpx.URL(fake.url)
    assert url.port is not None
    for _ in range(50):
        with socket.create_connection((url.host, url.port)) as connection:
            fake.stop()
            connection.settimeout(10)
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""
        fake.start()


def test_it_leaves_no_thread_behind(kind: type[FakeModel], client: httpx.Client) -> None:
    before = set(threading.enumerate())
    with kind("iris", 1) as fake:
        post(client, fake)
        assert set(threading.enumerate()) - before
    assert set(threading.enumerate()) - before == set()


async def test_it_holds_200_calls_at_once(fake: FakeModel) -> None:
    held = Hang()
    fake.script(held * 200)
    url, content = f"{fake.url}/v2/models/iris/infer", body(ROWS)

    async def call() -> int:
        async with session.post(url, data=content) as answer:
            return answer.status

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        calls = [asyncio.create_task(call()) for _ in range(200)]
        await asyncio.to_thread(fake.wait_for_calls, 200, 30)
        held.release()
        assert await asyncio.gather(*calls) == [200] * 200
    assert len({call.connection for call in fake.calls}) == 200


def test_it_speaks_tls(kind: type[FakeModel], tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", str(key), "-out", str(certificate), "-subj", "/CN=fake"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    trusted = ssl.create_default_context(cafile=str(certificate))
    with kind("iris", 1, ssl_context=server) as fake:
        assert fake.url.startswith("https://")
        with httpx.Client(verify=trusted, trust_env=False) as client:
            assert value(post(client, fake)) == [1]
            if isinstance(fake, FaultyModel):
                fake.script(Cut("start"))
                with pytest.raises(httpx.TransportError):
                    post(client, fake)


# -- a child on Triton -----------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_a_fake_of_triton_gets_and_gives_what_triton_would(transport: str) -> None:
    net = Model("net", platform=ModelFramework.ONNX)

    @pipeline("caller", models=PipelineModels(net=net))
    def caller(rows: np.ndarray) -> np.ndarray:
        found: np.ndarray = caller.models.net(X=rows)
        return found

    rows = np.array([[1.5, 2.0]], np.float16)
    with FakeModel("net", answer=lambda X: X * 2, grpc=transport == "grpc") as fake:  # noqa: N803
        url = fake.grpc_url if transport == "grpc" else fake.url
        caller.extra = {"models": {"net": {"url": url}}}
        np.testing.assert_array_equal(caller(rows), rows * 2)
        assert [call.inputs["X"].dtype for call in fake.calls] == [np.float16]
        background().run(caller.models.net.close())
