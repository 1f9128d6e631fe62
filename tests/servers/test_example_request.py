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

from tempo_runtime.artifact.declaration import metadata
from tempo_runtime.protocol import example_values
from tempo_runtime.protocol.binding import decode_arguments
from tempo_runtime.protocol.messages import request_from_json
from tempo_runtime.protocol.signature import Signature
from tempo_runtime.servers import example_request


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
    labels: list[int],
    left_out: int = 1,
) -> None: ...


def made(function: Callable[..., None], **options: Any) -> example_request.Example:
    signature = Signature.of(function)
    found = example_request.of_inputs(
        metadata(signature)["inputs"], example_values.values(signature), **options
    )
    assert found is not None
    return found


def test_an_example_has_the_inputs_of_the_signature() -> None:
    signature = Signature.of(all_of_them)
    request = request_from_json(json.dumps(made(all_of_them).request).encode())
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
        "labels": [1],
    }
    assert made(all_of_them).guessed == ()


def array(rows: np.ndarray) -> None: ...
def frame(rows: pd.DataFrame) -> None: ...
def anything(rows: Any) -> None: ...


@pytest.mark.parametrize("function", [array, anything])
def test_inputs_that_the_signature_does_not_describe_are_named(
    function: Callable[..., None],
) -> None:
    assert made(function).guessed == ("rows",)


def test_json_is_a_guess_where_the_artifact_has_no_example_of_it() -> None:
    found = example_request.of_inputs(metadata(Signature.of(all_of_them))["inputs"])
    assert found is not None
    assert found.guessed == ("options", "labels")


def test_columns_of_a_data_frame_are_not_invented() -> None:
    assert example_request.of_inputs(metadata(Signature.of(frame))["inputs"]) is None


def test_an_array_of_any_shape_has_the_columns_that_its_model_takes() -> None:
    [tensor] = made(array, features=3).request["inputs"]
    assert (tensor["shape"], tensor["data"]) == ([1, 3], [1.0, 1.0, 1.0])


def test_the_lines_for_a_shell_are_quoted_and_have_values() -> None:
    found = made(all_of_them)
    words = shlex.split(found.curl("http://here:1", "m"))
    assert words[:3] == ["curl", "-s", "http://here:1/v2/models/m/infer"]
    assert json.loads(words[-1]) == found.request
    words = shlex.split(found.predict("http://here:1/v2/models/m") or "")
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
    assert words[-3:] == ["options={}", "--arg", "labels=[1]"]


def test_a_streaming_model_gets_a_line_for_a_stream() -> None:
    words = shlex.split(made(array, streams=True).curl("http://here:1", "m"))
    assert words[:3] == ["curl", "-sN", "http://here:1/v2/models/m/infer_stream"]
