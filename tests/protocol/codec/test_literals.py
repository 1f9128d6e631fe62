"""Python literals, as tempo 0.5 writes values."""

from __future__ import annotations

import ast
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol import codec
from tempo_runtime.protocol.binding import decode_arguments, decode_results
from tempo_runtime.protocol.codec.literals import TooDeep, read_literal
from tempo_runtime.protocol.signature import Signature, TensorSpec
from tempo_runtime.protocol.sizes import DecodingLimits
from tempo_runtime.protocol.tensor import BYTES, Tensor
from tests.fuzz.amounts import examples
from tests.helpers.value_strategies import same

_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(allow_nan=False),
    st.text(),
    st.binary(),
    st.just(...),
)
_keys = st.one_of(st.integers(), st.text(), st.binary(), st.tuples(st.integers(), st.text()))
_values: st.SearchStrategy[Any] = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(_keys, inner),
        st.sets(_keys),
    ),
    max_leaves=10,
)


@examples(300)
@given(value=_values)
def test_literals_that_repr_writes_are_read(value: Any) -> None:
    nan, inf = float("nan"), float("inf")
    names = {"nan": nan, "inf": inf, "nanj": complex(0, nan), "infj": complex(0, inf)}
    # Python itself reads another complex number where a part is -0.0.
    assert same(read_literal(repr(value)), eval(repr(value), names))


@pytest.mark.parametrize(
    "text",
    [
        " [1 , 2,\n] ",
        "'a' 'b' \"c\"",
        "b'a' b'b'",
        "'''a'b\n'''",
        '"""a"""',
        "r'\\d'",
        "'\\N{BULLET}\\x41'",
        "(1)",
        "(1,)",
        "()",
        "{}",
        "{1: 2,}",
        "0xff",
        "1_000",
        "-1",
        "+1.5e3",
        "1 + 2j",
        "[1, 2.0, 'a', 3]",
    ],
)
def test_any_literal_means_what_it_means_to_python(text: str) -> None:
    assert same(read_literal(text), ast.literal_eval(text.strip()))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "[1 2]",
        "[1,,2]",
        "[,]",
        "{1: 2, 3}",
        "{1, 2: 3}",
        "{[]: 1}",
        "1 2",
        "'a",
        "f'a'",
        "a.b",
        "open('x')",
        "array([1.0])",
        "1 if 1 else 2",
        "lambda: 1",
        "'a' b'b'",
        "007",
        "]",
        "\0",
    ],
)
def test_text_that_is_not_a_literal_is_refused(text: str) -> None:
    with pytest.raises((ValueError, SyntaxError, TypeError)):
        read_literal(text)


def test_a_literal_nested_too_deep_is_refused_at_once() -> None:
    with pytest.raises(TooDeep):
        read_literal("[" * 1_000_000)


@pytest.mark.parametrize("part", ["[1, 2],", "'text',", "None,", "{'a': 1},", "-1.5,"])
def test_memory_grows_with_the_value_and_not_with_a_syntax_tree(part: str) -> None:
    text = f"[{part * 20_000}]"
    tracemalloc.start()
    try:
        value = read_literal(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(value) == 20_000
    assert peak < 250 * 20_000  # bytes; a syntax tree takes three times as many and more


# -- limits ----------------------------------------------------------------------------------------


def spelled(text: str) -> Tensor:
    return Tensor("x", BYTES, [len(text)], list(text.encode()))


LIMITS = DecodingLimits(max_columns=3, max_literal_bytes=10)


@pytest.mark.parametrize("hint", [Any, dict, list, int])
def test_a_longer_literal_than_the_setting_allows_is_refused(hint: Any) -> None:
    spec = TensorSpec.of("x", hint)
    told = "Python literal of 11 bytes.*more than the limit of 10;.*`max_literal_bytes`"
    with pytest.raises(PayloadError, match=told):
        codec.decode(spec, spelled("[" + "1" * 9 + "]"), LIMITS)
    with pytest.raises(PayloadError, match=told):
        decode_arguments(Signature((spec,)), [spelled("[" + "1" * 9 + "]")], {}, LIMITS)
    with pytest.raises(PayloadError, match=told):
        decode_results(None, [spelled("[" + "1" * 9 + "]")], limits=LIMITS)


def test_a_text_that_is_not_read_as_a_literal_has_no_limit() -> None:
    text = "a" * 1000
    assert codec.decode(TensorSpec.of("x", str), spelled(text), LIMITS) == text


def test_more_columns_than_the_setting_allows_are_refused() -> None:
    columns = [Tensor(f"c{i}", "FP64", [1, 1], [1.0]) for i in range(4)]
    told = "4 tensors.*more than the limit of 3;.*`max_columns`"
    with pytest.raises(PayloadError, match=told):
        decode_results(None, columns, "pd", limits=LIMITS)
    with pytest.raises(PayloadError, match=told):
        decode_arguments(Signature((TensorSpec.of("x", Any),)), columns, {}, LIMITS)
    assert decode_results(None, columns[:3], "pd", limits=LIMITS).shape == (1, 3)
