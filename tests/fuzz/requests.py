"""Requests over HTTP and gRPC that are nearly right, or hostile, and what must not come of them."""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from hypothesis import strategies as st
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

from tempo_runtime import save
from tempo_runtime.authoring.decorators import describe
from tempo_runtime.testing import FakeModel, Server, serve
from tests.fuzz import anything as some
from tests.fuzz.lag import LoopLag
from tests.helpers import pipelines

TARGETS = (
    pipelines.echo,
    pipelines.shapes,
    pipelines.bill,
    pipelines.frames,
    pipelines.count_up,
    pipelines.SyncParent,
    LoopLag,
)
# Their annotations allow values that the functions themselves do not take.
_AUTHORS = ("frames", "sync-parent", "count-up")
_NAMES = ["echo", "shapes", "bill", "frames", "count-up", "sync-parent"]
_INPUTS = ["x", "orders", "price", "frame", "factor", "n", "to"]
_STATUS = re.compile(r"\(status (\d{3})")
_CHAINED = re.compile(
    r"\n(?:The above exception was the direct cause of|During handling of the above exception, another)"
    r"[^\n]*\n\nTraceback \(most recent call last\):"
)
_RAISED = re.compile(r"^([\w.]+(?:Error|Exception|Exit|TurnedAway|Exceeded|Interrupt))(?::|$)")

ids = st.sampled_from(["a", "☃", "a\nb", "\0", "\x1b[31m", "a" * 300, "a" * 100_000]) | st.text(
    max_size=5
)
_values = st.sampled_from(["1", "a" * 9000, "caf\xe9", "\x01", "-1", "nan", "1e999"])
_parameters = st.dictionaries(
    st.sampled_from([*_INPUTS, "tempo_timeout", "tempo_seed", "tempo_max_calls", "tempo_tagged"]),
    some.anything,
    max_size=2,
)
large = st.sampled_from(
    [
        {"name": "x", "datatype": "BYTES", "shape": [1], "data": some.spelled("[1," * 30_000)},
        {
            "name": "x",
            "datatype": "BYTES",
            "shape": [1],
            "data": some.spelled("[1," + "2," * 90_000 + "]"),
        },
        {"name": "x", "datatype": "BYTES", "shape": [1], "data": ["[" + "[]," * 60_000 + "[]]"]},
        {"name": "x", "datatype": "BYTES", "shape": [60_000], "data": ["a"] * 60_000},
        {"name": "x", "datatype": "FP64", "shape": [60_000], "data": [1.5] * 60_000},
        {"name": "x", "datatype": "FP64", "shape": [60_000], "data": [[1.5]] * 60_000},
    ]
)


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    """The body of a request over HTTP."""
    tensors = draw(st.lists(some.tensors(_INPUTS), max_size=3))
    if draw(st.integers(0, 30)) == 0:
        tensors = [draw(large)]
    elif draw(st.integers(0, 60)) == 0:
        tensors = [
            {"name": f"c{i}", "datatype": "FP64", "shape": [1, 1], "data": [1.0]}
            for i in range(draw(st.sampled_from([500, 3000])))
        ]
    body: dict[str, Any] = {"inputs": tensors}
    if draw(st.booleans()):
        body["parameters"] = draw(_parameters)
    if draw(st.booleans()):
        body["id"] = draw(ids)
    return body


_headers = st.dictionaries(
    st.sampled_from(["x-request-id", "traceparent", "baggage", "x-b3-traceid", "x-b3-a!", "ce-id"]),
    _values,
    max_size=2,
)
_metadata = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["x-b3-traceid-bin", "grpc-trace-bin", "a-bin", "x-request-id-bin"]),
            st.binary(max_size=9),
        ),
        st.tuples(
            st.sampled_from(["x-request-id", "traceparent", "x-b3-a", "host"]),
            st.sampled_from(["1", "a" * 5000]),
        ),
    ),
    max_size=3,
)
_contents: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "bool_contents": st.lists(st.booleans(), max_size=3),
        "int64_contents": st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
        "uint_contents": st.lists(st.integers(0, 300), max_size=30),
        "fp64_contents": st.lists(st.floats(), max_size=3),
        "bytes_contents": st.lists(st.binary(max_size=9), max_size=3)
        | st.lists(some.texts.map(lambda text: text.encode(errors="replace")), max_size=2),
    },
)


