"""Requests made from signatures."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest

from tempo_runtime.binding import decode_arguments
from tempo_runtime.describing import metadata
from tempo_runtime.serving import example
from tempo_runtime.signature import Signature
from tempo_runtime.wire import request_from_json


def all_of_them(
    row: np.ndarray[tuple[int, Literal[3]], np.dtype[np.float32]],
    flags: np.ndarray[tuple[Literal[2]], np.dtype[np.bool_]],
    count: int,
    share: float,
    yes: bool,
    word: str,
    words: list[str],
    blob: bytes,
    blobs: list[bytes],
    day: datetime,
    days: list[datetime],
    options: dict,
    left_out: int = 1,
) -> None: ...


def test_it_is_what_the_signature_takes() -> None:
    signature = Signature.of(all_of_them)
    inputs = metadata(signature)["inputs"]
    request = request_from_json(json.dumps(example.request(inputs)).encode())
    found = decode_arguments(signature, request.tensors, {})
    assert found.pop("row").tolist() == [[1.0, 1.0, 1.0]]
    assert found.pop("flags").tolist() == [True, True]
    assert found == {
        "count": 1,
        "share": 1.0,
        "yes": True,
        "word": "text",
        "words": ["text"],
        "blob": b"text",
        "blobs": [b"text"],
        "day": datetime(2026, 1, 31, 12),
        "days": [datetime(2026, 1, 31, 12)],
        "options": {},
    }
    assert example.guessed(inputs) == ["options"]


def array(rows: np.ndarray) -> None: ...
def frame(rows: pd.DataFrame) -> None: ...
def anything(rows: Any) -> None: ...


@pytest.mark.parametrize("function", [array, frame, anything])
def test_what_a_signature_does_not_say_is_named(function: Callable[..., None]) -> None:
    assert example.guessed(metadata(Signature.of(function))["inputs"]) == ["rows"]


def test_the_lines_for_a_shell_are_quoted_and_have_values() -> None:
    inputs = metadata(Signature.of(all_of_them))["inputs"]
    words = shlex.split(example.curl("http://here:1", "m", inputs))
    assert words[:3] == ["curl", "-s", "http://here:1/v2/models/m/infer"]
    assert json.loads(words[-1]) == example.request(inputs)
    words = shlex.split(example.predict("http://here:1/v2/models/m", inputs))
    assert words[:3] == ["tempo-runtime", "predict", "http://here:1/v2/models/m"]
    assert words[4::2][:7] == [
        "row=[[1.0, 1.0, 1.0]]",
        "flags=[true, true]",
        "count=1",
        "share=1.0",
        "yes=true",
        'word="text"',
        'words=["text"]',
    ]
    assert words[-1] == "options={}"
