"""JSON Schemas of arguments and results say what plain JSON takes and gives."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple

import jsonschema_rs
import numpy as np
import pandas as pd
import pytest
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol import json_schema
from tempo_runtime.protocol.openapi import DescribedPipeline, document
from tempo_runtime.protocol.plain import read_arguments, write_result
from tempo_runtime.protocol.signature import Signature

Rows = np.ndarray[tuple[int, Literal[2]], np.dtype[np.float64]]


class Address(BaseModel):
    city: str
    number: int = Field(ge=1)


@dataclass
class Order:
    items: list[str]
    address: Address
    paid: bool = False


class Scores(NamedTuple):
    best: int
    all: np.ndarray[tuple[int], np.dtype[np.float64]]


def rows(rows: Rows, labels: list[str], scale: float = 1.5) -> Rows:
    """Scale rows.

    Args:
        rows: The rows,
            two numbers each.
        labels: Names of the rows.
        scale: The factor.

    Returns:
        labels: not an argument.
    """
    return rows


def order(order: Order, priority: Annotated[int, Field(ge=0, le=9)] = 3) -> Order:
    return order


def scalars(flag: bool, count: int, name: str | None, data: bytes) -> tuple[bool, int, str, bytes]:
    return flag, count, name or "", data


def named(count: int) -> Scores:
    return Scores(count, np.array([0.5, np.nan]))


def integers(
    small: np.ndarray[tuple[int, int], np.dtype[np.int8]],
    flags: np.ndarray[tuple[int], np.dtype[np.bool_]],
) -> dict[str, np.ndarray]:
    return {"small": small, "flags": flags}


def frame(table: pd.DataFrame) -> pd.DataFrame:
    return table


FUNCTIONS = [rows, order, scalars, named, integers, frame]


def schemas(function: Callable[..., Any]) -> dict[str, Any]:
    return json_schema.of(Signature.of(function), function)


def whole(schemas: dict[str, Any], part: str) -> dict[str, Any]:
    return {**schemas[part], "$defs": schemas["$defs"]}


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_schemas_are_json_schemas_that_json_can_hold(function: Callable[..., Any]) -> None:
    made = schemas(function)
    assert json.loads(json.dumps(made)) == made
    for part in ("arguments", "result"):
        jsonschema_rs.Draft202012Validator(whole(made, part))


@functools.cache
def calls(function: Callable[..., Any]) -> st.SearchStrategy[Any]:
    """Generate calls of a function from its OpenAPI document."""
    pipeline = DescribedPipeline("shop", schemas=schemas(function))
    api = schemathesis.openapi.from_dict(document([pipeline], "1"))
    strategy: st.SearchStrategy[Any] = api["/v2/models/shop/predict"]["POST"].as_strategy()
    return strategy


# JSON Schema cannot say that rows have one length or that a text is base64; 1.0 is an integer there.
_BEYOND = (".0 was given", "ragged", "base64", "too large", "surrogate", "UTF-8")


@pytest.mark.parametrize(
    "function", [rows, order, scalars, named, integers], ids=lambda function: function.__name__
)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_a_body_that_the_schema_allows_is_read(
    function: Callable[..., Any], data: st.DataObject
) -> None:
    signature, made = Signature.of(function), schemas(function)
    body = data.draw(calls(function)).body
    refusal = ""
    try:
        arguments = read_arguments(signature, json.dumps(body).encode())
    except PayloadError as error:
        refusal = str(error)
    if refusal:
        assert any(word in refusal for word in _BEYOND), body
        return
    result = json.loads(write_result(signature, function(**arguments)))
    jsonschema_rs.Draft202012Validator(whole(made, "result")).validate(result)


@pytest.mark.parametrize(
    ("function", "body"),
    [
        (rows, {"rows": [[1, 2, 3]], "labels": []}),
        (rows, {"rows": [[1, 2]], "labels": [1]}),
        (rows, {"rows": [[1, 2]]}),
        (rows, {"rows": [[1, 2]], "labels": [], "more": 1}),
        (order, {"order": {"items": [], "address": {"city": "Rome", "number": 0}}}),
        (order, {"order": {"items": [], "address": {"city": "Rome", "number": 1}}, "priority": 10}),
        (scalars, {"flag": True, "count": 1.5, "name": None, "data": ""}),
        (integers, {"small": [[128]], "flags": []}),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else value.__name__,
)
def test_a_body_that_the_schema_forbids_is_refused(
    function: Callable[..., Any], body: dict[str, Any]
) -> None:
    validator = jsonschema_rs.Draft202012Validator(whole(schemas(function), "arguments"))
    assert not validator.is_valid(body)
    with pytest.raises(PayloadError):
        read_arguments(Signature.of(function), json.dumps(body).encode())


def test_defaults_and_docstrings_are_those_of_the_arguments() -> None:
    properties = schemas(rows)["arguments"]["properties"]
    assert properties["rows"]["description"] == "The rows, two numbers each."
    assert properties["labels"]["description"] == "Names of the rows."
    assert properties["scale"] == {
        "anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}],
        "description": "The factor.",
        "default": 1.5,
    }


def test_only_arguments_without_a_default_are_required() -> None:
    assert schemas(rows)["arguments"]["required"] == ["rows", "labels"]
    assert schemas(scalars)["arguments"]["required"] == ["flag", "count", "data"]


def test_an_annotation_without_a_schema_allows_any_value() -> None:
    class Odd:
        @classmethod
        def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
            from pydantic_core import core_schema

            return core_schema.no_info_plain_validator_function(lambda value: value)

    def odd(value: list[Odd], when: datetime) -> None: ...

    odd.__annotations__ |= {"value": list[Odd], "when": datetime}
    assert schemas(odd)["arguments"]["properties"]["value"] == {}
