"""Whatever arrives is read, or refused with a `PayloadError`; nothing else comes out."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, Optional, TypedDict

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from mlserver.grpc import dataplane_pb2 as pb

from tempo_runtime.authoring.decorators import describe
from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol import codec, grpc_messages
from tempo_runtime.protocol import messages as wire
from tempo_runtime.protocol.binding import decode_arguments, decode_results
from tempo_runtime.protocol.signature import Signature, TensorSpec
from tempo_runtime.protocol.tensor import BYTES, DATATYPES, Tensor
from tests.fuzz import anything as some
from tests.fuzz.amounts import examples
from tests.helpers import pipelines
from tests.helpers.value_strategies import TYPED, Point, Shape, same


class Pair(NamedTuple):
    x: npt.NDArray[np.float32]
    label: str = "none"


class Parts(TypedDict, total=False):
    x: np.ndarray[tuple[int, Literal[2]], np.dtype[np.int8]]
    points: list[Point]


def of_frame(frame: pd.DataFrame, x: int = 1) -> pd.DataFrame: ...
def of_default_frame(x: Shape | None = None, frame: pd.DataFrame = None) -> Pair: ...
def of_text(x: npt.NDArray[np.str_], blob: npt.NDArray[np.bytes_]) -> Parts: ...
def of_many(x: Optional[Point], y: list[float], z: bool) -> tuple[np.ndarray, str, Any]: ...  # noqa: UP045
def of_mapping(x: Any) -> dict[str, np.ndarray]: ...


FUNCTIONS = (of_frame, of_default_frame, of_text, of_many, of_mapping)
PIPELINES = {describe(target).details.name: describe(target) for target in pipelines.ALL}
SIGNATURES = {
    **{name: found.signature for name, found in PIPELINES.items()},
    **{function.__name__: Signature.of(function) for function in FUNCTIONS},
    **{
        name: Signature((TensorSpec.of("x", hint),), (TensorSpec.of("output-0", hint),), "single")
        for name, (hint, _) in TYPED.items()
    },
}
each_signature = pytest.mark.parametrize("name", SIGNATURES)


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """Lets a refusal pass, and what pandas and numpy warn of: that goes to a server's log."""
    with warnings.catch_warnings(), contextlib.suppress(PayloadError):
        warnings.simplefilter("ignore")
        yield


def tensor(datatype: str, data: Any, shape: Any = (1,), **parameters: Any) -> Tensor:
    return Tensor("x", datatype, list(shape), data, parameters)


# -- generated -------------------------------------------------------------------------------------


@each_signature
@examples(40)
@given(data=st.data())
def test_arguments_are_read_or_refused(name: str, data: st.DataObject) -> None:
    names = [spec.name for spec in SIGNATURES[name].inputs] or ["x"]
    given_ = data.draw(st.lists(some.tensors(names), min_size=1, max_size=2))
    parameters = data.draw(st.dictionaries(st.sampled_from(names), some.anything, max_size=1))
    with refusing():
        decode_arguments(SIGNATURES[name], [Tensor(**each) for each in given_], parameters)


@each_signature
@examples(20)
@given(data=st.data())
def test_results_are_read_or_refused(name: str, data: st.DataObject) -> None:
    names = [spec.name for spec in SIGNATURES[name].outputs] or ["output-0"]
    given_ = data.draw(st.lists(some.tensors(names), min_size=1, max_size=2))
    content_type = data.draw(st.sampled_from([None, "pd"]))
    for signature in (SIGNATURES[name], None):
        with refusing():
            decode_results(signature, [Tensor(**each) for each in given_], content_type, names[:1])


@examples(200)
@given(given_=some.tensors(["x"]))
def test_a_value_read_without_a_type_can_be_written_and_read_again(given_: dict[str, Any]) -> None:
    spec = TensorSpec("x")
    with refusing():
        value = codec.decode(spec, Tensor(**given_))
        if some.is_spelled(given_):  # a literal may say what no tensor holds
            return
        (written,) = wire.request_from_json(
            wire.request_to_json(wire.Request([codec.encode(spec, value)]))
        ).tensors
        again = codec.decode(spec, written)
        assert same(again, value)


_bodies = st.one_of(
    st.binary(max_size=30),
    some.anything.map(some.dump),
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("inputs", "outputs", "parameters", "id"), some.anything)
    ).map(some.dump),
    st.lists(some.tensors(["x"]), max_size=2).map(
        lambda given_: some.dump({"inputs": given_, "outputs": given_})
    ),
)