@st.composite
def messages(draw: st.DrawFn) -> pb.ModelInferRequest:
    """A request over gRPC; its contents often fit its datatype."""
    message = pb.ModelInferRequest(model_name=draw(st.sampled_from(_NAMES)))
    if draw(st.booleans()):
        message.id = draw(ids).encode(errors="replace").decode()
    for _ in range(draw(st.integers(0, 2))):
        part = message.inputs.add(
            name=draw(st.sampled_from(_INPUTS)),
            datatype=draw(st.sampled_from([*some.DATATYPES_OF_V2, "BF16"])),
            shape=draw(st.lists(st.sampled_from([-1, 0, 1, 2, 3, 2**31, 2**62]), max_size=3)),
            contents=pb.InferTensorContents(**draw(_contents)),
        )
        for name, value in draw(some.parameters).items():
            part.parameters[name].string_param = str(value).encode(errors="replace").decode()
    for name in draw(st.sets(st.sampled_from(["price", "to", "tempo_timeout", "tempo_tagged"]))):
        choice = draw(st.sampled_from(["string_param", "int64_param", "bool_param", None]))
        if choice is not None:
            setattr(message.parameters[name], choice, {"s": "1", "i": 7, "b": True}[choice[0]])
        else:
            message.parameters[name].Clear()
    return message


class Silence(NamedTuple):
    """How long an event loop did not go round, in seconds.

    Attributes:
        waited: By the clock, which includes what other processes and threads took.
        busy: Of the processor, by the loop's own thread.
    """

    waited: float
    busy: float


@dataclass
class Client:
    """Sends them to a server, and says what is wrong with an answer."""

    server: Server
    stub: GRPCInferenceServiceStub
    answers: Counter[str] = field(default_factory=Counter)

    def over_http(self, data: st.DataObject) -> None:
        name, body = data.draw(st.sampled_from(_NAMES)), data.draw(bodies())
        how = "infer_stream" if data.draw(st.integers(0, 4)) == 0 else "infer"
        headers: Any = {"content-type": b"application/json"}
        headers |= {key: value.encode("latin-1") for key, value in data.draw(_headers).items()}
        url = f"/v2/models/{name}/{how}"
        answer = self.server.http.post(url, content=some.dump(body), headers=headers)
        self.answers[f"http {answer.status_code}"] += 1
        theirs = name in _AUTHORS and " raised " in answer.text
        assert answer.status_code < 500 or theirs, (
            f"{answer.status_code} {answer.text}: {body!r:.500}"
        )
        for line in answer.text.splitlines() if how == "infer_stream" else ():
            if line.startswith("data:"):
                said = json.loads(line.removeprefix("data:")).get("parameters") or {}
                assert said.get("status", 200) < 500 or theirs, line

    def over_grpc(self, data: st.DataObject) -> None:
        message, metadata = data.draw(messages()), data.draw(_metadata)
        try:
            self.stub.ModelInfer(message, metadata=metadata, timeout=60)
        except grpc.RpcError as error:
            code, told = error.code(), error.details()
            self.answers[f"grpc {code.name}"] += 1
            status = _STATUS.search(told)
            theirs = message.model_name in _AUTHORS and " raised " in told
            assert status is None or int(status[1]) < 500 or theirs, f"{told}: {message}"
            assert code is not grpc.StatusCode.UNAVAILABLE, told
        else:
            self.answers["grpc OK"] += 1

    def silence(self) -> Silence:
        """The longest silence of the server's event loop since this was asked last."""
        return Silence(*self.server.infer("loop-lag"))

    def faults(self) -> list[str]:
        """Tracebacks in the server's log that our code has to answer for."""
        found = []
        # An exception and those that it was raised for are one.
        log = _CHAINED.sub("", self.server.log())
        for block in log.split("Traceback (most recent call last):")[1:]:
            raised = [each[1] for line in block.splitlines() if (each := _RAISED.match(line))]
            # MLServer logs also what is answered as it should be.
            answered = any(
                name.startswith(("mlserver.errors.", "tempo_runtime.runtime.error_mapping."))
                for name in raised
            )
            if "/tempo_runtime/" in block and "/code/" not in block and not answered:
                found.append(block)
        return found


@contextlib.contextmanager
def client(root: Path) -> Iterator[Client]:
    """Serves the targets, and calls them."""
    for target in TARGETS:
        save(target, str(root / describe(target).details.name))
    with FakeModel("double", lambda x: x) as fake:
        env = {"TEMPO_RUNTIME_MODELS__DOUBLE__URL": fake.url}
        with (
            serve(root, env=env, timeout=120) as server,
            grpc.insecure_channel(server.grpc) as channel,
        ):
            yield Client(server, GRPCInferenceServiceStub(channel))
