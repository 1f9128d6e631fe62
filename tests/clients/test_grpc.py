"""A child over gRPC, when something is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tempo_runtime import ModelFramework, save
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
from tempo_runtime.testing import Fail, Hang, Server, serve
from tests.clients.connected_child import Connect, connect
from tests.helpers import pipelines
from tests.helpers.byte_faults import FaultyModel, Raw

__all__ = ["connect"]
OURS = ModelFramework.Custom


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("models")
    for target in (pipelines.echo, pipelines.waiter, pipelines.broken):
        save(target, str(root / target.details.name))
    with serve(root) as server:
        yield server


@pytest.fixture
def fake() -> Iterator[FaultyModel]:
    with FaultyModel("iris", np.array([3, 4]), grpc=True) as fake:
        yield fake


def test_a_model_its_server_does_not_have_is_not_found(server: Server, connect: Connect) -> None:
    with pytest.raises(ChildNotFound, match="child 'absent' was not found at grpc://"):
        connect(f"grpc://{server.grpc}", "absent", OURS)(1)


def test_a_server_nobody_runs_is_unavailable_with_its_url(connect: Connect) -> None:
    with (
        reserved() as port,
        pytest.raises(ChildUnavailable, match=f"cannot be reached at grpc://127.0.0.1:{port}"),
    ):
        connect(f"grpc://127.0.0.1:{port}")(1)


def test_a_host_that_does_not_exist_is_unavailable(connect: Connect) -> None:
    with pytest.raises(ChildUnavailable, match=r"nowhere\.invalid"):
        connect("grpc://nowhere.invalid:80")(np.ones(1))


def test_the_error_of_a_child_has_its_text_and_its_status(server: Server, connect: Connect) -> None:
    with pytest.raises(ChildFailed, match=r"child 'broken': .*ValueError: this is wrong"):
        connect(f"grpc://{server.grpc}", "broken", OURS)("value")


def test_a_child_that_hangs_ends_with_the_requests_deadline(
    server: Server, connect: Connect, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    child = connect(f"grpc://{server.grpc}", "waiter", OURS)
    # It is told how much time is left, so that either of the two may notice first.
    told = r"child 'waiter'( at \S+ did not answer in time|: the request's \S+ s are spent)"
    with context.serving(0.2, {}), pytest.raises(DeadlineExceeded, match=told):
        child(str(gate))
    gate.touch()


def test_a_child_may_be_given_less_time_than_the_request(
    fake: FaultyModel, connect: Connect
) -> None:
    fake.script(Hang())
    told = r"did not answer within 0\.2 s, its `timeout`"
    with context.serving(20, {}), pytest.raises(ChildUnavailable, match=told):
        connect(fake.grpc_url, timeout=0.2)(np.ones(1))


def test_headers_and_id_go_along(fake: FaultyModel, connect: Connect) -> None:
    with context.serving(None, {"traceparent": "00-1", "host": "a"}, id="abc"):
        connect(fake.grpc_url, headers={"Authorization": "Bearer s3cret"})(np.ones(1))
    [call] = fake.calls
    assert (call.headers["traceparent"], call.id) == ("00-1", "abc")
    assert call.headers["authorization"] == "Bearer s3cret"


CODES: list[tuple[str, str, type[TempoError], str]] = [
    ("NOT_FOUND", "Model iris not found", ChildNotFound, "Model iris not found"),
    ("RESOURCE_EXHAUSTED", "too many", ChildUnavailable, "too many"),
    ("UNAVAILABLE", "draining", ChildUnavailable, "draining"),
    ("INVALID_ARGUMENT", "Model iris is not ready yet.", ChildUnavailable, "not ready"),
    ("INVALID_ARGUMENT", "bad rows", ChildRefused, "answered INVALID_ARGUMENT: bad rows"),
    ("DEADLINE_EXCEEDED", "its own", DeadlineExceeded, "ran out of time: its own"),
    ("UNKNOWN", "its child is gone (status 503)", ChildUnavailable, "is gone"),
    ("UNKNOWN", "full (status 503, retry after 1 s)", ChildUnavailable, "full"),
    ("UNKNOWN", "late (status 504)", DeadlineExceeded, "late"),
]


@pytest.mark.parametrize(("code", "said", "kind", "told"), CODES)
def test_an_error_becomes_ours_and_names_the_child(
    code: str, said: str, kind: type[TempoError], told: str, fake: FaultyModel, connect: Connect
) -> None:
    fake.answer = Fail(500, said, code=code)
    with pytest.raises(kind) as caught:
        connect(fake.grpc_url, retries=0)(np.ones(1))
    assert type(caught.value) is kind
    assert told in str(caught.value)
    assert "child 'iris'" in str(caught.value)


def test_an_answer_that_is_not_a_message_is_reported(fake: FaultyModel, connect: Connect) -> None:
    fake.answer = Raw(b"\xff\xff\xff")
    with pytest.raises(ChildFailed, match="child 'iris'"):
        connect(fake.grpc_url)(np.ones(1))
