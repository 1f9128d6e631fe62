"""Annotations are read as tensors, or refused where they are written."""

from __future__ import annotations

import typing
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple, Optional, TypeVar, Union

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from pydantic import BaseModel
from typing_extensions import NotRequired, Required, TypeAliasType, TypedDict

from tempo_runtime.errors import AuthoringError
from tempo_runtime.protocol.codec import describe
from tempo_runtime.protocol.signature import Kind, Signature, TensorSpec


class Custom: ...


class Later(BaseModel):
    inner: Undefined  # noqa: F821


class Pair(NamedTuple):
    left: int
    right: np.ndarray = np.zeros(1)


class Loose(TypedDict, total=False):
    note: str


class Mixed(TypedDict, total=False):
    said: Required[str]
    asked: NotRequired[str]


class WithFrame(NamedTuple):
    frame: pd.DataFrame


class Lost(NamedTuple):
    value: Nowhere  # noqa: F821


@pytest.mark.parametrize(
    ("hint", "kind", "nullable"),
    [
        (Any, Kind.ANY, False),
        (bool, Kind.BOOL, False),
        (int, Kind.INT, False),
        (float, Kind.FLOAT, False),
        (str, Kind.STRING, False),
        (bytes, Kind.BYTES, False),
        (datetime, Kind.DATETIME, False),
        (list[str], Kind.STRINGS, False),
        (typing.List[str], Kind.STRINGS, False),  # noqa: UP006
        (typing.List[bytes], Kind.BYTES_LIST, False),  # noqa: UP006
        (list[bytes], Kind.BYTES_LIST, False),
        (list[datetime], Kind.DATETIMES, False),
        (np.ndarray, Kind.ARRAY, False),
        (pd.DataFrame, Kind.FRAME, False),
        (dict, Kind.JSON, False),
        (list[int], Kind.JSON, False),
        (Union[int, str], Kind.JSON, False),  # noqa: UP007
        (Literal["a"], Kind.JSON, False),
        (Later, Kind.JSON, False),
        (Optional[int], Kind.INT, True),  # noqa: UP045
        (np.ndarray | None, Kind.ARRAY, True),
        (int | str | None, Kind.JSON, True),
        (Annotated[int, "doc"], Kind.INT, False),
        (Annotated[np.ndarray, []], Kind.ARRAY, False),
        (Annotated[pd.DataFrame, "doc"], Kind.FRAME, False),
        (Annotated[list[int], []], Kind.JSON, False),
        (list[Annotated[int, []]], Kind.JSON, False),
    ],
)
def test_annotation_is_a_kind(hint: Any, kind: Kind, nullable: bool) -> None:
    spec = TensorSpec.of("x", hint)
    assert (spec.kind, spec.nullable, spec.required) == (kind, nullable, not nullable)


@pytest.mark.parametrize(
    ("hint", "dtype", "shape"),
    [
        (np.ndarray, None, None),
        (npt.NDArray[np.float32], np.dtype(np.float32), None),
        (npt.NDArray[np.floating], None, None),
        (npt.NDArray[Any], None, None),
        (np.ndarray[Any, np.dtype[np.str_]], np.dtype(np.str_), None),
        (np.ndarray[tuple[int, Literal[4]], np.dtype[np.int8]], np.dtype(np.int8), (-1, 4)),
        (np.ndarray[tuple[int, ...], np.dtype[np.int8]], np.dtype(np.int8), None),
        (np.ndarray[tuple[int], Any], None, (-1,)),
    ],
)
def test_array_annotation_gives_dtype_and_shape(hint: Any, dtype: Any, shape: Any) -> None:
    spec = TensorSpec.of("x", hint)
    assert (spec.dtype, spec.shape) == (dtype, shape)


def test_dtype_stays_the_annotated_one_when_it_is_subclassed() -> None:
    class Celsius(np.float64): ...

    assert TensorSpec.of("x", npt.NDArray[np.float64]).dtype == np.float64
    assert Celsius(1) == 1


@pytest.mark.parametrize(
    ("hint", "described"),
    [
        (np.ndarray, ("FP64", [-1], {"content_type": "np", "dtype": "any"})),
        (
            np.ndarray[tuple[int, Literal[4]], np.dtype[np.int8]],
            ("INT8", [-1, 4], {"content_type": "np"}),
        ),
        (list[str], ("BYTES", [-1, 1], {"content_type": "str"})),
        (int | None, ("INT64", [1], {"content_type": "np", "optional": True})),
        (dict, ("BYTES", [1], {"content_type": "json"})),
    ],
)
def test_argument_is_described_in_v2_metadata(hint: Any, described: Any) -> None:
    assert describe(TensorSpec.of("x", hint)) == described


def test_function_gives_its_arguments_in_order() -> None:
    def predict(a: np.ndarray, b: int = 1, *, c: str | None, d: float = None) -> str: ...  # noqa: RUF013

    signature = Signature.of(predict)
    assert [spec.name for spec in signature.inputs] == ["a", "b", "c", "d"]
    assert [spec.required for spec in signature.inputs] == [True, False, False, False]
    assert [spec.nullable for spec in signature.inputs] == [False, False, True, True]
    assert signature.input("b") is signature.inputs[1]
    assert signature.input("z") is None
    assert signature.frame is None


def test_method_does_not_take_self() -> None:
    class Model:
        def predict(self, frame: pd.DataFrame, k): ...  # type: ignore[no-untyped-def]

    signature = Signature.of(Model.predict, method=True)
    assert [spec.kind for spec in signature.inputs] == [Kind.FRAME, Kind.ANY]
    assert signature.frame is signature.inputs[0]


