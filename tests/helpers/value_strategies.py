"""Values of every kind, with the annotation they travel under, and the ways they travel."""

from __future__ import annotations

import datetime as dt
import math
import warnings
from collections.abc import Callable
from typing import Any, Optional

import numpy as np
import numpy.typing as npt
import orjson
import pandas as pd
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mlserver import types
from mlserver.codecs.json import encode_to_json_bytes
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.converters import ModelInferRequestConverter, ModelInferResponseConverter
from pydantic import BaseModel, Field

from tempo_runtime.protocol import grpc_messages, messages
from tempo_runtime.protocol.tensor import DATATYPES, Tensor


class Point(BaseModel):
    x: float
    label: Optional[str] = None  # noqa: UP045 - both spellings of Optional are in these tests


class Shape(BaseModel):
    kind: str = Field(alias="shapeKind")
    points: list[Point] = []
    centre: Point | None = None


SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)
NUMBER_DTYPES = st.sampled_from(list(DATATYPES.values()))
numbers = NUMBER_DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, SHAPES))

# numpy's own text and bytes have no zero at their end.
_TEXT = st.text(max_size=5).filter(lambda text: not text.endswith("\0"))
_BYTES = st.binary(max_size=5).filter(lambda blob: not blob.endswith(b"\0"))


def _array_of(elements: st.SearchStrategy[Any], kind: Any) -> st.SearchStrategy[Any]:
    def fill(shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
        size = math.prod(shape)
        lists = st.lists(elements, min_size=size, max_size=size)
        return lists.map(lambda values: np.array(values, kind).reshape(shape))

    return SHAPES.flatmap(fill)


unicode_arrays = _array_of(_TEXT, "U")
bytes_arrays = _array_of(_BYTES, "S")
object_text_arrays = _array_of(st.text(max_size=5), object)
object_bytes_arrays = _array_of(st.binary(max_size=5), object).filter(lambda array: array.size)
arrays = st.one_of(numbers, unicode_arrays, bytes_arrays, object_text_arrays, object_bytes_arrays)

integers = st.one_of(
    st.integers(), st.sampled_from([2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1])
)
_zones = st.builds(lambda m: dt.timezone(dt.timedelta(minutes=m)), st.integers(-1439, 1439))
moments = st.datetimes(timezones=st.one_of(st.none(), _zones))
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), integers, st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
# A list of texts alone is a kind of its own.
json_lists = st.lists(json_values, max_size=4)
json_dicts = st.dictionaries(st.text(max_size=4), json_values, max_size=4)
points = st.builds(Point, x=st.floats(), label=st.none() | st.text(max_size=5))
shapes = st.builds(
    Shape,
    shapeKind=st.text(max_size=5),
    points=st.lists(points, max_size=2),
    centre=st.none() | points,
)

TYPED: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "array": (np.ndarray, arrays),
    "unicode": (npt.NDArray[np.str_], unicode_arrays),
    "bytes_array": (npt.NDArray[np.bytes_], bytes_arrays),
    "objects": (npt.NDArray[np.object_], st.one_of(object_text_arrays, object_bytes_arrays)),
    "bool": (bool, st.booleans()),
    "int": (int, integers),
    "float": (float, st.floats()),
    "str": (str, st.text()),
    "bytes": (bytes, st.binary()),
    "datetime": (dt.datetime, moments),
    "strings": (list[str], st.lists(st.text(max_size=5), max_size=4)),
    "blobs": (list[bytes], st.lists(st.binary(max_size=5), max_size=4)),
    "datetimes": (list[dt.datetime], st.lists(moments, max_size=4)),
    "list": (list, json_lists),
    "dict": (dict, json_dicts),
    "nested": (dict[str, list[float]], st.dictionaries(st.text(max_size=3), st.lists(st.floats()))),
    "model": (Shape, shapes),
    "models": (list[Point], st.lists(points, max_size=3)),
    "optional_array": (npt.NDArray[np.float32] | None, st.none() | hnp.arrays(np.float32, SHAPES)),
    "optional_int": (Optional[int], st.none() | integers),  # noqa: UP045
    "optional_str": (str | None, st.none() | st.text()),
    "optional_model": (Point | None, st.none() | points),
}
# The type of an untyped value does not depend on an annotation.
UNTYPED = ("unicode", "bytes_array", "objects", "array", "str", "bytes", "datetime", "dict", "list")
UNTYPED_LISTS = ("strings", "blobs", "datetimes")

