"""Calls to a server that is not always well."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from prometheus_client import REGISTRY

from tempo_runtime import ModelFramework
from tempo_runtime.errors import (
    ChildFailed,
    ChildUnavailable,
    DeadlineExceeded,
    SettingsError,
)
from tempo_runtime.request import context
from tempo_runtime.testing import Answer, Fail, Hang
from tests.clients.connected_child import Connect, connect
from tests.helpers.byte_faults import Cut, FaultyModel, Stale

__all__ = ["connect"]
X = np.ones(1)


@pytest.fixture
def fake() -> Iterator[FaultyModel]:
    with FaultyModel("iris", np.array([3]), grpc=True) as fake:
        yield fake


@pytest.fixture(params=["http", "grpc"])
def url(request: pytest.FixtureRequest, fake: FaultyModel) -> str:
    return fake.url if request.param == "http" else fake.grpc_url


def sample(name: str, **labels: str) -> float:
    labels = {"pipeline": "pipeline", "child": "child", **labels}
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_a_gateway_that_has_no_upstream_is_asked_again(
    url: str, fake: FaultyModel, connect: Connect
) -> None:
    fake.script(Fail(503), Fail(503))
    assert connect(url, unavailable_timeout=10)(X) == 3
    assert len(fake.calls) == 3


def test_a_busy_child_is_asked_again_a_few_times(
    url: str, fake: FaultyModel, connect: Connect
) -> None:
    fake.answer = Fail(429, "slow down", code="RESOURCE_EXHAUSTED")
    with pytest.raises(ChildUnavailable, match="slow down"):
        connect(url, unavailable_timeout=10, retries=2)(X)
    assert len(fake.calls) == 3


def test_a_child_that_asks_for_more_time_than_there_is_is_not_asked_again(
    fake: FaultyModel, connect: Connect
) -> None:
    fake.answer = Fail(503, "later", retry_after=100)
    child = connect(fake.url, unavailable_timeout=10)
    with context.serving(20, {}), pytest.raises(ChildUnavailable, match="later"):
        child(X)
    assert len(fake.calls) == 1


def test_an_error_of_the_childs_own_is_not_tried_again(
    url: str, fake: FaultyModel, connect: Connect
) -> None:
    fake.answer = Fail(500, "bug")
    with pytest.raises(ChildFailed, match="bug"):
        connect(url, unavailable_timeout=10)(X)
    assert len(fake.calls) == 1


def test_a_connection_that_was_given_up_between_calls_is_replaced(
    fake: FaultyModel, connect: Connect
) -> None:
    child = connect(fake.url)
    fake.script(Stale(), Answer(np.array([3])))
    assert [child(X), child(X)] == [3, 3]


def test_a_request_that_breaks_its_connection_is_sent_a_few_times_only(
    fake: FaultyModel, connect: Connect
) -> None:
    fake.script(*Cut("start") * 10)
    with pytest.raises(ChildUnavailable, match="the connection broke"):
        connect(fake.url, unavailable_timeout=10, retries=2)(X)
    assert len(fake.calls) == 3


def test_retries_are_counted(fake: FaultyModel, connect: Connect) -> None:
    before = sample("tempo_child_retries_total")
    fake.script(Fail(502), Fail(502))
    connect(fake.url)(X)
    assert sample("tempo_child_retries_total") == before + 2


def test_a_child_that_is_down_is_waited_for(url: str, fake: FaultyModel, connect: Connect) -> None:
    child = connect(url, unavailable_timeout=60)
    fake.stop()
    with ThreadPoolExecutor(20) as pool:
        calls = [pool.submit(child, X) for _ in range(20)]
        while sample("tempo_child_breaker_state", url=_place(url)) != 2:
            assert not any(call.done() for call in calls)
        fake.start()
        assert [call.result() for call in calls] == [3] * 20
    assert sample("tempo_child_breaker_state", url=_place(url)) == 0


def test_a_child_that_is_down_for_long_fails_at_once(
    url: str, fake: FaultyModel, connect: Connect
) -> None:
    child = connect(url, unavailable_timeout=0.3)
    fake.stop()
    told: list[str] = []
    while not any("It has been down for" in each for each in told):
        with pytest.raises(ChildUnavailable) as caught:
            child(X)
        told.append(str(caught.value))
    assert all("cannot be reached" in each for each in told)


def test_waiting_for_a_child_ends_before_the_requests_deadline(
    url: str, fake: FaultyModel, connect: Connect
) -> None:
    child = connect(url, unavailable_timeout=60)
    fake.stop()
    with context.serving(0.5, {}), pytest.raises(ChildUnavailable, match="cannot be reached"):
        child(X)


def test_after_a_hung_child_its_breaker_opens_and_closes_again(
    fake: FaultyModel, connect: Connect
) -> None:
    hanging = Hang(then=Answer(np.array([3])))
    fake.answer = hanging
    child = connect(fake.url, timeout=0.1)
    for _ in range(3):
        with pytest.raises(ChildUnavailable, match="did not answer within"):
            child(X)
    assert sample("tempo_child_breaker_state", url=_place(fake.url)) == 2
    fake.answer = np.array([3])
    hanging.release()
    assert connect(fake.url, unavailable_timeout=10)(X) == 3


def test_calls_beyond_the_limit_wait(fake: FaultyModel, connect: Connect) -> None:
    gate = Hang()
    fake.script(gate, gate)
    child = connect(fake.url, max_concurrency=2)
    with ThreadPoolExecutor(5) as pool:
        calls = [pool.submit(child, X) for _ in range(5)]
        fake.wait_for_calls(2)
        while sample("tempo_child_calls_in_flight") < 5:
            pass
        assert len(fake.calls) == 2
        gate.release()
        assert [call.result() for call in calls] == [3] * 5


def test_a_call_that_waits_for_others_until_its_time_is_up_says_so(
    fake: FaultyModel, connect: Connect
) -> None:
    gate = Hang()
    fake.script(gate)
    child = connect(fake.url, max_concurrency=1)
    first = child.submit(X)
    fake.wait_for_calls(1)
    told = r"stayed at its limit of concurrent calls \(`max_concurrency` is 1\)"
    with context.serving(0.2, {}), pytest.raises(ChildUnavailable, match=told):
        child(X)
    gate.release()
    assert first.result() == 3


def test_several_servers_take_turns(connect: Connect) -> None:
    with FaultyModel("iris", 1) as one, FaultyModel("iris", 2) as two:
        child = connect([one.url, two.url])
        assert [child(X).item() for _ in range(4)] == [1, 2, 1, 2]


def test_several_servers_may_be_written_with_commas(connect: Connect) -> None:
    with FaultyModel("iris", 1) as one, FaultyModel("iris", 2) as two:
        child = connect(f"{one.url}, {two.url}")
        assert {child(X).item(), child(X).item()} == {1, 2}


def test_a_server_that_is_down_is_left_out(connect: Connect) -> None:
    with FaultyModel("iris", 1) as one, FaultyModel("iris", 2) as two:
        child = connect([one.url, two.url], unavailable_timeout=10)
        two.stop()
        assert [child(X) for _ in range(20)] == [1] * 20
        two.start()
        while child(X) != 2:
            pass


def test_a_pipeline_of_ours_is_told_what_time_is_left_and_the_seed(
    url: str, fake: FaultyModel, connect: Connect
) -> None:
    child = connect(url, platform=ModelFramework.TempoPipeline)
    with context.serving(20, {}, seed=7):
        child(X)
    told = fake.calls[0].parameters
    assert 15 < float(told["tempo_timeout"]) < 20
    assert int(told["tempo_seed"]) == 7


def test_another_model_is_not_sent_our_parameters(
    url: str, fake: FaultyModel, connect: Connect
) -> None:
    child = connect(url)
    with context.serving(20, {}, seed=7):
        child(X)
    assert not any(name.startswith("tempo") for name in fake.calls[0].parameters)


def test_a_deadline_ends_a_call_that_was_submitted(fake: FaultyModel, connect: Connect) -> None:
    fake.script(Hang())
    child = connect(fake.url)
    with context.serving(0.2, {}):
        future = child.submit(X)
    with pytest.raises(DeadlineExceeded):
        future.result()


def test_urls_of_two_transports_are_refused(connect: Connect) -> None:
    with pytest.raises(SettingsError, match="must use HTTP, or all of them gRPC"):
        connect(["http://a", "grpc://b"])


def _place(url: str) -> str:
    return url if url.startswith("grpc") else f"{url}/v2/models/iris/infer"


def test_children_of_several_pipelines_share_connections(
    fake: FaultyModel, connect: Connect
) -> None:
    for _ in range(3):
        connect(fake.url)(X)
    assert len({call.connection for call in fake.calls}) == 1
