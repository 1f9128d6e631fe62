"""Answers in which a server of ours says whose fault an error is, as its caller takes them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import orjson
import pytest
from prometheus_client import REGISTRY

from tempo_runtime import ModelFramework
from tempo_runtime.clients.child import Child
from tempo_runtime.errors import (
    ChildFailed,
    ChildRefused,
    ChildUnavailable,
    DeadlineExceeded,
    Fault,
    TempoError,
)
from tempo_runtime.protocol.error_details import HEADER, KEY, ErrorInfo, marked
from tempo_runtime.testing import Fail
from tempo_runtime.testing.steps import Step
from tests.clients.connected_child import Connect, connect
from tests.helpers.byte_faults import FaultyModel, Raw

__all__ = ["connect"]
X = np.ones(1)
FINAL: dict[str, tuple[ErrorInfo, type[TempoError]]] = {
    "the client's": (ErrorInfo("PayloadError", 422, Fault.CLIENT), ChildRefused),
    "a budget": (ErrorInfo("BudgetExceeded", 422, Fault.CLIENT, path=("a",)), ChildRefused),
    "the author's": (ErrorInfo("PipelineFailed", 500, Fault.PIPELINE), ChildFailed),
    "its child's": (ErrorInfo("ChildFailed", 502, Fault.CHILD, path=("a",)), ChildFailed),
    "its child is down": (
        ErrorInfo("ChildUnavailable", 503, Fault.CHILD, True, 1.0, ("a",)),
        ChildUnavailable,
    ),
    "late": (ErrorInfo("DeadlineExceeded", 504, Fault.SERVER, True), DeadlineExceeded),
}


@pytest.fixture
def fake() -> Iterator[FaultyModel]:
    with FaultyModel("shop", X * 3, grpc=True) as fake:
        yield fake


@pytest.fixture(params=["http", "http, header alone", "grpc"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def answer(way: str, info: ErrorInfo, said: str) -> Step:
    """An error as our servers send it."""
    if way == "grpc":
        return Fail(500, marked(said, info), code="UNKNOWN")
    body = {"error": said} if "header" in way else {"error": said, KEY: info.to_json()}
    return Raw(orjson.dumps(body), info.status, {HEADER: info.to_header()})


def connected(way: str, fake: FaultyModel, connect: Connect) -> Child:
    url = fake.grpc_url if way == "grpc" else fake.url
    return connect(url, "shop", ModelFramework.TempoPipeline, unavailable_timeout=10)


@pytest.mark.parametrize("case", FINAL)
def test_error_is_passed_up_with_its_status_and_text_and_not_tried_again(
    case: str, way: str, fake: FaultyModel, connect: Connect
) -> None:
    info, kind = FINAL[case]
    child = connected(way, fake, connect)
    fake.script(answer(way, info, "pipeline 'shop': it is so"))
    with pytest.raises(TempoError, match=r"^child 'shop': it is so$") as caught:
        child(X)
    assert type(caught.value) is kind
    assert ErrorInfo.of(caught.value) == ErrorInfo(
        info.kind, info.status, info.fault, info.retryable, info.retry_after, ("shop", *info.path)
    )
    assert len(fake.calls) == 1


@pytest.mark.parametrize("case", FINAL)
def test_error_that_its_server_explains_never_opens_its_breaker(
    case: str, way: str, fake: FaultyModel, connect: Connect
) -> None:
    info, kind = FINAL[case]
    child = connected(way, fake, connect)
    fake.script(*answer(way, info, "no") * 5)
    for _ in range(5):
        with pytest.raises(kind):
            child(X)
    assert child(X).tolist() == [3.0]
    url = fake.grpc_url if way == "grpc" else f"{fake.url}/v2/models/shop/infer"
    labels = {"pipeline": "pipeline", "child": "child", "url": url}
    assert not REGISTRY.get_sample_value("tempo_child_breaker_state", labels)


def test_server_that_is_busy_itself_is_asked_again(
    way: str, fake: FaultyModel, connect: Connect
) -> None:
    busy = ErrorInfo("Overloaded", 503, Fault.SERVER, True, 0.01)
    fake.script(answer(way, busy, "full"))
    assert connected(way, fake, connect)(X).tolist() == [3.0]
    assert len(fake.calls) == 2


def test_gateways_502_is_tried_again_as_before(fake: FaultyModel, connect: Connect) -> None:
    fake.script(Fail(502, "Bad Gateway"))
    assert connected("http", fake, connect)(X).tolist() == [3.0]


def test_header_that_disagrees_with_the_status_is_not_our_servers(
    fake: FaultyModel, connect: Connect
) -> None:
    info = ErrorInfo("PayloadError", 422, Fault.CLIENT)
    fake.script(Raw(b"Bad Gateway", 502, {HEADER: info.to_header()}))
    assert connected("http", fake, connect)(X).tolist() == [3.0]
