"""The metrics of a real server for Prometheus, with and without workers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from tempo_runtime import save
from tempo_runtime.request.metrics import PipelineMetrics
from tempo_runtime.testing import Answer, Fail, FakeModel, Server, serve
from tests.helpers import pipelines

Sample = dict[tuple[str, ...], float]


@pytest.fixture(params=[0, 1, 2])
def server(request: pytest.FixtureRequest, tmp_path: Path, fake: FakeModel) -> Iterator[Server]:
    save(pipelines.SyncParent, str(tmp_path / "sync-parent"))
    env = {"TEMPO_RUNTIME_MODELS__DOUBLE__URL": fake.url, "TEMPO_RUNTIME_UNAVAILABLE_TIMEOUT": "0"}
    with serve(tmp_path, settings={"parallel_workers": request.param}, env=env) as server:
        yield server


@pytest.fixture
def fake() -> Iterator[FakeModel]:
    with FakeModel("double", lambda x: x * 2) as fake:
        yield fake


def samples(server: Server) -> dict[str, float]:
    """Every sample of ours, by its name and the values of its labels."""
    text = server.http.get(server.metrics).text
    return {
        " ".join(
            [sample.name, *(sample.labels[name] for name in sorted(sample.labels))]
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("tempo_")
    }


def test_requests_calls_failures_retries_and_breakers_are_exported(
    server: Server, fake: FakeModel
) -> None:
    x = np.array([1.0])
    for _ in range(4):
        server.infer("sync-parent", x=x)
    fake.script(Fail(502), Answer(x), *Fail(500, "bug") * 2)
    server.infer("sync-parent", x=x)
    for _ in range(2):
        with pytest.raises(AssertionError, match="bug"):
            server.infer("sync-parent", x=x)
    found = samples(server)
    expected = {
        "tempo_pipeline_requests_total ok sync-parent": 5,
        "tempo_pipeline_requests_total ChildFailed sync-parent": 2,
        "tempo_pipeline_requests_seconds_count sync-parent": 7,
        "tempo_pipeline_requests_in_flight sync-parent": 0,
        "tempo_child_calls_total double ok sync-parent": 5,
        "tempo_child_calls_total double ChildFailed sync-parent": 2,
        "tempo_child_calls_seconds_count double sync-parent": 7,
        "tempo_child_calls_in_flight double sync-parent": 0,
        "tempo_child_retries_total double sync-parent": 1,
    }
    assert {name: found.get(name) for name in expected} == expected


def test_a_breaker_that_opens_is_exported(server: Server, fake: FakeModel) -> None:
    fake.stop()
    for _ in range(12):  # three in a row in each worker
        with pytest.raises(AssertionError, match="cannot be reached"):
            server.infer("sync-parent", x=np.array([1.0]))
    place = f"{fake.url}/v2/models/double/infer"
    assert samples(server)[f"tempo_child_breaker_state double sync-parent {place}"] == 2


def sample(name: str, pipeline: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, {"pipeline": pipeline, **labels})


def test_calls_are_counted_whenever_the_metrics_are_read() -> None:
    metrics = PipelineMetrics("read")
    with metrics.call():
        assert sample("tempo_pipeline_requests_in_flight", "read") == 1
        assert sample("tempo_pipeline_requests_seconds_count", "read") == 0
    with pytest.raises(KeyError), metrics.call():
        raise KeyError
    assert sample("tempo_pipeline_requests_in_flight", "read") == 0
    assert sample("tempo_pipeline_requests_seconds_count", "read") == 2
    assert sample("tempo_pipeline_requests_total", "read", outcome="ok") == 1
    assert sample("tempo_pipeline_requests_total", "read", outcome="error") == 1


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit])
def test_a_client_that_leaves_is_not_an_error_of_the_pipeline(error: type[BaseException]) -> None:
    metrics = PipelineMetrics(f"left-{error.__name__.lower()}")
    with pytest.raises(error), metrics.call():
        raise error
    name = f"left-{error.__name__.lower()}"
    assert sample("tempo_pipeline_requests_total", name, outcome="cancelled") == 1


def test_no_call_is_lost_between_threads_and_pipelines_of_one_name() -> None:
    both = [PipelineMetrics("many"), PipelineMetrics("many")]

    def work(number: int) -> None:
        for _ in range(700):
            with both[number % 2].call():
                pass

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    assert sample("tempo_pipeline_requests_total", "many", outcome="ok") == 2800
    assert sample("tempo_pipeline_requests_seconds_count", "many") == 2800
    assert sample("tempo_pipeline_requests_in_flight", "many") == 0