_column = st.sampled_from(
    [
        st.integers(-(2**63), 2**63 - 1).map(np.int64),
        st.floats().map(np.float64),
        st.booleans().map(np.bool_),
        st.text(max_size=4),
        st.none() | st.text(max_size=4) | st.integers() | st.floats(allow_nan=False),
        st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1)).map(pd.Timestamp),
    ]
)


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    rows = draw(st.integers(0, 4))
    names = draw(st.lists(st.text(max_size=4), min_size=1, max_size=3, unique=True))
    columns = {}
    for name in names:
        values = draw(st.lists(draw(_column), min_size=rows, max_size=rows))
        first = values[0] if values else None
        if isinstance(first, np.generic):
            columns[name] = pd.Series(values, dtype=first.dtype)
        elif isinstance(first, pd.Timestamp):
            columns[name] = pd.Series(values, dtype="datetime64[ns]")
        else:
            columns[name] = pd.Series(values, dtype=object)
    return pd.DataFrame(columns)


# Without NaN: pandas' comparison finds that a tuple with one is another than itself, and its `isna` fails
# for a signalling one of decimal's.
_floats = st.floats(allow_nan=False)
_pieces = st.none() | st.booleans() | st.integers() | _floats | st.text(max_size=4)
_decimals = st.decimals(allow_nan=False)
_anything = st.recursive(
    _pieces | st.binary(max_size=3) | st.dates() | _decimals | st.uuids() | st.just(pd.NA),
    lambda parts: st.lists(parts, max_size=2) | st.tuples(parts) | st.dictionaries(_pieces, parts),
    max_leaves=4,
)
_stamps = st.none() | st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1))
_zones = st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"])


def _arrays(rows: int) -> st.SearchStrategy[Any]:
    """Columns of so many rows, of each dtype that pandas has."""

    def listed(elements: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
        return st.lists(elements, min_size=rows, max_size=rows)

    whole = st.integers(-128, 127) | st.none()
    units = st.sampled_from(["s", "ms", "us", "ns"])
    counts = hnp.arrays(np.int64, rows, elements=st.integers(-(2**53), 2**53))
    return st.one_of(
        NUMBER_DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, rows)),
        hnp.arrays(np.complex128, rows),
        listed(_anything).map(_objects),
        listed(st.text(max_size=4)).map(_objects),
        st.tuples(counts, units).map(lambda drawn: drawn[0].view(f"M8[{drawn[1]}]")),
        st.tuples(counts, units).map(lambda drawn: drawn[0].view(f"m8[{drawn[1]}]")),
        st.tuples(listed(_stamps), _zones).map(
            lambda drawn: pd.DatetimeIndex(drawn[0], tz="UTC").tz_convert(drawn[1]).array
        ),
        st.tuples(listed(whole), st.sampled_from(["Int8", "Int64", "Float32", "Float64"])).map(
            lambda drawn: pd.array(*drawn)
        ),
        listed(st.booleans() | st.none()).map(lambda values: pd.array(values, "boolean")),
        listed(st.text(max_size=3) | st.none()).map(lambda values: pd.array(values, "string")),
        st.tuples(listed(st.text(max_size=2) | st.none()), st.booleans()).map(
            lambda drawn: pd.Categorical(drawn[0], ordered=drawn[1])
        ),
        listed(whole).map(pd.Categorical),
        listed(_stamps).map(lambda values: pd.PeriodIndex(values, freq="M").array),
        listed(st.integers(0, 5)).map(
            lambda starts: pd.arrays.IntervalArray.from_arrays(starts, [at + 1 for at in starts])
        ),
    )


def _objects(values: list[Any]) -> np.ndarray[Any, Any]:
    array = np.empty(len(values), object)
    for position, value in enumerate(values):
        array[position] = value
    return array


_labels = st.none() | st.integers(-5, 5) | st.text(max_size=3) | st.tuples(st.text(max_size=2))


