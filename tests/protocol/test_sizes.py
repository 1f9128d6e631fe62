"""Whether a value is large enough to be converted in a thread."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel

from tempo_runtime.protocol.sizes import convert, is_large
from tempo_runtime.protocol.tensor import Tensor


@dataclass
class Held:
    parts: list[int] = field(default_factory=lambda: [1] * 30_000)


class Model(BaseModel):
    parts: dict[str, list[float]]


LARGE: dict[str, Any] = {
    "an array": np.zeros((300, 300)),
    "an array of objects": np.full(30_000, "a", object),
    "a DataFrame": pd.DataFrame(np.zeros((300, 300))),
    "a list": [1] * 30_000,
    "rows": [[1] * 100] * 300,
    "texts": ["a" * 1000] * 300,
    "a text": "a" * 300_000,
    "bytes": b"a" * 300_000,
    "a list behind a number": [1, [2] * 30_000],
    "a dict of lists": {"a": {"b": [1] * 30_000}},
    "a dict of long keys": {"a" * 300_000: 1},
    "a dataclass": Held(),
    "a pydantic model": Model(parts={"a": [1.0] * 30_000}),
    "a tensor": Tensor("x", "BYTES", [1], ["a" * 300_000]),
    "a tensor's parameter": Tensor("x", "BYTES", [1], ["a"], {"pandas": "a" * 300_000}),
}
SMALL: dict[str, Any] = {
    "none": None,
    "a row": np.zeros((1, 11)),
    "a text": "a" * 1000,
    "a DataFrame": pd.DataFrame({"a": [1]}),
    "nested without end": [],
    "a class": Held,
}
SMALL["nested without end"].append(SMALL["nested without end"])


@pytest.mark.parametrize("case", LARGE)
def test_a_large_value_is_known_whatever_holds_it(case: str) -> None:
    assert is_large(LARGE[case])
    assert is_large([{"a": LARGE[case]}])


@pytest.mark.parametrize("case", SMALL)
def test_a_small_value_is_not_large(case: str) -> None:
    assert not is_large(SMALL[case])


async def test_only_large_work_changes_threads() -> None:
    here = threading.current_thread()
    assert await convert(False, threading.current_thread) is here
    assert await convert(True, threading.current_thread) is not here
