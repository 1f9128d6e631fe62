"""tempo 0.5's own code, and ours: each understands what the other writes."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Literal, NamedTuple

import httpx
import numpy as np
import pytest
from mlserver import types
from mlserver.codecs.json import encode_to_json_bytes
from pydantic import BaseModel

from tempo_runtime.clients.child import Child
from tempo_runtime.protocol.binding import decode_arguments, encode_results
from tempo_runtime.protocol.messages import request_from_json, to_mlserver_output
from tempo_runtime.protocol.signature import Signature, TensorSpec
from tempo_runtime.testing import Server, free_ports
from tests.helpers.byte_faults import FaultyModel, Raw
from tests.helpers.value_strategies import same
from tests.interop.foreign import CLIENTS, python_with, run

ROWS = np.array([[1.0, 2.0], [3.0, 4.0]])
ROWS_AND_TEXT = {"output0": ROWS, "output1": "a"}


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    return python_with("tempo", tmp_path_factory.getbasetemp())


# -- its requests ----------------------------------------------------------------------------------

SENT: dict[str, tuple[Any, Any]] = {
    "float64": (np.ndarray, ROWS),
    "float32": (np.ndarray, np.ones((2, 1), np.float32)),
    "int8": (np.ndarray, np.array([-128, 127], np.int8)),
    "uint64": (np.ndarray, np.array([2**64 - 1], np.uint64)),
    "booleans": (np.ndarray, np.array([[True], [False]])),
    "rank 0": (np.ndarray, np.array(2.5)),
    "rank 3": (np.ndarray, np.arange(4).reshape(1, 2, 2)),
    "empty": (np.ndarray, np.zeros((0, 4))),
    "untyped array": (Any, ROWS),
    "text": (str, 'it\'s "é"\n'),
    "text that is a literal": (str, "{'a': 1}"),
    "text in quotes": (str, "'a'"),
    "no text": (str, ""),
    "optional text": (str | None, "a"),
    "no optional text": (str | None, None),
    "untyped text": (Any, "two words"),
    "one of some texts": (Literal["a", "b"], "b"),
    "text or number": (str | int, "many words"),
    "bool": (bool, True),
    "int": (int, -7),
    "large int": (int, 2**70),
    "float": (float, 1e-300),
    "float that is not a number": (float, float("nan")),
    "none": (int | None, None),
    "bytes": (bytes, b"\xff\x00"),
    "texts": (list[str], ["a", "it's", ""]),
    "list": (list, [1, "two", None, (3.5, False)]),
    "list of numbers": (list[float], [1.5, float("-inf")]),
    "dict": (dict, {"threshold": 0.9, "names": ("a", None), "deep": {"k": [1]}}),
    "dict by number": (dict[int, str], {1: "a"}),
    "untyped dict": (Any, {"a": [1, b"\xff"]}),
}


@pytest.fixture(scope="session")
def written(python: str) -> dict[str, Any]:
    """The requests it writes, by case."""
    jobs = [{"do": "write", "args": [], "kwargs": {"x": value}} for _, value in SENT.values()]
    return dict(zip(SENT, run(python, "tempo_client.py", jobs)))


@pytest.mark.parametrize("case", SENT)
def test_a_value_it_sends_is_read(case: str, written: dict[str, Any]) -> None:
    hint, value = SENT[case]
    request = request_from_json(json.dumps(written[case]).encode())
    found = decode_arguments(Signature((TensorSpec.of("x", hint),)), request.tensors, {})
    assert same(found["x"], value)


def test_its_client_calls_a_served_pipeline(python: str, server: Server) -> None:
    def job(model: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        url = f"{server.url}/v2/models/{model}/infer"
        outputs = "numpy.ndarray"
        return {"do": "call", "url": url, "outputs": outputs, "args": list(args), "kwargs": kwargs}

    not_finite = np.array([np.nan, np.inf])
    found = run(
        python,
        "tempo_client.py",
        [
            job("double", ROWS),
            job("double", x=np.arange(3)),
            job("scaled", ROWS, {"by": 3}, "ab"),
            job("scaled", options={"by": 3}, note="ab", x=ROWS),
            job("non-finite", 2),
            job("scaled", ROWS, "by", "ab"),
        ],
    )
    expected = [ROWS * 2, np.arange(3) * 2, ROWS * 3 + 2, ROWS * 3 + 2, not_finite]
    for got, value in zip(found, expected):
        assert same(got, value), got
    # Its client shows the status and not what the server said.
    assert found[-1].startswith("HTTPError: 422")


# -- our answers to it -----------------------------------------------------------------------------


class Colour(Enum):
    RED = "red"


class Point(BaseModel):
    x: float
    label: str | None = None


@dataclass
class Size:
    width: int


class Labelled(NamedTuple):
    label: str
    n: int


class Named(NamedTuple):
    score: float
    why: str
    rows: np.ndarray


NDARRAY = "numpy.ndarray"
# The value that a predict method returns, under its annotation, to a client that declares types; and the
# client's value.
ANSWERED: dict[str, tuple[Any, Any, Any, Any]] = {
    "array": (np.ndarray, ROWS, NDARRAY, ROWS),
    "float32 column": (np.ndarray, np.ones((2, 1), np.float32), NDARRAY, np.ones((2, 1), "f4")),
    "float16": (np.ndarray, np.ones(2, np.float16), NDARRAY, np.ones(2, np.float32)),
    "rank 0": (np.ndarray, np.float64(2.5), NDARRAY, np.array(2.5)),
    "empty": (np.ndarray, np.zeros((0, 4)), NDARRAY, np.zeros((0, 4))),
    "not finite": (np.ndarray, np.array([np.nan, -np.inf]), NDARRAY, np.array([np.nan, -np.inf])),
    "text array": (np.ndarray, np.array([["a", "é"]]), NDARRAY, [["a", "é"]]),
    "bytes array": (np.ndarray, np.array([b"\xff"]), NDARRAY, [b"\xff"]),
    "untyped array": (Any, ROWS, NDARRAY, ROWS),
    "text": (str, 'it\'s "é"\n', "str", 'it\'s "é"\n'),
    "no text": (str, "", "str", ""),
    "untyped text": (Any, "two words", "str", "two words"),
    "bool": (bool, True, "bool", True),
    "int": (int, -7, "int", -7),
    "large int": (int, 2**70, "int", 2**70),
    "float": (float, 0.1, "float", 0.1),
    "untyped int": (Any, 7, "int", 7),
    "numpy float": (float, np.float64(1.5), "float", 1.5),
    "untyped numpy float": (Any, np.float32(1.5), "float", 1.5),
    "none": (int | None, None, "int", None),
    "untyped none": (Any, None, "int", None),
    "optional array": (np.ndarray | None, None, NDARRAY, None),
    "bytes": (bytes, b"\xff\x00", "bytes", b"\xff\x00"),
    "list of bytes": (list[bytes], [b"\xff", b""], "list", [b"\xff", b""]),
    "texts": (list[str], ["a", "it's"], "list", ["a", "it's"]),
    "one text": (list[str], ["a"], "list", ["a"]),
    "moment": (datetime, datetime(2020, 1, 2), "str", "2020-01-02T00:00:00"),
    "moments": (list[datetime], [datetime(2020, 1, 2)], "list", ["2020-01-02T00:00:00"]),
    "dict": (dict, {"a": [1, None], "b": "x"}, "dict", {"a": [1, None], "b": "x"}),
    "dict of one": (dict, {"a": "x"}, "dict", {"a": "x"}),
    "dict by number": (dict, {1: (2, 3)}, "dict", {1: (2, 3)}),
    "dict with numpy": (dict, {"a": np.arange(2)}, "dict", {"a": [0, 1]}),
    "untyped dict": (Any, {"a": b"b"}, "dict", {"a": b"b"}),
    "list": (list, [1, "two", 3.5], "list", [1, "two", 3.5]),
    "model": (Point, Point(x=1), "dict", {"x": 1.0, "label": None}),
    "model given as a dict": (Point, {"x": "1"}, "dict", {"x": 1.0, "label": None}),
    "dataclass": (Size, Size(3), "dict", {"width": 3}),
    "enum": (Colour, Colour.RED, "str", "red"),
    "several": (tuple[np.ndarray, str], (ROWS, "a"), (NDARRAY, "str"), ROWS_AND_TEXT),
    "untyped several": (Any, (ROWS, "a"), (NDARRAY, "str"), ROWS_AND_TEXT),
    "arrays": (dict[str, np.ndarray], {"a": ROWS}, {"a": NDARRAY}, ROWS),
    "named": (
        Named,
        Named(0.5, "it's", ROWS),
        {"why": "str", "score": "float", "rows": NDARRAY},
        {"score": 0.5, "why": "it's", "rows": ROWS},
    ),
}


@pytest.fixture(scope="session")
def read(python: str) -> dict[str, Any]:
    """The client's values of the answers, by case."""
    jobs = []
    with FaultyModel("model") as fake:
        for hint, value, outputs, _ in ANSWERED.values():
            fake.script(Raw(as_mlserver_writes(hint, value)))
            url = f"{fake.url}/v2/models/model/infer"
            jobs.append({"do": "call", "url": url, "outputs": outputs, "args": [1], "kwargs": {}})
        return dict(zip(ANSWERED, run(python, "tempo_client.py", jobs)))