@st.composite
def whole_frames(draw: st.DrawFn) -> pd.DataFrame:
    """DataFrames of any dtypes, labels and index."""
    rows = draw(st.integers(0, 4))
    labels = draw(st.lists(_labels, max_size=3))
    columns = {
        position: pd.Series(array, dtype=array.dtype)
        for position, array in enumerate(draw(st.tuples(*[_arrays(rows) for _ in labels])))
    }
    index = pd.RangeIndex(rows) if draw(st.booleans()) else _index(draw(_arrays(rows)))
    if index.dtype != object and draw(st.integers(0, 4)) == 0:  # levels have a hash
        index = pd.MultiIndex.from_arrays([pd.RangeIndex(rows), index], names=[None, 5])
    elif draw(st.booleans()):
        index = index.rename(draw(_labels))
    frame = pd.DataFrame(columns, index=pd.RangeIndex(rows)).set_axis(index)
    frame.columns = pd.Index(labels, dtype=object, tupleize_cols=False)
    return frame


def _index(array: Any) -> Any:
    # pandas has no index of half floats.
    array = array.astype("f4") if array.dtype == np.float16 else array
    return pd.Index(array, dtype=array.dtype, tupleize_cols=False)


# -- ways ------------------------------------------------------------------------------------------


def in_memory(tensors: list[Tensor]) -> list[Tensor]:
    return tensors


def json_request(tensors: list[Tensor]) -> list[Tensor]:
    return messages.request_from_json(messages.request_to_json(messages.Request(tensors))).tensors


def json_response(tensors: list[Tensor]) -> list[Tensor]:
    return messages.response_from_json(
        messages.response_to_json(messages.Response(tensors), "m")
    ).tensors


def mlserver_response(tensors: list[Tensor]) -> list[Tensor]:
    """As MLServer writes an answer over REST, and as it reads one."""
    answer = types.InferenceResponse(
        model_name="m",
        outputs=[messages.to_mlserver_output(tensor, json=True) for tensor in tensors],
    )
    body = encode_to_json_bytes(answer.model_dump())
    read = types.InferenceResponse.model_validate(orjson.loads(body))
    return [messages.from_mlserver(output) for output in read.outputs]


def mlserver_request(tensors: list[Tensor]) -> list[Tensor]:
    request = messages.to_mlserver_request(messages.Request(tensors))
    return [messages.from_mlserver(tensor) for tensor in request.inputs]


def mlserver_rest(tensors: list[Tensor]) -> list[Tensor]:
    """As MLServer's REST server reads our request."""
    body = messages.request_to_json(messages.Request(tensors))
    read = types.InferenceRequest.model_validate(orjson.loads(body))
    return [messages.from_mlserver(tensor) for tensor in read.inputs]


def grpc_request(tensors: list[Tensor]) -> list[Tensor]:
    """As MLServer's gRPC server reads our request."""
    sent = grpc_messages.request_to_proto(messages.Request(tensors), "m", None).SerializeToString()
    with warnings.catch_warnings():
        # MLServer calls pydantic as its version 1 was called.
        warnings.simplefilter("ignore", DeprecationWarning)
        read = ModelInferRequestConverter.to_types(pb.ModelInferRequest.FromString(sent))
    return [messages.from_mlserver(tensor) for tensor in read.inputs]


def grpc_response(tensors: list[Tensor]) -> list[Tensor]:
    """As MLServer writes our answer over gRPC, and as we read it."""
    answer = types.InferenceResponse(
        model_name="m",
        outputs=[messages.to_mlserver_output(tensor, json=False) for tensor in tensors],
    )
    sent = ModelInferResponseConverter.from_types(answer, use_raw=True).SerializeToString()
    return grpc_messages.response_from_proto(pb.ModelInferResponse.FromString(sent)).tensors


WAYS: list[Callable[[list[Tensor]], list[Tensor]]] = [
    in_memory,
    json_request,
    json_response,
    mlserver_response,
    mlserver_request,
    mlserver_rest,
    grpc_request,
    grpc_response,
]


# -- equality --------------------------------------------------------------------------------------


def same(left: Any, right: Any) -> bool:
    """Whether two values are one: type, dtype, shape, NaN and the sign of zero."""
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray):
        if left.dtype.newbyteorder("=") != right.dtype or left.shape != right.shape:
            return False
        return all(same(a, b) for a, b in zip(left.ravel().tolist(), right.ravel().tolist()))
    if isinstance(left, float):
        return (left == right and math.copysign(1, left) == math.copysign(1, right)) or (
            left != left and right != right
        )
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right))
    if isinstance(left, BaseModel):
        return same(dict(left), dict(right))
    if isinstance(left, dt.datetime):
        return left == right and left.utcoffset() == right.utcoffset()
    if isinstance(left, pd.DataFrame):
        pd.testing.assert_frame_equal(left, right)
        return True
    return bool(left == right)
