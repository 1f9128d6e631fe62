"""Anything that a client or a child may send: correct tensors, nearly correct ones, and nonsense."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from tempo_runtime.protocol.tensor import BYTES, DATATYPES, is_repr
from tests.helpers.value_strategies import json_values

DATATYPES_OF_V2 = [*DATATYPES, BYTES]
DEEP = 3000  # levels; Python's stack has fewer

# -- values ----------------------------------------------------------------------------------------

_edges = st.sampled_from(
    [0, -1, 255, 256, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**400]
)
_TEXTS = [
    "",
    "NaN",
    "-Infinity",
    "1e999",
    "null",
    "[1, 2]",
    '{"a": 1}',
    '{"item": "tea"}',
    '"a"',
    '"\\ud800"',
    "{",
    "[" * DEEP,
    "1" * 5000,
    "YQ==",
    "YQ",
    "2020-01-01T00:00:00",
    "2020-01-01T00:00:00+02:00",
    "9999-12-31T23:59:59",
    "T",
    "\0",
]
texts = st.sampled_from(_TEXTS) | st.text(max_size=5)
_numbers = st.one_of(st.integers(-3, 300), _edges, st.floats(), st.booleans())
leaves = st.one_of(_numbers, texts, st.none())
anything = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=5,
)
LITERALS = [
    "...",
    "1j",
    "{1, 2}",
    "{[]: 1}",
    "b'\\xff'",
    "'\\ud800'",
    "0x" + "f" * 5000,  # an integer with more digits than Python prints
    "[0x" + "f" * 5000 + "]",
    "0x" + "f" * 5000 + "+1j",
    "1" * 5000,
    "-" * DEEP + "1",
    "1+" * DEEP + "1",
    "[" * DEEP,
    "[" * 90 + "]" * 90,
    "{'a': nan}",
    "lambda: 1",
    "\0",
]
literals = st.one_of(st.sampled_from(LITERALS), json_values.map(repr), st.text(max_size=5))


def spelled(text: str) -> list[int]:
    """A literal as tempo 0.5 sends it: one integer a byte."""
    return list(text.encode())


# -- tensors ---------------------------------------------------------------------------------------

_data = st.one_of(
    st.lists(st.integers(0, 5), max_size=6),
    st.lists(st.floats(), max_size=4),
    st.lists(st.lists(st.integers(0, 1), min_size=2, max_size=2), max_size=3),
    st.lists(texts, max_size=3),
    st.lists(leaves, max_size=4),
    st.builds(spelled, literals),
    anything,
)
_odd_shapes = st.one_of(
    st.lists(st.integers(0, 3), max_size=3),
    st.lists(st.sampled_from([-1, 0, 1, 2**31, 2**63, 2**70]), max_size=3),
    st.sampled_from([[1] * 40, [0] * 70, [0, 2**62, 2**62]]),
)
_content_types = st.sampled_from(["np", "pd", "pd_json", "str", "base64", "datetime", "json"])
_element_types = st.sampled_from(["U", "S", "O", "V", "any", [], {}])
parameters = st.fixed_dictionaries(
    {}, optional={"content_type": _content_types | anything, "dtype": _element_types}
)


@st.composite
def tensors(draw: st.DrawFn, names: list[str]) -> dict[str, Any]:
    """A tensor as JSON has it; its shape often fits its data."""
    data = draw(_data)
    size = len(data) if isinstance(data, list) else 1
    fitting = [[size], [size], [size, 1], [1, size], [] if size == 1 else [1]]
    return {
        "name": draw(st.sampled_from([*names, *names, "input-0", "other"])),
        "datatype": draw(st.sampled_from([*DATATYPES_OF_V2, *[BYTES] * 9, "STRING"])),
        "shape": draw(st.sampled_from(fitting) | _odd_shapes),
        "data": data,
        "parameters": draw(parameters),
    }


def is_spelled(tensor: dict[str, Any]) -> bool:
    """Whether a tensor's data is a literal as tempo 0.5 sends it."""
    data = tensor["data"]
    return tensor["datatype"] == BYTES and is_repr(data if isinstance(data, list) else [data])


def nested(levels: int, leaf: Any = 1) -> list[Any]:
    """A list in a list in a list."""
    for _ in range(levels):
        leaf = [leaf]
    return leaf if isinstance(leaf, list) else [leaf]


def nested_objects(levels: int) -> dict[str, Any]:
    """An object in an object in an object."""
    held: dict[str, Any] = {}
    for _ in range(levels):
        held = {"a": held}
    return held


def dump(content: Any) -> bytes:
    """JSON as Python writes it: with bare NaN, and integers of any size."""
    return json.dumps(content).encode()