def as_mlserver_writes(hint: Any, value: Any) -> bytes:
    def predict() -> None: ...

    predict.__annotations__["return"] = hint
    tensors, _ = encode_results(Signature.of(predict), value, tempo_0_5=True)
    outputs = [to_mlserver_output(tensor, json=True) for tensor in tensors]
    answer = types.InferenceResponse(model_name="model", outputs=outputs)
    return bytes(encode_to_json_bytes(answer.model_dump()))


@pytest.mark.parametrize("case", ANSWERED)
def test_an_answer_is_read_by_its_client(case: str, read: dict[str, Any]) -> None:
    assert same(read[case], ANSWERED[case][3]), read[case]


# -- its models as children ------------------------------------------------------------------------


@pytest.fixture(scope="session")
def tempo_server(python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an MLServer with tempo 0.5's runtime."""
    folder = tmp_path_factory.mktemp("tempo-0-5")
    ports = free_ports(3)
    command = [python, str(CLIENTS / "tempo_server.py"), str(folder), *map(str, ports)]
    log = tmp_path_factory.mktemp("log") / "server.log"
    with open(log, "wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as own:
        try:
            yield _ready(own, f"http://127.0.0.1:{ports[0]}", log)
        finally:
            own.kill()


def _ready(process: subprocess.Popen[bytes], url: str, log: Path) -> str:
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/v2/health/ready", trust_env=False).status_code == 200:
                return url
        time.sleep(0.05)
    raise AssertionError(log.read_text(errors="replace"))


MAPPING = {"rows": np.array([1, 2], np.float32), "label": "a", "n": 3}


@pytest.mark.parametrize(
    ("model", "outputs", "expected"),
    [
        ("double", None, np.array([2.0, 4.0])),
        ("double", np.ndarray, np.array([2.0, 4.0])),
        ("text", None, "it's é"),
        ("text", str, "it's é"),
        ("empty", str, ""),
        ("number", None, 2.5),
        ("number", float, 2.5),
        ("nothing", None, None),
        ("nothing", int | None, None),
        ("mapping", None, MAPPING),
        ("mapping", dict, MAPPING),
        ("mapping", {"n": int, "label": str}, {"n": 3, "label": "a"}),
        ("mapping", Labelled, Labelled("a", 3)),
        ("parts", None, {"output0": np.array([2.0, 4.0]), "output1": "done"}),
        ("parts", tuple[np.ndarray, str], (np.array([2.0, 4.0]), "done")),
        ("listed", dict, {"rows": [[1, 2.5], ("a", None)], "found": True}),
    ],
)
def test_its_models_are_understood_as_children(
    model: str, outputs: Any, expected: Any, tempo_server: str, connect: Callable[..., Child]
) -> None:
    found = connect(tempo_server, model, outputs)(np.array([1.0, 2.0]))
    assert same(found, expected), found


def test_a_column_of_its_models_can_be_kept(
    tempo_server: str, connect: Callable[..., Child]
) -> None:
    rows = np.array([1.0, 2.0])
    assert connect(tempo_server, "column", flatten_single_column=False)(rows).tolist() == [
        [1.0],
        [2.0],
    ]
