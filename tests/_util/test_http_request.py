"""Requests to a server on this machine."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tempo_runtime._util.http_request import request
from tempo_runtime._util.ports import reserved
from tempo_runtime.protocol.binding import decode_results, encode_arguments
from tempo_runtime.protocol.messages import Request, request_to_json, response_from_json
from tempo_runtime.servers.process import is_ready
from tests.helpers.byte_faults import Cut, FaultyModel, NotHttp, Raw, Stall


@pytest.fixture
def fake() -> Iterator[FaultyModel]:
    with FaultyModel("iris", answer=np.array([1, 2])) as fake:
        yield fake


def test_a_body_is_posted_and_answered(fake: FaultyModel) -> None:
    body = request_to_json(Request(encode_arguments(None, (np.ones(2),), {})))
    headers = {"x-request-id": "abc"}
    answer = request(f"{fake.url}/v2/models/iris/infer", 5, body=body, headers=headers)
    assert answer.status == 200
    assert decode_results(None, response_from_json(answer.body).tensors).tolist() == [1, 2]
    assert fake.calls[0].headers["x-request-id"] == "abc"


def test_a_model_is_ready_if_the_server_answers_so(fake: FaultyModel) -> None:
    assert is_ready(fake.url, "iris", 5)
    assert not is_ready(fake.url, "other", 5)
    fake.ready = False
    assert not is_ready(fake.url, "iris", 5)


@pytest.mark.parametrize("name", ["iris é", "日本"])
def test_a_name_need_not_be_ascii(name: str, fake: FaultyModel) -> None:
    assert not is_ready(fake.url, name, 5)


def test_without_a_server_a_model_is_not_ready() -> None:
    with reserved() as port:
        assert not is_ready(f"http://127.0.0.1:{port}", "iris", 5)


def test_a_proxy_in_the_environment_is_not_used(
    fake: FaultyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reserved() as port:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        assert is_ready(fake.url, "iris", 5)


def test_a_redirect_is_an_answer(fake: FaultyModel) -> None:
    fake.script(Raw(b"", 307, {"location": f"{fake.url}/v2/health/live"}))
    body = request_to_json(Request([]))
    assert request(f"{fake.url}/v2/models/iris/infer", 5, body=body).status == 307


@pytest.mark.parametrize(
    "fault", [Cut("start"), Cut("body", reset=False), NotHttp(b"220 mail\r\n"), Stall()]
)
def test_an_answer_that_breaks_is_an_os_error(fault: Cut | NotHttp, fake: FaultyModel) -> None:
    fake.script(fault)
    with pytest.raises(OSError):  # noqa: PT011 - each kind of it
        request(f"{fake.url}/v2/models/iris/infer", 0.2, body=request_to_json(Request([])))
