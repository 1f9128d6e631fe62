"""Connections that are refused, broken, given up, or never made."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tempo_runtime.testing import Hang, Server, Step
from tests.helpers.byte_faults import Cut, FaultyModel, Stale
from tests.integration.faults.asker import Asker, Told, X

WELL = Told(200, "", X * 2)
_KEPT = 5.0  # seconds for which uvicorn keeps an idle connection

BREAKS = [Cut("start"), Cut("start", reset=False), Cut("body"), Cut("body", reset=False)]


@pytest.mark.parametrize("step", BREAKS)
def test_a_connection_that_breaks_is_made_again(
    step: Step, pipeline: str, fake: FaultyModel, asker: Asker
) -> None:
    fake.script(step)
    assert asker.ask(pipeline, "http") == WELL
    assert len(fake.calls) == 2


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_a_request_that_breaks_each_connection_fails_after_a_few_attempts(
    transport: str, pipeline: str, fake: FaultyModel, asker: Asker
) -> None:
    fake.script(*Cut("start") * 3)
    told = asker.ask(pipeline, transport, seconds=30)
    assert told.status == 503
    assert "child 'iris' cannot be reached at" in told.text
    assert (fake.url if transport == "http" else fake.grpc_url) in told.text
    assert len(fake.calls) == 3
    assert asker.ask(pipeline, transport) == WELL


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_without_retries_a_connection_that_breaks_is_reported(
    transport: str, fake: FaultyModel, asker: Asker
) -> None:
    fake.script(Cut("start"))
    told = asker.ask("ask", f"once_{transport}", seconds=30)
    assert told.status == 503
    assert "child 'iris' cannot be reached at" in told.text
    assert len(fake.calls) == 1
    assert asker.ask("ask", f"once_{transport}") == WELL


@pytest.mark.parametrize("reset", [True, False])
def test_a_connection_that_was_given_up_unseen_is_replaced(
    reset: bool, pipeline: str, fake: FaultyModel, asker: Asker
) -> None:
    fake.script(Stale(reset))
    assert [asker.ask(pipeline, "http") for _ in range(2)] == [WELL] * 2


def test_many_connections_that_were_given_up_at_once_are_replaced(
    pipeline: str, fake: FaultyModel, asker: Asker
) -> None:
    gate = Hang()
    count = 12
    fake.script(*Stale(then=gate) * count)
    with ThreadPoolExecutor(count) as pool:
        calls = [pool.submit(asker.ask, pipeline, "http") for _ in range(count)]
        fake.wait_for_calls(count)
        gate.release()
        assert [call.result() for call in calls] == [WELL] * count
    assert asker.ask_many(count, pipeline, "http") == [WELL] * count


def test_at_the_moment_a_server_closes_idle_connections_requests_succeed(
    child: Server, asker: Asker
) -> None:
    def ask(offset: float) -> list[Told]:
        told = [asker.ask(pipeline, "double_http") for pipeline in ("ask", "ask-async")]
        time.sleep(_KEPT + offset)  # this moment is tested
        return told + [asker.ask(pipeline, "double_http") for pipeline in ("ask", "ask-async")]

    offsets = [milliseconds / 1000 for milliseconds in range(-45, 50, 5)]
    with ThreadPoolExecutor(len(offsets)) as pool:
        for told in pool.map(ask, offsets):
            assert told == [WELL] * 4


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_a_server_that_nobody_runs_is_reported(
    transport: str, pipeline: str, fake: FaultyModel, asker: Asker
) -> None:
    fake.stop()
    told = asker.ask(pipeline, transport, seconds=1)
    assert told.status == 503
    assert "child 'iris' cannot be reached at" in told.text
    assert (fake.url if transport == "http" else fake.grpc_url) in told.text
    assert "check that its server is running and that the URL is correct" in told.text
    fake.start()
    assert asker.ask(pipeline, transport) == WELL


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_a_host_that_does_not_exist_is_reported(
    transport: str, pipeline: str, asker: Asker
) -> None:
    told = asker.ask(pipeline, f"nowhere_{transport}", seconds=1)
    assert told.status == 503
    assert f"child 'iris' cannot be reached at {transport}://nowhere.invalid:80" in told.text


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_a_host_that_takes_no_connections_is_reported(
    transport: str, pipeline: str, asker: Asker, blackhole: int
) -> None:
    told = asker.ask(pipeline, f"blackhole_{transport}", seconds=2)
    # The last of several attempts may be at work when the time is up.
    assert told.status in (503, 504)
    assert "child 'iris'" in told.text
    assert f"{transport}://127.0.0.1:{blackhole}" in told.text


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_a_connection_that_is_not_made_in_time_is_reported(
    transport: str, asker: Asker, blackhole: int
) -> None:
    told = asker.ask("ask", f"impatient_{transport}", seconds=30)
    assert told.status == 503
    assert f"child 'iris' cannot be reached at {transport}://127.0.0.1:{blackhole}" in told.text


def test_a_burst_leaves_its_connections_until_they_are_idle_for_long(
    fake: FaultyModel, asker: Asker
) -> None:
    gate = Hang()
    fake.script(*gate * 16)
    with ThreadPoolExecutor(16) as pool:
        calls = [pool.submit(asker.ask, "ask-async", "http") for _ in range(16)]
        fake.wait_for_calls(16)
        gate.release()
        assert [call.result() for call in calls] == [WELL] * 16
    asker.check_nothing_is_left(idle=0)
