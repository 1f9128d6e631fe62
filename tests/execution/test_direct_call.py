"""A call without a server gives the predict method, and the caller, what a served call would."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from pydantic import BaseModel

from tempo_runtime import (
    PayloadError,
    PipelineFailed,
    PipelineModels,
    model,
    pipeline,
)
from tempo_runtime.protocol.codec.equality import difference

ROWS = np.arange(4.0).reshape(2, 2)


class Point(NamedTuple):
    x: float
    label: str = "none"


class Report(BaseModel):
    rows: int
    why: str = ""


def echoing(hint: Any) -> Callable[[Any], Any]:
    """A model that gives what it is given, under an annotation."""

    def echo(x: Any) -> Any:
        return x

    echo.__annotations__ = {"x": hint, "return": hint}
    return model("echo")(echo)  # type: ignore[no-any-return]


def nested(hint: Any) -> Callable[[Any], Any]:
    """The same, called by another pipeline."""
    inner = echoing(hint)

    def outer(x: Any) -> Any:
        return made.models.inner(x)

    outer.__annotations__ = {"x": hint, "return": hint}
    made = pipeline("outer", models=PipelineModels(inner=inner))(outer)
    return made  # type: ignore[no-any-return]


@model("scale")
def scale(x: float, factor: int = 2) -> float:
    return x * factor


class TestArguments:
    def test_are_what_their_annotation_says(self) -> None:
        kinds: list[Any] = []

        @model("kinds")
        def seen(a: float, b: np.ndarray, c: tuple[int, ...], d: Report, e: Any = 1) -> None:  # type: ignore[type-arg]
            kinds.extend([a, b, c, d, e])

        seen(5, [1, 2], [3], {"rows": 1})
        assert difference(kinds, [5.0, np.array([1, 2]), (3,), Report(rows=1), 1]) is None

    @pytest.mark.parametrize(
        ("args", "kwargs", "match"),
        [
            ((), {}, "'x' is missing; expected: x, factor"),
            ((1, 2, 3), {}, "3 values were given, but 2 are expected"),
            ((1,), {"factro": 2}, "'factro' is unknown; .*did you mean 'factor'"),
            ((1,), {"x": 2}, "'x' is given twice"),
            (("far",), {}, "'x': Input should be a valid number"),
        ],
    )
    def test_that_do_not_fit_are_refused_as_by_a_server(
        self, args: Any, kwargs: Any, match: str
    ) -> None:
        with pytest.raises(PayloadError, match=match):
            scale(*args, **kwargs)

    @pytest.mark.parametrize("call", [echoing(Any), nested(Any)])
    def test_that_cannot_travel_are_refused(self, call: Any) -> None:
        with pytest.raises(PayloadError, match=r"'x': x\['a'\]\[0\] is of type Report"):
            call({"a": [Report(rows=1)]})


@pytest.mark.parametrize("make", [echoing, nested])
@pytest.mark.parametrize(
    "value",
    [
        {1: "a"},
        {"t": (25, 50)},
        {(1, 2): "x"},
        {"s": {1, 2}},
        {True: 1},
        {"c": 1 + 2j},
        (1,),
        5,
        np.float32(1.5),
        {"a": np.arange(3)},
        {"a": np.arange(3), "b": 1},
        {"output-0": np.arange(3), "output-1": np.arange(2)},
        (np.arange(3), "a"),
        np.array([1.5], ">f8"),
    ],
    ids=str,
)
def test_a_value_is_the_same_in_every_kind_of_call(make: Any, value: Any) -> None:
    assert difference(value, make(Any)(copy.deepcopy(value))) is None


@pytest.mark.parametrize("make", [echoing, nested])
@pytest.mark.parametrize("hint", [Any, np.ndarray, dict, Report])
def test_arguments_and_results_are_copies(make: Any, hint: Any) -> None:
    value = {
        np.ndarray: ROWS,
        Any: [[1], {"a": ROWS}],
        dict: {"a": [1], "b": ROWS},
        Report: Report(rows=1),
    }[hint]
    kept: list[Any] = []

    def keep(x: Any) -> Any:
        kept.append(x)
        return x

    keep.__annotations__ = {"x": hint, "return": hint}
    found = model("keep")(keep)(value)
    assert found is not kept[0] is not value
    if isinstance(value, np.ndarray):
        assert not np.shares_memory(kept[0], value)
        assert not np.shares_memory(found, kept[0])
        found[0, 0] = kept[0][0, 0] = 7
    elif isinstance(value, dict):
        kept[0]["a"].append(2)
        found["a"].append(3)
        kept[0]["b"][0, 0] = 7
    elif isinstance(value, list):
        kept[0][0].append(2)
        kept[0][1]["a"][0, 0] = 7
    else:
        kept[0].rows = 7
    assert ROWS[0, 0] == 0
    assert difference(value, make(hint)(value)) is None


class TestResults:
    def test_are_what_their_annotation_says(self) -> None:
        @model("array")
        def array(n: int) -> np.ndarray:  # type: ignore[type-arg]
            return list(range(n))  # type: ignore[return-value]

        @model("point")
        def point(n: int) -> Point:
            return {"x": n}  # type: ignore[return-value]

        @model("pair")
        def pair(n: int) -> tuple[float, str]:
            return [n, "a"]  # type: ignore[return-value]

        assert difference(array(2), np.array([0, 1])) is None
        assert difference(point(2), Point(2.0)) is None
        assert difference(pair(2), (2.0, "a")) is None

    @pytest.mark.parametrize(
        ("hint", "value", "match"),
        [
            (int, "a", "'output-0': Input should be a valid integer"),
            (tuple[int, int], (1,), "the result must have 2 parts"),
            (dict[str, np.ndarray], {1: ROWS}, "the result has the key 1 of type int"),
            (Any, {"a": Report(rows=1)}, r"'output-0': output-0\['a'\] is of type Report"),
            (Any, Point(1.0), "'output-0': output-0 is of type Point"),
            (dict, {"a": object()}, r"'output-0': output-0\['a'\] is of type object"),
        ],
    )
    def test_that_are_not_declared_or_cannot_travel_are_refused(
        self, hint: Any, value: Any, match: str
    ) -> None:
        def give() -> Any:
            return value

        give.__annotations__ = {"return": hint}
        with pytest.raises(
            PipelineFailed, match=f"pipeline 'give' returned a result that .*: {match}"
        ):
            model("give")(give)()

    def test_of_streams_are_each_what_their_annotation_says(self) -> None:
        @model("stream")
        def stream(n: int) -> Iterator[float]:
            yield from range(n)

        @model("astream")
        async def astream(n: int) -> AsyncIterator[float]:
            for each in range(n):
                yield each

        async def drained() -> list[float]:
            return [each async for each in astream(2)]

        assert difference(list(stream(2)), [0.0, 1.0]) is None
        assert difference(asyncio.run(drained()), [0.0, 1.0]) is None

    def test_of_coroutines_are_what_their_annotation_says(self) -> None:
        @model("later")
        async def later(n: int) -> float:
            return n

        assert difference(asyncio.run(later(2)), 2.0) is None