def test_type_of_the_enclosing_function_is_found() -> None:
    class Local(BaseModel):
        x: int

    def predict(local: Local) -> Local:
        return Local(x=local.x)

    assert Signature.of(predict).inputs[0].hint is Local


@pytest.mark.parametrize(
    ("hint", "form", "names"),
    [
        (Any, "dynamic", []),
        (str, "single", ["output-0"]),
        (None, "single", ["output-0"]),
        (dict, "single", ["output-0"]),
        (typing.Dict, "single", ["output-0"]),  # noqa: UP006
        (dict[str, int], "single", ["output-0"]),
        (dict[str, np.ndarray], "mapping", ["output-0"]),
        (tuple[int, str], "tuple", ["output-0", "output-1"]),
        (tuple[int, ...], "single", ["output-0"]),
        (Pair, "named", ["left", "right"]),
        (Loose, "named", ["note"]),
    ],
)
def test_return_annotation_gives_the_form(hint: Any, form: str, names: list[str]) -> None:
    signature = Signature.of(returns(hint))
    assert (signature.form, [spec.name for spec in signature.outputs]) == (form, names)


def test_field_that_may_be_left_out_is_not_required() -> None:
    assert [spec.required for spec in Signature.of(returns(Pair)).outputs] == [True, False]
    assert [spec.required for spec in Signature.of(returns(Loose)).outputs] == [False]
    assert [spec.required for spec in Signature.of(returns(Mixed)).outputs] == [True, False]


@pytest.mark.parametrize(
    ("hint", "form"),
    [
        (Iterator[str], "single"),
        (typing.Iterator[str], "single"),
        (Iterator, "dynamic"),
        (Any, "dynamic"),
    ],
)
def test_generator_streams_what_it_yields(hint: Any, form: str) -> None:
    def predict():  # type: ignore[no-untyped-def]
        yield "a"

    predict.__annotations__["return"] = hint
    signature = Signature.of(predict)
    assert signature.streams
    assert signature.form == form


def test_async_generator_streams() -> None:
    async def predict() -> AsyncIterator[np.ndarray]:
        yield np.zeros(1)

    assert Signature.of(predict).outputs[0].kind is Kind.ARRAY


def test_declared_types_are_a_signature() -> None:
    one = Signature.declared(np.ndarray, str)
    named = Signature.declared({"x": int}, {"y": str, "z": np.ndarray})
    assert one is not None
    assert named is not None
    assert [spec.name for spec in (*one.inputs, *one.outputs)] == ["input-0", "output-0"]
    assert [spec.name for spec in (*named.inputs, *named.outputs)] == ["x", "y", "z"]
    assert Signature.declared(None, None) is None
    assert Signature.declared(None, str) == Signature((), one.outputs, "single")
    assert Signature.declared(int, None) == Signature((TensorSpec.of("input-0", int),))


# -- refused ---------------------------------------------------------------------------------------


def returns(hint: Any) -> Callable[..., Any]:
    def predict() -> None: ...

    predict.__annotations__["return"] = hint
    return predict


def star(*rows: int) -> None: ...
def stars(**rows: int) -> None: ...
def positional(rows: int, /) -> None: ...
def frames(a: pd.DataFrame, b: pd.DataFrame | None) -> None: ...
def custom(rows: Custom) -> None: ...
def nested(rows: dict[str, np.ndarray]) -> None: ...
def imaginary(rows: npt.NDArray[np.complex128]) -> None: ...
def moments(rows: npt.NDArray[np.datetime64]) -> None: ...
def unresolved(rows: Missing) -> None: ...  # type: ignore  # noqa: F821
def misspelt(rows: np.ndarry) -> None: ...  # type: ignore


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (star, r"star .*test_signature.py.*: the arguments in \*rows do not have names and types"),
        (stars, r"stars .*: the arguments in \*\*rows do not have names and types"),
        (positional, "rows cannot be positional-only"),
        (frames, "frames .*can have only one"),
        (custom, "rows: values of type .*Custom.* cannot be sent"),
        (nested, "rows: values of type .* cannot be sent"),
        (imaginary, "rows: V2 has no datatype for numpy's complex128"),
        (moments, "rows: V2 has no datatype for numpy's datetime64"),
        (unresolved, "unresolved .*cannot be resolved .*Missing"),
        (misspelt, "misspelt .*cannot be resolved .*ndarry"),
        (returns("1 +"), "cannot be resolved"),
        (returns(Custom), "output-0: values of type .*Custom"),
        (returns(tuple[int, pd.DataFrame]), "output-1: the columns of a DataFrame are the outputs"),
        (returns(WithFrame), "frame: the columns of a DataFrame are the outputs"),
        (returns(Lost), "Lost: an annotation cannot be resolved .*Nowhere"),
    ],
)
def test_signature_that_cannot_be_right_is_refused(function: Any, match: str) -> None:
    with pytest.raises(AuthoringError, match=match):
        Signature.of(function)


def test_declared_type_that_cannot_travel_is_refused() -> None:
    with pytest.raises(AuthoringError, match="y: values of type"):
        Signature.declared({"x": int}, {"y": Custom})


def test_an_alias_is_what_it_stands_for() -> None:
    rows = TypeAliasType("rows", np.ndarray[Any, np.dtype[np.float32]])
    spec = TensorSpec.of("x", Optional[rows])  # noqa: UP045 - an alias has no | before Python 3.12
    assert (spec.kind, spec.dtype, spec.nullable) == (Kind.ARRAY, np.float32, True)


def test_an_alias_with_a_parameter_is_what_it_stands_for() -> None:
    kind = TypeVar("kind", bound=np.generic)
    arrays = TypeAliasType("arrays", np.ndarray[Any, np.dtype[kind]], type_params=(kind,))
    assert TensorSpec.of("x", arrays[np.int16]).dtype == np.int16