@pytest.mark.parametrize("read", [wire.request_from_json, wire.response_from_json])
@examples(200)
@given(body=_bodies, cut=st.integers(0, 60))
def test_a_body_is_read_or_refused(read: Callable[[bytes], Any], body: bytes, cut: int) -> None:
    for part in (body, body[:-cut] if cut else b"", body.replace(b'"', b"\xff", 1)):
        with refusing():
            read(part)


_proto_shapes = st.lists(st.sampled_from([-(2**63), -1, 0, 1, 2, 2**31, 2**63 - 1]), max_size=3)
_contents: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "bool_contents": st.lists(st.booleans(), max_size=3),
        "int64_contents": st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
        "uint_contents": st.lists(st.integers(0, 300), max_size=3),
        "fp64_contents": st.lists(st.floats(), max_size=3),
        "bytes_contents": st.lists(st.binary(max_size=4), max_size=3),
    },
)


@st.composite
def messages(draw: st.DrawFn) -> pb.ModelInferResponse:
    raw = st.lists(st.binary(max_size=17), max_size=3)
    message = pb.ModelInferResponse(raw_output_contents=draw(st.just([]) | raw))
    for _ in range(draw(st.integers(0, 2))):
        message.outputs.add(
            name=draw(st.sampled_from(["x", "output-0"])),
            datatype=draw(st.sampled_from([*some.DATATYPES_OF_V2, "BF16"])),
            shape=draw(_proto_shapes),
            contents=pb.InferTensorContents(**draw(_contents)),
        )
    for part in message.outputs:
        for key in draw(st.sets(st.sampled_from(["content_type", "dtype"]))):
            part.parameters[key].CopyFrom(
                draw(
                    st.sampled_from(
                        [
                            pb.InferParameter(),
                            pb.InferParameter(bool_param=True),
                            pb.InferParameter(string_param="json"),
                            pb.InferParameter(string_param="base64"),
                            pb.InferParameter(string_param="S"),
                        ]
                    )
                )
            )
    return message


@examples(300)
@given(message=messages(), name=st.sampled_from(list(SIGNATURES)))
def test_a_message_is_read_or_refused(message: pb.ModelInferResponse, name: str) -> None:
    with refusing():
        response = grpc_messages.response_from_proto(message)
        for signature in (SIGNATURES[name], None):
            with refusing():
                decode_results(signature, response.tensors)


@examples(200)
@given(blob=st.binary(max_size=60))
def test_bytes_that_are_a_message_are_read_or_refused(blob: bytes) -> None:
    message = pb.ModelInferResponse()
    with contextlib.suppress(DecodeError), refusing():
        message.ParseFromString(blob)
        decode_results(None, grpc_messages.response_from_proto(message).tensors)


# -- found, and kept -------------------------------------------------------------------------------

HINTS = (Any, np.ndarray, npt.NDArray[np.str_], int, str, bytes, dict, list, list[str], Shape)
each_hint = pytest.mark.parametrize("hint", HINTS, ids=str)
LEVELS = (40, 600, some.DEEP)


@pytest.mark.parametrize("levels", LEVELS)
@each_hint
def test_data_nested_without_end_is_read_or_refused(hint: Any, levels: int) -> None:
    spec = TensorSpec.of("x", hint)
    deep = [some.nested(levels), some.nested(levels, "a"), some.nested_objects(levels)]
    for data in [*deep, [some.nested_objects(levels)]]:
        for datatype in (BYTES, "FP64", "INT64", "BOOL"):
            with refusing():
                codec.decode(spec, tensor(datatype, data))
        with refusing():
            codec.parameter(spec, data)


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize(
    "body",
    [
        lambda n: b'{"outputs":' + b"[" * n + b"]" * n + b"}",
        lambda n: b'{"outputs":[' + b'{"a":' * n + b"NaN" + b"}" * n + b"]}",
        lambda n: b'{"outputs":[{"shape":' + b"[" * n + b"NaN" + b"]" * n + b',"name":"x"}]}',
    ],
)
def test_a_body_nested_without_end_is_refused(body: Callable[[int], bytes], levels: int) -> None:
    with pytest.raises(PayloadError):
        wire.response_from_json(body(levels))


@pytest.mark.parametrize("literal", some.LITERALS, ids=lambda text: text[:12])
@each_hint
def test_a_value_spelled_as_a_literal_is_read_or_refused(hint: Any, literal: str) -> None:
    with refusing():
        codec.decode(TensorSpec.of("x", hint), tensor(BYTES, some.spelled(literal)))


