"""A fake model over gRPC, and the one of `tests.helpers` that has faults in each byte."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from typing import Any

import grpc
import numpy as np
import pytest
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

from tempo_runtime.protocol.binding import decode_results, encode_arguments
from tempo_runtime.protocol.grpc_messages import request_to_proto, response_from_proto
from tempo_runtime.protocol.messages import Request
from tempo_runtime.testing import Answer, Call, Delay, Fail, FakeModel, Hang, Step
from tests.helpers.byte_faults import Cut, FaultyModel, NotHttp, Raw, Stale, Stall, Trickle

ROWS = np.arange(8.0).reshape(2, 4)


def channel_to(fake: FakeModel) -> grpc.Channel:
    return grpc.insecure_channel(fake.grpc_url.removeprefix("grpc://"))


Running = tuple[FakeModel, Any]


@pytest.fixture(scope="module", params=[FakeModel, FaultyModel])
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    with request.param("iris", grpc=True) as fake, channel_to(fake) as channel:
        yield fake, GRPCInferenceServiceStub(channel)


@pytest.fixture
def fake(running: Running) -> FakeModel:
    running[0].clear()
    running[0].answer = lambda rows: rows.sum(axis=1)
    return running[0]


@pytest.fixture
def stub(running: Running) -> Any:
    return running[1]


@pytest.fixture
def faulty() -> Iterator[Running]:
    with (
        FaultyModel("iris", lambda rows: rows.sum(axis=1), grpc=True) as fake,
        channel_to(fake) as channel,
    ):
        yield fake, GRPCInferenceServiceStub(channel)


def message(value: Any = ROWS, model: str = "iris") -> pb.ModelInferRequest:
    request = Request(encode_arguments(None, (value,), {}), ["scores"], {"top": 3}, "7")
    return request_to_proto(request, model, "v2")


def failure(stub: Any, **options: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(message(), **options)
    return caught.value.code(), caught.value.details()


@pytest.mark.parametrize(
    "value", [ROWS, "käse", [b"\xff", b""], {"a": [1.5, None]}, np.array([np.inf]), True]
)
def test_values_travel_both_ways(value: Any, fake: FakeModel, stub: Any) -> None:
    fake.answer = lambda given: given
    found = response_from_proto(stub.ModelInfer(message(value)))
    np.testing.assert_equal(decode_results(None, found.tensors), value)


def test_a_call_is_recorded_with_its_metadata_and_parameters(fake: FakeModel, stub: Any) -> None:
    stub.ModelInfer(message(), metadata=(("x-request-id", "abc"),))
    [call] = fake.calls
    assert call.inputs["input-0"].tolist() == ROWS.tolist()
    assert (call.outputs, call.parameters, call.id) == (["scores"], {"top": 3}, "7")
    assert call.headers["x-request-id"] == "abc"
    assert (call.transport, call.version) == ("grpc", "v2")


def test_it_answers_health_and_metadata(fake: FakeModel, stub: Any) -> None:
    assert stub.ServerLive(pb.ServerLiveRequest()).live
    assert stub.ServerReady(pb.ServerReadyRequest()).ready
    assert stub.ModelReady(pb.ModelReadyRequest(name="iris")).ready
    assert stub.ModelMetadata(pb.ModelMetadataRequest(name="iris")).name == "iris"


@pytest.mark.parametrize(
    ("step", "code", "told"),
    [
        (Fail(503, "busy"), grpc.StatusCode.UNAVAILABLE, "busy"),
        (Fail(429, "slow down"), grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down"),
        (Fail(500), grpc.StatusCode.INTERNAL, ""),
        (Fail(418), grpc.StatusCode.UNKNOWN, ""),
        (Fail(code="DATA_LOSS"), grpc.StatusCode.DATA_LOSS, ""),
        (Answer(object()), grpc.StatusCode.INTERNAL, None),
    ],
)
def test_a_step_that_fails_has_its_status(
    step: Step, code: grpc.StatusCode, told: str | None, fake: FakeModel, stub: Any
) -> None:
    fake.script(step)
    found = failure(stub)
    assert found[0] is code
    assert told is None or found[1] == told


@pytest.mark.parametrize(
    ("step", "code", "told"),
    [
        (Raw(b"\xff\xff"), grpc.StatusCode.INTERNAL, "Exception deserializing response!"),
        (Cut(), grpc.StatusCode.UNAVAILABLE, "the connection was cut"),
        (NotHttp(b""), grpc.StatusCode.UNAVAILABLE, "the connection does not speak the protocol"),
    ],
)
def test_a_faulty_answer_has_its_status(
    step: Step, code: grpc.StatusCode, told: str, faulty: Running
) -> None:
    fake, stub = faulty
    fake.script(step)
    assert failure(stub) == (code, told)


def test_a_step_that_takes_time_still_answers(fake: FakeModel, stub: Any) -> None:
    fake.script(Delay(0.01))
    found = response_from_proto(stub.ModelInfer(message()))
    assert decode_results(None, found.tensors).tolist() == [6.0, 22.0]


@pytest.mark.parametrize("step", [Trickle(0.01), Stale()])
def test_a_delivery_that_takes_time_still_answers(step: Step, faulty: Running) -> None:
    fake, stub = faulty
    fake.script(step)
    found = response_from_proto(stub.ModelInfer(message()))
    assert decode_results(None, found.tensors).tolist() == [6.0, 22.0]


def test_an_answer_that_stalls_ends_with_the_clients_deadline(faulty: Running) -> None:
    fake, stub = faulty
    fake.script(Stall())
    assert failure(stub, timeout=0.1)[0] is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("step", [Hang(), Delay(3600)])
def test_a_call_that_hangs_ends_with_the_clients_deadline(
    step: Step, fake: FakeModel, stub: Any
) -> None:
    fake.script(step)
    assert failure(stub, timeout=0.1)[0] is grpc.StatusCode.DEADLINE_EXCEEDED


def test_another_model_is_not_found(fake: FakeModel, stub: Any) -> None:
    with pytest.raises(grpc.RpcError, match="Model other not found"):
        stub.ModelInfer(message(model="other"))
    assert fake.calls == []


def test_a_message_that_is_not_a_tensor_is_refused(fake: FakeModel, stub: Any) -> None:
    broken = message()
    broken.raw_input_contents[0] = b"abc"
    with pytest.raises(grpc.RpcError, match="has 3 bytes"):
        stub.ModelInfer(broken)
    assert fake.calls == []


@pytest.mark.parametrize("kind", [FakeModel, FaultyModel])
def test_it_stops_during_200_calls_and_starts_on_the_same_port(
    kind: type[FakeModel],
) -> None:
    before = set(threading.enumerate())
    with kind("iris", 1, grpc=True) as fake, channel_to(fake) as channel:
        url, stub = fake.grpc_url, GRPCInferenceServiceStub(channel)
        fake.script(Hang() * 200)
        calls = [stub.ModelInfer.future(message()) for _ in range(200)]
        fake.wait_for_calls(200, 30)
        fake.stop()
        assert {call.exception().code() for call in calls} == {grpc.StatusCode.UNAVAILABLE}
        fake.start()
        assert fake.grpc_url == url
        assert stub.ModelInfer(message(), wait_for_ready=True, timeout=20).model_name == "iris"
    left = set(threading.enumerate()) - before
    assert [thread for thread in left if thread.name.startswith("fake-model")] == []


def test_without_grpc_there_is_no_address() -> None:
    with FakeModel("iris", 1) as fake, pytest.raises(AssertionError, match="grpc=True"):
        _ = fake.grpc_url


def test_a_call_that_has_ended_is_not_waited_for() -> None:
    class Ended:
        def add_callback(self, callback: Callable[[], None]) -> bool:
            return False

    with FakeModel("iris", 1, grpc=True) as fake:
        fake.script(Hang())
        assert fake._running is not None
        side = fake._running._grpc
        call = Call.of(Request([]), headers={}, transport="grpc", path="/", version=None)
        with pytest.raises(CancelledError):
            side._played(call, Ended())  # type: ignore[union-attr,arg-type]
