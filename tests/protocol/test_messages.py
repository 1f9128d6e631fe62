"""Bodies of the V2 protocol, MLServer's own codecs, and requests of tempo 0.5."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mlserver import types
from mlserver.codecs import Base64Codec, DatetimeCodec, NumpyCodec, PandasCodec, StringCodec

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol import codec, messages
from tempo_runtime.protocol.binding import decode_results, encode_results
from tempo_runtime.protocol.messages import Request, Response
from tempo_runtime.protocol.signature import Signature, TensorSpec
from tempo_runtime.protocol.tensor import BYTES, DATATYPES, Tensor
from tests.helpers.value_strategies import SHAPES, TYPED, WAYS, json_response, same

FRAME = pd.DataFrame(
    {"n": [1, 2], "f": [0.5, 1.5], "s": ["a", "é"], "o": pd.Series([1, {"k": [None]}])}
)


def test_request_keeps_its_outputs_parameters_and_id() -> None:
    request = Request([Tensor("x", "FP64", [1], [1.0])], ["y"], {"k": 1, "content_type": "pd"}, "7")
    assert messages.request_from_json(messages.request_to_json(request)) == request


def test_response_keeps_its_parameters() -> None:
    response = Response([Tensor("x", BYTES, [1], ["a"])], {"content_type": "pd"})
    read = messages.response_from_json(messages.response_to_json(response, "m"))
    assert read == response
    assert read.content_type == "pd"


def test_mlserver_request_keeps_its_outputs_parameters_and_id() -> None:
    request = Request([Tensor("x", BYTES, [1], ["a"])], ["y"], {"k": 1}, "7")
    read = messages.to_mlserver_request(request)
    assert (read.id, [output.name for output in read.outputs or []]) == ("7", ["y"])
    assert messages.mlserver_parameters(read.parameters) == {"k": 1}


def test_bare_nan_and_infinity_of_a_body_are_read() -> None:
    body = (
        b'{"outputs": [{"name": "x", "datatype": "FP64", "shape": [2], "data": [NaN, -Infinity]}]}'
    )
    [tensor] = messages.response_from_json(body).tensors
    assert same(tensor.numbers(), np.array([math.nan, -math.inf]))


def test_null_field_of_a_body_is_not_there() -> None:
    body = b"""{"inputs": [{"name": "x", "datatype": "FP64", "shape": [1], "data": [1],
        "parameters": null}], "parameters": null, "outputs": null, "id": null}"""
    assert messages.request_from_json(body) == Request([Tensor("x", "FP64", [1], [1])])


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"outputs": [NaN', "not JSON"),
        (b"[]", "which must be a JSON object"),
        (b"{}", "'inputs' must be a JSON list"),
        (b'{"inputs": {}}', "'inputs' must be a JSON list"),
        (b'{"inputs": ["x"]}', "'name' must be a JSON text"),
        (b'{"inputs": [{"datatype": "FP64"}]}', "'name' must be"),
        (b'{"inputs": [{"name": 1}]}', "'name' must be"),
        (b'{"inputs": [{"name": "x"}]}', "'shape' must be a JSON list.*'x'"),
        (b'{"inputs": [{"name": "x", "shape": 1}]}', "'shape' must be a JSON list.*'x'"),
        (b'{"inputs": [{"name": "x", "shape": [1.5]}]}', "'x' has shape.*list of integers"),
        (b'{"inputs": [{"name": "x", "shape": ["1"]}]}', "'x' has shape.*list of integers"),
        (b'{"inputs": [{"name": "x", "shape": [1]}]}', "'datatype' must be a JSON text.*'x'"),
        (
            b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP64"}]}',
            "'data' must be a JSON value.*'x'",
        ),
        (
            b'{"inputs": [{"name": "x", "shape": [], "datatype": "FP64", "parameters": 1}]}',
            "'parameters' must be a JSON object.*'x'",
        ),
        (b'{"inputs": [], "outputs": [1]}', "'name' must be"),
        (b'{"inputs": [], "parameters": "x"}', "'parameters' must be a JSON object"),
    ],
)
def test_a_body_that_is_not_a_request_is_refused(body: bytes, match: str) -> None:
    with pytest.raises(PayloadError, match=match) as caught:
        messages.request_from_json(body)
    assert caught.value.status == 422


def test_a_body_that_is_not_a_response_is_refused() -> None:
    with pytest.raises(PayloadError, match="'outputs' must be a JSON list"):
        messages.response_from_json(b'{"error": "no such model"}')


# -- MLServer's codecs -----------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(array=hnp.arrays(np.float64, SHAPES.filter(lambda shape: len(shape) > 1)))
def test_numpy_codec_and_ours_read_each_other(array: Any) -> None:
    theirs = NumpyCodec.encode_input("x", array)
    assert same(array, codec.decode(TensorSpec("x"), messages.from_mlserver(theirs)))
    ours = messages.to_mlserver_output(codec.encode(TensorSpec("x"), array), json=False)
    assert same(array, NumpyCodec.decode_output(ours))


@pytest.mark.parametrize("dtype", DATATYPES.values(), ids=str)
def test_numpy_codec_reads_our_dtype(dtype: Any) -> None:
    array = np.array([[0, 1], [2, 3]], dtype)
    ours = messages.to_mlserver_output(codec.encode(TensorSpec("x"), array), json=True)
    assert same(array, NumpyCodec.decode_output(ours))


@pytest.mark.parametrize(
    ("theirs", "value"),
    [
        (StringCodec, ["a", "é"]),
        (StringCodec, ["a"]),
        (Base64Codec, [b"\xff", b""]),
        (DatetimeCodec, [datetime(2020, 1, 1, 12), datetime(1999, 5, 5)]),
    ],
)
def test_list_codec_and_ours_read_each_other(theirs: Any, value: Any) -> None:
    read = codec.decode(
        TensorSpec.of("x", list[type(value[0])]),
        messages.from_mlserver(theirs.encode_input("x", value)),
    )
    assert read == value
    ours = codec.encode(TensorSpec("x"), value)
    (sent,) = messages.to_mlserver_request(Request([ours])).inputs
    assert theirs.decode_input(sent) == value
    assert ours.shape == theirs.encode_input("x", value).shape


@pytest.mark.parametrize("use_bytes", [True, False])
def test_frame_of_mlserver_is_read(use_bytes: bool) -> None:
    answer = PandasCodec.encode_response("m", FRAME, use_bytes=use_bytes)
    tensors = [messages.from_mlserver(output) for output in answer.outputs]
    read = decode_results(
        None, tensors, messages.mlserver_parameters(answer.parameters)["content_type"]
    )
    pd.testing.assert_frame_equal(read, FRAME)


def test_frame_of_ours_is_read_by_mlserver() -> None:
    tensors, content_type = encode_results(Signature(()), FRAME)
    assert content_type == PandasCodec.ContentType
    body = messages.response_to_json(Response(tensors), "m")
    read = PandasCodec.decode_response(types.InferenceResponse.model_validate_json(body))
    pd.testing.assert_frame_equal(read, FRAME)


def test_text_of_an_untyped_mlserver_request_is_read() -> None:
    sent = StringCodec.encode_input("x", ["a"], use_bytes=False)
    assert codec.decode(TensorSpec("x"), messages.from_mlserver(sent)) == ["a"]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_tensor_without_parameters_stays_so(way: Any) -> None:
    (tensor,) = way([Tensor("x", "FP64", [1], np.array([1.0]))])
    assert tensor.parameters == {}


# -- tempo 0.5 -------------------------------------------------------------------------------------


# The form of its own client and server is tested in interop/test_tempo_0_5.py.


def spelled(text: str | bytes) -> Tensor:
    integers = list(text.encode() if isinstance(text, str) else text)
    return Tensor("x", BYTES, [len(integers)], integers)


@pytest.mark.parametrize(
    ("hint", "text", "value"),
    [
        (str, "it's é", "it's é"),
        (str, "{'a': 1}", "{'a': 1}"),
        (str | None, "None", None),
        (str | None, "none", "none"),
        (
            dict,
            "{'threshold': 0.9, 'names': ('a', None)}",
            {"threshold": 0.9, "names": ("a", None)},
        ),
        (dict, "{'a': [nan, -inf]}", {"a": [math.nan, -math.inf]}),
        (list, "[1, 'two', 3.0]", [1, "two", 3.0]),
        (list[str], "['a', 'b']", ["a", "b"]),
        (bytes, r"b'\xff'", b"\xff"),
        (int, "7", 7),
        (float, "nan", math.nan),
        (float | None, "None", None),
        (Any, "{'a': [1]}", {"a": [1]}),
        (Any, "two words", "two words"),
        (Literal["a", "b"], "b", "b"),
        (datetime, "2020-01-02", datetime(2020, 1, 2)),
    ],
)
def test_value_spelled_by_tempo_05_is_read(hint: Any, text: str, value: Any) -> None:
    assert same(codec.decode(TensorSpec.of("x", hint), spelled(text)), value)


def test_text_without_letters_is_read() -> None:
    assert codec.decode(TensorSpec.of("x", str), spelled("")) == ""


@pytest.mark.parametrize("text", ["open('/')", "[" * 500, "a", "np.float64(1.5)", b"\xff"])
def test_integers_that_do_not_spell_a_literal_are_refused(text: str | bytes) -> None:
    with pytest.raises(PayloadError, match=r"'x' is BYTES given as integers.* do not spell"):
        codec.decode(TensorSpec.of("x", np.ndarray), spelled(text))


@pytest.mark.parametrize("integers", [[256], [-1]])
def test_integers_that_are_not_bytes_are_refused(integers: list[int]) -> None:
    with pytest.raises(PayloadError, match="'x' is BYTES given as integers"):
        codec.decode(TensorSpec("x"), Tensor("x", BYTES, [1], integers))


@pytest.mark.parametrize(
    ("hint", "text", "match"),
    [
        (dict, "open('/')", "'x'.*dictionary"),
        (dict, "[1]", "'x'.*dictionary"),
        (dict, "[" * 500, "'x' .* nested more than 100 levels deep"),
        (int, "{'a': 1}", "'x'.*integer"),
        (np.ndarray[Any, np.dtype[np.float64]], "{'a': 1}", "'x' must be float64"),
        (pd.DataFrame, "{'a': 1}", "'x' is a DataFrame"),
    ],
)
def test_spelled_value_of_another_type_is_refused(hint: Any, text: str, match: str) -> None:
    with pytest.raises(PayloadError, match=match):
        codec.decode(TensorSpec.of("x", hint), spelled(text))


def test_spelled_list_is_read_as_an_array() -> None:
    read = codec.decode(TensorSpec.of("x", np.ndarray), spelled("[[1, 2], [3, 4]]"))
    assert same(read, np.array([[1, 2], [3, 4]]))


# Of arrays of text, a literal keeps the elements alone.
TEXT_ARRAYS = ("array", "unicode", "bytes_array", "objects")


@pytest.mark.parametrize("name", [name for name in TYPED if name not in TEXT_ARRAYS])
@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_value_that_is_spelled_is_read_as_it_was(name: str, data: st.DataObject) -> None:
    hint, values = TYPED[name]
    spec, value = TensorSpec.of("x", hint), data.draw(values)
    (read,) = json_response([codec.spell(spec, value)])
    assert same(codec.decode(spec, read), value)
