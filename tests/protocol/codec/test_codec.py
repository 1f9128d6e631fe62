"""Every kind of value comes back from every way it travels as it was."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, field_validator

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol import codec
from tempo_runtime.protocol.codec.equality import difference
from tempo_runtime.protocol.signature import TensorSpec
from tempo_runtime.protocol.tensor import BYTES, Tensor
from tests.helpers.value_strategies import (
    NUMBER_DTYPES,
    TYPED,
    UNTYPED,
    UNTYPED_LISTS,
    WAYS,
    Point,
    Shape,
    same,
)

Way = Callable[[list[Tensor]], list[Tensor]]
few = settings(deadline=None, max_examples=15)
ways = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


class Box(BaseModel):
    held: Any


def travel(spec: TensorSpec, value: Any, way: Way, *, tagged: bool = False) -> Any:
    (tensor,) = way([codec.encode(spec, value, tagged=tagged)])
    return codec.decode(spec, tensor)


def spec_of(hint: Any) -> TensorSpec:
    return TensorSpec.of("x", hint)


def refuses(spec: TensorSpec, tensor: Tensor, match: str) -> None:
    with pytest.raises(PayloadError, match=match) as caught:
        codec.decode(spec, tensor)
    assert "x" in str(caught.value)
    assert caught.value.status == 422


# -- round trips -----------------------------------------------------------------------------------


@ways
@pytest.mark.parametrize("name", TYPED)
@few
@given(data=st.data())
def test_typed_value_comes_back_as_it_was(name: str, way: Way, data: st.DataObject) -> None:
    hint, values = TYPED[name]
    value = data.draw(values)
    assert same(value, travel(spec_of(hint), value, way))


@ways
@pytest.mark.parametrize("name", UNTYPED + UNTYPED_LISTS)
@few
@given(data=st.data())
def test_untyped_value_comes_back_as_it_was(name: str, way: Way, data: st.DataObject) -> None:
    value = data.draw(TYPED[name][1])
    assert same(value, travel(TensorSpec("x"), value, way))


@ways
@few
@given(data=st.data(), dtype=NUMBER_DTYPES)
def test_array_of_an_annotated_dtype_keeps_it(way: Way, data: st.DataObject, dtype: Any) -> None:
    array = data.draw(hnp.arrays(dtype, hnp.array_shapes(min_side=0, max_side=3)))
    assert same(array, travel(spec_of(npt.NDArray[dtype.type]), array, way))


@ways
@pytest.mark.parametrize("value", [True, 7, 2**63, 2.5, None, np.float32(1.5)])
def test_untyped_number_comes_back_as_an_equal_value(way: Way, value: Any) -> None:
    assert travel(TensorSpec("x"), value, way) == value


@ways
@pytest.mark.parametrize("dtype", [">i4", ">f8", ">f4", ">u2"])
def test_big_endian_array_comes_back_in_native_order(way: Way, dtype: str) -> None:
    array = np.array([[1, 2, 3], [4, 5, 6]], dtype)
    assert same(array, travel(TensorSpec("x"), array, way))


@ways
@pytest.mark.parametrize("view", [np.s_[::2, 1:], np.s_[::-1], np.s_[:, :, None]])
def test_view_of_an_array_comes_back_as_its_elements(way: Way, view: Any) -> None:
    array = np.arange(12.0).reshape(4, 3)[view]
    assert same(array, travel(TensorSpec("x"), array, way))


@ways
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_that_json_has_no_word_for_survive(way: Way, dtype: type) -> None:
    array = np.array([math.inf, -math.inf, math.nan, -0.0, 1.0], dtype)
    assert same(array, travel(TensorSpec("x"), array, way))


# -- between our own ends --------------------------------------------------------------------------


class Hue(enum.Enum):
    RED = "red"
    TWO = 2
    BLUE = (0, 0, 255)


class Person(BaseModel):
    name: str
    born: datetime | None = None
    extra: dict[str, Any] = {}
    hue: Hue = Hue.RED


class Array(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    held: np.ndarray[Any, Any]


class Doubled(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def double(cls, n: int) -> int:
        return 2 * n


class Hidden(BaseModel):
    secret: int = Field(default=0, exclude=True)


class Noted(BaseModel):
    a: int = 0
    _note: str = PrivateAttr("")


class Special(Point):
    why: str = ""


@dataclasses.dataclass
class Slotted:
    __slots__ = ("pair",)
    pair: tuple[int, Any]


def noted() -> Noted:
    value = Noted()
    value._note = "x"
    return value


BERLIN = ZoneInfo("Europe/Berlin")
OURS: list[tuple[Any, Any]] = [
    (dict, {1: "a", "t": (1, {2})}),
    (dict, {"$tuple": [1]}),
    (dict, {"a": np.float32(1.5), "b": [np.arange(3)]}),
    (list, [(1,), b"\xff", Decimal("1.0")]),
    (Any, (1, 2)),
    (Any, ()),
    (Any, {1, 2}),
    (Any, 5),
    (Any, True),
    (Any, 0.5),
    (Any, 2**70),
    (Any, np.float32(1.5)),
    (Any, np.bool_(True)),
    (Any, np.str_("a")),
    (Any, np.array(5.0)),
    (Any, np.array([5.0])),
    (Any, [np.str_("a")]),
    (Any, [np.float64(0.5)]),
    (Any, [datetime(2020, 1, 1, tzinfo=BERLIN)]),
    (Any, np.array([1.5], ">f8")),
    (Any, np.array([1], ">i2")),
    (Any, np.array(["ab"], "<U7")),
    (Any, np.array(["ab"], ">U2")),
    (Any, np.array([], "<U7")),
    (Any, np.array([b"ab"], "S7")),
    (Any, np.array([1j])),
    (Any, np.array(["2020"], "M8[D]")),
    (Any, np.array([1, None], object)),
    (Any, np.array([np.str_("a")], object)),
    (Any, np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")])),
    (np.ndarray, np.array([1.5], ">f8")),
    (np.ndarray, np.array([None, "a"], object)),
    (datetime, datetime(2020, 10, 25, 2, 30, fold=1, tzinfo=BERLIN)),
    (datetime, datetime(2020, 1, 1, tzinfo=timezone.utc)),
    (datetime, datetime(2020, 1, 1, tzinfo=timezone(timedelta(seconds=1)))),
    (list[datetime], [datetime(2020, 1, 1, tzinfo=BERLIN), datetime(2020, 1, 1)]),
    (date | str, "2020-01-01"),
    (date | str, date(2020, 1, 1)),
    (int | float | str | bool, True),
    (int | float | str | bool, 1.0),
    (Decimal | float, 0.1),
    (dict[tuple[int, int], str], {(1, 2): "x"}),
    (dict[str, bytes], {"a": b"\xff"}),
    (set[tuple[int, int]], {(1, 2)}),
    (Hue, Hue.BLUE),
    (dict[Hue, int], {Hue.BLUE: 1}),
    (Person, Person(name="a", born=datetime(2020, 1, 1, tzinfo=BERLIN))),
    (Person, Person(name="a", born=datetime(2020, 1, 1, tzinfo=timezone.utc))),
    (Person, Person(name="a", extra={"t": (1, {3: "c"})}, hue=Hue.BLUE)),
    (Array, Array(held=np.array([1.5], ">f8"))),
    (Box, Box(held=np.arange(2))),
    (Slotted, Slotted((1, (2,)))),
    (Noted, Noted(a=1)),
]


def checked(hint: Any, value: Any) -> Any:
    return value if hint in (Any, np.ndarray) else codec.json_values.validate(spec_of(hint), value)


@ways
@pytest.mark.parametrize(("hint", "value"), OURS, ids=str)
def test_value_comes_back_in_type_and_value_from_our_own_end(
    hint: Any, value: Any, way: Way
) -> None:
    found = travel(spec_of(hint), value, way, tagged=True)
    assert difference(checked(hint, value), found) is None


def test_array_that_comes_back_can_be_written_to() -> None:
    for way in WAYS:
        for value in (np.array([1j]), np.array(["a"], "<U3"), np.array([1.5], ">f8")):
            assert travel(TensorSpec("x"), value, way, tagged=True).flags.writeable


def test_validator_that_changes_what_it_is_given_is_given_the_value_once() -> None:
    assert travel(spec_of(Doubled), {"n": 1}, WAYS[1], tagged=True) == Doubled.model_construct(n=2)


@pytest.mark.parametrize(
    "value", [{"a": 1}, {"a": [1.5, None, "b"]}, [1, "a"], {}, {"a": math.nan}]
)
def test_values_that_plain_json_preserves_are_written_as_for_other_receivers(value: Any) -> None:
    for hint in (Any, type(value)):
        spec = spec_of(hint)
        assert codec.encode(spec, value, tagged=True) == codec.encode(spec, value)


def test_json_of_others_that_looks_tagged_is_what_it_says() -> None:
    tensor = Tensor("x", BYTES, [1], ['{"$tuple": [1]}'], {"content_type": "json"})
    assert codec.decode(TensorSpec("x"), tensor) == {"$tuple": [1]}
    tensor.parameters["tagged"] = True
    assert codec.decode(TensorSpec("x"), tensor) == (1,)


@pytest.mark.parametrize("text", ["", "[", '{"$tuple": 1}', '{"$exec": "1"}', "[" * 100_000])
def test_invalid_tagged_json_is_refused(text: str) -> None:
    tensor = Tensor("x", BYTES, [1], [text], {"content_type": "json", "tagged": True})
    refuses(TensorSpec("x"), tensor, "'x'.*tagged JSON")


@pytest.mark.parametrize(
    ("hint", "value", "match"),
    [
        (dict, {1: "a"}, "'x': x has the key 1 of type int, which plain JSON does not have"),
        (dict, {"t": (1, 2)}, r"'x': x\['t'\] is of type tuple, which plain JSON does not have"),
        (Any, {1, 2}, "'x': x is of type set, which plain JSON"),
        (dict[tuple[int, int], str], {(1, 2): "x"}, "'x.*plain JSON"),
        (Person, Person(name="a", extra={"t": (1,)}), r"'x': x.extra\['t'\] would arrive as \[1\]"),
        (Any, np.array([1, None], object), "'x' is an object array"),
    ],
)
def test_values_that_need_tags_are_not_written_for_other_receivers(
    hint: Any, value: Any, match: str
) -> None:
    with pytest.raises(PayloadError, match=match):
        codec.encode(spec_of(hint), value)


@pytest.mark.parametrize(
    ("hint", "value", "match"),
    [
        (Any, Hue.RED, "'x': x is of type Hue, .*annotate"),
        (dict, {"a": [Point(x=1)]}, r"'x': x\['a'\]\[0\] is of type Point"),
        (dict, {"a": pd.DataFrame({"b": [1]})}, r"'x': x\['a'\] is of type pandas.DataFrame"),
        (Point, Special(x=1, why="y"), "'x': x would arrive as Point.* but is Special"),
        (list[Point], [Special(x=1)], r"'x': x\[0\] would arrive as Point"),
        (Hidden, Hidden(secret=1), "'x': x.secret would arrive as 0, but is 1"),
        (Noted, noted(), "'x': x._note would arrive as '', but is 'x'"),
        (Doubled, Doubled(n=1), "'x': x.n would arrive as 4, but is 2"),
        (SecretStr, SecretStr("a"), "'x': x would arrive as another SecretStr"),
        (np.ndarray, np.ma.masked_array([1], [True]), "'x' is of type numpy.MaskedArray"),
        (np.ndarray, np.recarray(1, [("a", "f8")]), "'x' is of type numpy.recarray"),
        (Any, np.ma.masked_array([1], [True]), "'x' is of type numpy.MaskedArray"),
        (np.ndarray, np.array([1], np.longdouble), "'x': x has numpy's dtype float128"),
        (np.ndarray, {"a": 1}, "'x' is of type dict, which is not an array"),
        (datetime, pd.Timestamp(1), "'x' is 1970.*nanoseconds"),
    ],
    ids=str,
)
def test_a_value_that_would_not_arrive_unchanged_is_refused_by_name(
    hint: Any, value: Any, match: str
) -> None:
    with pytest.raises(PayloadError, match=match):
        codec.encode(spec_of(hint), value, tagged=True)


# -- what is written -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hint", "value", "shape", "content_type"),
    [
        (str, "a", [1], "str"),
        (list[str], ["a"], [1, 1], "str"),
        (list[str], [], [0, 1], "str"),
        (bytes, b"\xff", [1], "base64"),
        (list[bytes], [b"a", b"b"], [2, 1], "base64"),
        (datetime, datetime(2020, 1, 1), [1], "datetime"),
        (dict, {"a": 1}, [1], "json"),
        (int, 3, [1], "np"),
        (int, 2**64, [1], "json"),
        (np.ndarray, np.float64(1), [], "np"),
    ],
)
def test_value_is_written_with_mlservers_shape_and_content_type(
    hint: Any, value: Any, shape: list[int], content_type: str
) -> None:
    tensor = codec.encode(spec_of(hint), value)
    assert (tensor.shape, tensor.content_type) == (shape, content_type)


def test_numpy_inside_json_is_written_as_plain_numbers_to_others() -> None:
    value = {"ok": np.bool_(True), "n": np.int64(2), "rows": [np.arange(2.0)]}
    tensor = codec.encode(spec_of(dict), value)
    assert tensor.data == [b'{"ok":true,"n":2,"rows":[[0.0,1.0]]}']
    assert tensor.parameters == {"content_type": "json"}


def test_numpy_inside_a_model_is_written_as_plain_numbers() -> None:
    tensor = codec.encode(spec_of(Box), Box(held=np.arange(2)))
    assert tensor.data == [b'{"held":[0,1]}']


def test_numpy_scalar_is_a_number() -> None:
    assert travel(spec_of(int), np.int64(3), WAYS[0]) == 3


def test_annotation_that_cannot_be_hashed_travels() -> None:
    assert travel(spec_of(list[Annotated[int, []]]), [1], WAYS[0]) == [1]


def test_model_is_written_by_alias() -> None:
    tensor = codec.encode(spec_of(Shape), Shape(shapeKind="line"))
    assert b'"shapeKind":"line"' in tensor.data[0]


@pytest.mark.parametrize(
    ("hint", "value", "match"),
    [
        (int, "seven", "'x'.*integer"),
        (int, 1.5, "'x'.*fractional"),
        (int, None, "'x'.*integer"),
        (str, 5, "'x'.*string"),
        (str, "\ud800", "'x'.*UTF-8"),
        (list[str], ["\ud800"], "'x'.*UTF-8"),
        (dict, {"a": "\ud800"}, "'x'"),
        (bytes, "text", "'x' must be bytes, but a str was given"),
        (list[bytes], ["text"], "'x' must be bytes list, but a list was given"),
        (dict, {"a": object()}, r"'x': x\['a'\] is of type object"),
        (dict, {"a": b"\xff"}, r"'x': x\['a'\] is of type bytes, which plain JSON does not have"),
        (dict[str, int], {"a": "b"}, r"'x\.a'"),
        (Point, {"x": "far"}, r"'x\.x'"),
        (Any, {1, 2}.__iter__, "'x': x is of type method-wrapper"),
        (np.ndarray, [[1, 2], [3]], "'x' is not an array"),
        (np.ndarray, np.array([1, None], object), "'x' is an object array that holds 1"),
        (np.ndarray, np.array([1j]), "'x'.*complex128"),
        (np.ndarray, np.array(["2020"], "M8[D]"), "'x'.*datetime64"),
        (npt.NDArray[np.int64], np.array([1.5]), "'x' must be int64, but float64 was given"),
        (npt.NDArray[np.int8], np.array([128]), "'x' must be int8"),
        (npt.NDArray[np.uint8], np.array([-1]), "'x' must be uint8"),
        (npt.NDArray[np.bool_], np.array([1]), "'x' must be bool"),
        (npt.NDArray[np.float16], np.array([1e9]), "'x' must be float16"),
        (npt.NDArray[np.float64], np.array(["1"]), "'x' must be float64"),
        (npt.NDArray[np.str_], np.array([1]), "'x' must be"),
        (npt.NDArray[np.str_], np.array([b"\xff"]), "'x' must be"),
        (npt.NDArray[np.bytes_], np.array(["é"]), "'x' must be"),
        (np.ndarray[tuple[int, Literal[2]], np.dtype[Any]], np.zeros((2, 3)), r"shape \[-1, 2\]"),
        (np.ndarray[tuple[int, int], np.dtype[Any]], np.zeros(2), r"shape \[-1, -1\]"),
    ],
)
def test_value_of_another_type_is_not_written(hint: Any, value: Any, match: str) -> None:
    with pytest.raises(PayloadError, match=match):
        codec.encode(spec_of(hint), value)


def test_integers_that_fit_are_narrowed_to_the_annotated_dtype() -> None:
    got = travel(spec_of(npt.NDArray[np.int8]), np.array([127, -128]), WAYS[0])
    assert same(got, np.array([127, -128], np.int8))


def test_empty_list_is_an_array_of_any_dtype() -> None:
    assert same(travel(spec_of(npt.NDArray[np.int64]), [], WAYS[0]), np.array([], np.int64))


# -- what is read ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hint", "tensor", "expected"),
    [
        (int, Tensor("x", "FP64", [1], [3.0]), 3),
        (int, Tensor("x", BYTES, [1], ["3"]), 3),
        (float, Tensor("x", "INT64", [1, 1], [[3]]), 3.0),
        (bool, Tensor("x", "UINT8", [1], [1]), True),
        (float, Tensor("x", "FP64", [], [None]), math.nan),
        (str, Tensor("x", BYTES, [1], ['"a"'], {"content_type": "json"}), "a"),
        (str, Tensor("x", BYTES, [1], ["YQ=="], {"content_type": "base64"}), "a"),
        (list[str], Tensor("x", BYTES, [1], ['["a"]'], {"content_type": "json"}), ["a"]),
        (list[int], Tensor("x", "INT64", [2], [1, 2]), [1, 2]),
        (list[str] | int, Tensor("x", BYTES, [1, 1], ["a"], {"content_type": "str"}), ["a"]),
        (str | int, Tensor("x", BYTES, [1], ["a"], {"content_type": "str"}), "a"),
        (dict, Tensor("x", BYTES, [1], ['{"a": 1}']), {"a": 1}),
        (dict, Tensor("x", BYTES, [1], [{"a": 1}]), {"a": 1}),
        (bytes, Tensor("x", BYTES, [1], ["raw"]), b"raw"),
        (int | None, Tensor("x", BYTES, [1], [None], {"content_type": "json"}), None),
        (Annotated[int, Field(gt=0)], Tensor("x", "INT64", [1], [1]), 1),
        (Annotated[str, "said"], Tensor("x", BYTES, [1], ["a"]), "a"),
        (npt.NDArray[np.str_], Tensor("x", BYTES, [2], ["a", "b"]), np.array(["a", "b"])),
        (npt.NDArray[np.bytes_], Tensor("x", BYTES, [1], ["a"]), np.array([b"a"])),
        (npt.NDArray[np.int64], Tensor("x", "UINT8", [2], [1, 2]), np.array([1, 2])),
    ],
)
def test_other_spelling_of_a_value_is_read(hint: Any, tensor: Tensor, expected: Any) -> None:
    assert same(codec.decode(spec_of(hint), tensor), expected)


def test_bytes_of_another_client_keep_their_last_zeros() -> None:
    tensor = Tensor("x", BYTES, [1], ["AGEA"], {"content_type": "base64"})
    assert codec.decode(spec_of(np.ndarray), tensor).tolist() == [b"\0a\0"]


def test_constraint_of_an_annotation_is_kept() -> None:
    refuses(
        spec_of(Annotated[int, Field(gt=0)]), Tensor("x", "INT64", [1], [0]), "'x'.*greater than 0"
    )


@pytest.mark.parametrize(
    ("hint", "tensor", "match"),
    [
        (int, Tensor("x", "FP64", [1], [1.5]), "'x'.*fractional"),
        (int, Tensor("x", "INT64", [2], [1, 2]), "'x' is a single int.*2 elements"),
        (float, Tensor("x", BYTES, [1], ["many"]), "'x'.*JSON"),
        (str, Tensor("x", "FP64", [1], [1.0]), "'x' has datatype FP64, not BYTES"),
        (str, Tensor("x", BYTES, [2], ["a", "b"]), "'x' is a single string"),
        (str, Tensor("x", BYTES, [1], [b"\xff"]), "'x' is not UTF-8"),
        (str, Tensor("x", BYTES, [1], [None]), "'x' holds None, which is not text"),
        (bytes, Tensor("x", BYTES, [1], [None]), "'x' holds None, which is not bytes"),
        (bytes, Tensor("x", BYTES, [1], ["?"], {"content_type": "base64"}), "'x'.*not base64"),
        (bytes, Tensor("x", BYTES, [1], ["é"], {"content_type": "base64"}), "'x'.*not base64"),
        (list[bytes], Tensor("x", BYTES, [1], ["YQ"], {"content_type": "base64"}), "not base64"),
        (datetime, Tensor("x", BYTES, [1], ["noon"]), "'x'.*datetime"),
        (list[datetime], Tensor("x", BYTES, [1, 1], ["noon"]), r"'x\.0'.*datetime"),
        (dict, Tensor("x", BYTES, [1], ["{"]), "'x'.*Invalid JSON"),
        (dict, Tensor("x", BYTES, [1], [b"\xff"]), "'x'.*Invalid JSON"),
        (dict, Tensor("x", BYTES, [2], ["{}", "{}"]), "'x' is a single json"),
        (dict, Tensor("x", "FP64", [1], [1.0]), "'x'.*dictionary"),
        (Point, Tensor("x", BYTES, [1], ['{"x": "far", "label": 1}']), r"'x\.x'.*\(and 1 more\)"),
        (npt.NDArray[np.int64], Tensor("x", "FP64", [1], [1.0]), "'x' must be int64"),
        (npt.NDArray[np.int8], Tensor("x", "INT64", [1], [300]), "'x' must be int8"),
        (npt.NDArray[np.str_], Tensor("x", "FP64", [1], [1.0]), "'x' must be"),
        (
            npt.NDArray[np.str_],
            Tensor("x", BYTES, [1], ["/w=="], {"content_type": "base64"}),
            "'x' must be",
        ),
        (npt.NDArray[np.float64], Tensor("x", BYTES, [1], ["1"]), "'x' must be float64"),
        (np.ndarray, Tensor("x", BYTES, [-1, -1], ["a"]), "'x' has shape.*cannot be negative"),
        (
            pd.DataFrame,
            Tensor("x", "FP64", [1], [1.0]),
            "'x' is a DataFrame, which can be the only",
        ),
        (Any, Tensor("x", BYTES, [1], ["noon"], {"content_type": "datetime"}), "'x'.*datetime"),
    ],
)
def test_tensor_of_another_type_is_not_read(hint: Any, tensor: Tensor, match: str) -> None:
    refuses(spec_of(hint), tensor, match)
