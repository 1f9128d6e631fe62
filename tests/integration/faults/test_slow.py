"""A child that is slow, or that stops within its answer."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tempo_runtime.testing import Hang, Server, Step
from tests.helpers.byte_faults import FaultyModel, Stall, Trickle
from tests.integration.faults.asker import Asker, Told, X

WELL = Told(200, "", X * 2)


@contextmanager
def stopped(child: Server) -> Iterator[None]:
    """A child whose process does nothing at all, for the block; its kernel still takes connections."""
    os.kill(child.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(child.process.pid, signal.SIGCONT)


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_a_hung_process_costs_a_request_its_time_and_no_more(
    transport: str, pipeline: str, child: Server, asker: Asker
) -> None:
    assert asker.ask(pipeline, f"double_{transport}") == WELL
    with stopped(child):
        told = asker.ask(pipeline, f"double_{transport}", seconds=0.5)
        assert asker.server.http.get("/v2/health/live").status_code == 200
    assert told.status == 504
    assert "did not answer in time: the request's 0.5 s are spent" in told.text
    for words in ("child 'double'", child.url if transport == "http" else child.grpc):
        assert words in told.text
    assert asker.ask(pipeline, f"double_{transport}") == WELL


@pytest.mark.parametrize("transport", ["http", "grpc"])
@pytest.mark.parametrize(
    "step", [Hang(), Stall(), Trickle(60)], ids=["hangs", "stalls", "trickles"]
)
def test_a_child_that_does_not_finish_costs_a_request_its_time_and_no_more(
    step: Step, transport: str, pipeline: str, fake: FaultyModel, asker: Asker
) -> None:
    fake.script(*step * 5)
    with ThreadPoolExecutor(5) as pool:
        calls = [pool.submit(asker.ask, pipeline, transport, X, 1.0) for _ in range(5)]
        for call in calls:
            told = call.result()
            assert told.status == 504
            assert "child 'iris'" in told.text
            assert (fake.url if transport == "http" else fake.grpc_url) in told.text
    assert asker.ask(pipeline, transport) == WELL


def test_a_pipelines_own_client_over_grpc_is_told_that_the_time_is_spent(
    fake: FaultyModel, asker: Asker
) -> None:
    fake.script(Stall())
    told = asker.ask_over_grpc("ask", "http", seconds=0.5)
    assert "child 'iris'" in told.text
    assert told.text.endswith("(status 504)")


def test_a_slow_answer_that_comes_in_time_is_given(
    pipeline: str, fake: FaultyModel, asker: Asker
) -> None:
    fake.script(Trickle(0.5))
    assert asker.ask(pipeline, "http", seconds=30) == WELL


LIMITS = [
    ("timeout_http", "did not answer within 0.3 s, its `timeout`"),
    ("timeout_grpc", "did not answer within 0.3 s, its `timeout`"),
    ("read_timeout", "did not answer within 0.3 s, its `read_timeout`"),
]


@pytest.mark.parametrize(("limited", "said"), LIMITS)
def test_a_child_may_be_given_less_time_than_the_request(
    limited: str, said: str, pipeline: str, fake: FaultyModel, asker: Asker
) -> None:
    fake.script(Stall())
    told = asker.ask(pipeline, limited, seconds=30)
    assert told.status == 503
    assert "child 'iris'" in told.text
    assert said in told.text
    assert asker.ask(pipeline, limited) == WELL