@pytest.mark.parametrize("dtype", [[], {}, ["U"], 1, None])
def test_an_element_type_that_is_not_a_name_is_ignored(dtype: Any) -> None:
    read = codec.decode(TensorSpec("x"), tensor(BYTES, ["a"], dtype=dtype))
    assert read.tolist() == ["a"]


@pytest.mark.parametrize("content_type", [[], {}, 1])
def test_a_content_type_that_is_not_text_is_ignored(content_type: Any) -> None:
    read = codec.decode(TensorSpec("x"), tensor(BYTES, ["a"], content_type=content_type))
    assert read.tolist() == ["a"]


def test_a_column_of_json_nested_without_end_is_refused() -> None:
    column = Tensor("c", BYTES, [1, 1], ["[" * 100_000], {"content_type": "pd_json"})
    with pytest.raises(PayloadError, match="column 'c' does not match its content type pd_json"):
        decode_arguments(Signature.of(of_frame), [column], {})


@pytest.mark.parametrize("value", [{"a": 1}, [1, None], [[]] * 2 + [None], ..., 1j, "\ud800"])
def test_a_parameter_that_a_tensor_cannot_hold_is_not_an_array(value: Any) -> None:
    with pytest.raises(PayloadError, match="'x'"):
        codec.parameter(TensorSpec.of("x", np.ndarray), value)


@pytest.mark.parametrize("hint", [Any, np.ndarray, npt.NDArray[np.str_]])
@pytest.mark.parametrize("how", ["BYTES", "base64", "parameter"])
def test_one_long_text_among_many_does_not_fill_the_memory(hint: Any, how: str) -> None:
    if how == "parameter" and hint is Any:
        return
    spec, texts = TensorSpec.of("x", hint), ["a" * 1_000_000] + ["aaaa"] * 10_000
    kind = {"content_type": "base64", "dtype": "S"} if how == "base64" else {}
    read, given = codec.decode, tensor(BYTES, texts, [len(texts)], **kind)
    if how == "parameter":
        read, given = codec.parameter, texts
    with pytest.raises(PayloadError, match=r"10001 texts of up to .* annotate it as a list"):
        read(spec, given)


@pytest.mark.parametrize("datatype", DATATYPES)
def test_one_long_text_among_numbers_does_not_fill_the_memory(datatype: str) -> None:
    number = DATATYPES[datatype].type(0).item()
    data = [number, "a" * 1_000_000] + [number] * 1_000_000  # 4 TB, were it an array of texts
    with pytest.raises(PayloadError, match=f"{datatype}, which cannot hold 'aaa"):
        tensor(datatype, data, [len(data)]).numbers()


def test_texts_of_much_the_same_length_are_an_array_however_large() -> None:
    texts = ["a" * 100_000] * 1000
    assert codec.decode(TensorSpec("x"), tensor(BYTES, texts, [1000])).shape == (1000,)


@pytest.mark.parametrize("levels", [150, 300, 900])
@pytest.mark.parametrize("make", [some.nested, some.nested_objects])
def test_a_value_nested_too_deep_to_be_written_again_is_refused(make: Any, levels: int) -> None:
    spec = TensorSpec("x")
    with pytest.raises(PayloadError, match="'x' is nested more than 100 levels deep"):
        codec.parameter(spec, make(levels))
    if make is some.nested_objects:
        with pytest.raises(PayloadError, match="'x' is nested more than 100 levels deep"):
            codec.decode(spec, tensor(BYTES, [make(levels)], content_type="json"))


@pytest.mark.parametrize("shape", [[2**31, 0], [2**11, 2**11, 0, 3]])
@pytest.mark.parametrize("datatype", ["FP64", BYTES])
@pytest.mark.parametrize("hint", [list, np.ndarray, npt.NDArray[np.str_]], ids=str)
def test_rows_of_nothing_do_not_fill_the_memory(hint: Any, datatype: str, shape: list[int]) -> None:
    with pytest.raises(PayloadError, match=r"'x' has shape .* too many empty rows"):
        codec.decode(TensorSpec.of("x", hint), tensor(datatype, [], shape))


@pytest.mark.parametrize("shape", [[0, 224, 224, 3], [10_000, 0], [0, 2**40]])
def test_an_empty_tensor_keeps_its_shape(shape: list[int]) -> None:
    read = codec.decode(TensorSpec.of("x", np.ndarray), tensor("FP32", [], shape))
    assert list(read.shape) == shape
