"""A child over gRPC, when something is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tempo_runtime import context, save
from tempo_runtime.children.child import Child
from tempo_runtime.children.grpc import GrpcTransport
from tempo_runtime.details import ModelDetails, ModelFramework
from tempo_runtime.errors import (
    ChildFailed,
    ChildNotFound,
    ChildUnavailable,
    DeadlineExceeded,
)
from tempo_runtime.portal import background
from tempo_runtime.testing import Server, free_ports, serve
from tests import pipelines


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("models")
    for target in (pipelines.echo, pipelines.waiter, pipelines.broken):
        save(target, str(root / target.details.name))
    with serve(root) as server:
        yield server


@pytest.fixture
def child(server: Server) -> Iterator[Callable[..., Child]]:
    transports = []

    def made(model: str, url: str = f"grpc://{server.grpc}", timeout: float | None = None) -> Child:
        transports.append(GrpcTransport(background(), url=url, model=model, timeout=timeout))
        return Child(ModelDetails(model, ModelFramework.Custom), transports[-1])

    yield made
    for transport in transports:
        background().run(transport.close())


def test_a_model_its_server_does_not_have_is_not_found(child: Callable[..., Child]) -> None:
    with pytest.raises(ChildNotFound, match="child 'absent' is not at grpc://"):
        child("absent")(1)


def test_a_server_nobody_runs_is_unavailable_with_its_url(child: Callable[..., Child]) -> None:
    [port] = free_ports(1)
    with pytest.raises(ChildUnavailable, match=f"cannot be reached at grpc://127.0.0.1:{port}"):
        child("echo", f"grpc://127.0.0.1:{port}")(1)


def test_a_child_that_fails_is_told_with_its_words(child: Callable[..., Child]) -> None:
    with pytest.raises(ChildFailed, match=r"answered INTERNAL: .*ValueError: this is wrong"):
        child("broken")("value")


def test_a_child_that_hangs_ends_with_the_requests_deadline(
    child: Callable[..., Child], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    told = "had not answered when the time was up"
    with context.serving(0.2, {}), pytest.raises(DeadlineExceeded, match=told):
        child("waiter")(str(gate))
    gate.touch()


def test_a_child_may_be_given_less_time_than_the_request(
    child: Callable[..., Child], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    told = r"no answer within 0\.2 s, the child's `timeout`"
    with context.serving(20, {}), pytest.raises(ChildUnavailable, match=told):
        child("waiter", timeout=0.2)(str(gate))
    gate.touch()
