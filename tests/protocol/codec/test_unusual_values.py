"""Annotations and values at the edge: checked once, read without an annotation, refused by name."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Annotated, Any, NewType, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from pydantic import AfterValidator
from typing_extensions import TypeAliasType

from tempo_runtime import model
from tempo_runtime.artifact.declaration import metadata
from tempo_runtime.errors import AuthoringError, PayloadError
from tempo_runtime.protocol.binding import (
    decode_arguments,
    decode_results,
    encode_arguments,
    encode_results,
)
from tempo_runtime.protocol.codec import spec_described
from tempo_runtime.protocol.signature import Signature, TensorSpec
from tests.fidelity.identity import identity

T = TypeVar("T")
Rows = NewType("Rows", np.ndarray)
Count = NewType("Count", int)
Nested = TypeAliasType("Nested", "int | list[Nested]")  # type: ignore[misc]
DEFAULT = pd.DataFrame({"a": [1]})


def taking(hint: Any) -> Signature:
    return Signature((TensorSpec.of("x", hint),))


def giving(hint: Any) -> Signature:
    def give() -> Any: ...

    give.__annotations__ = {"return": hint}
    return Signature.of(give)


def arrived(hint: Any, value: Any, sender: Signature | None = None) -> Any:
    tensors = encode_arguments(sender, (), {"x": value}, tagged=True)
    return decode_arguments(taking(hint), tensors, {})["x"]


def given(hint: Any, value: Any, *, known: bool = False) -> Any:
    signature = giving(hint)
    tensors, content_type = encode_results(signature, value, tagged=True)
    return decode_results(signature if known else None, tensors, content_type)


@pytest.mark.parametrize(
    ("kind", "change", "value", "expected"),
    [
        (int, lambda v: v * 2, 1, 2),
        (float, lambda v: v + 1, 1.0, 2.0),
        (str, lambda v: v + "!", "a", "a!"),
        (list[str], lambda v: [*v, "x"], ["a"], ["a", "x"]),
        (
            dt.datetime,
            lambda v: v + dt.timedelta(1),
            dt.datetime(2020, 1, 1),
            dt.datetime(2020, 1, 2),
        ),
        (str, str.strip, " a ", "a"),
    ],
)
def test_a_validator_changes_a_value_once(
    kind: Any, change: Callable[[Any], Any], value: Any, expected: Any
) -> None:
    hint = Annotated[kind, AfterValidator(change)]
    assert arrived(hint, value, taking(hint)) == expected
    assert given(hint, value, known=True) == expected


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (int | str, 5),
        (Decimal | int, 5),
        (Count, 5),
        (T, (1, 2)),
        (T, np.arange(3)),
        (T, DEFAULT),
        (object, np.arange(3)),
        (object, DEFAULT),
        (Rows, np.arange(3)),
        (dt.datetime | dt.date, dt.datetime(2020, 1, 1)),
        (bytes | str, b"\xff"),
        (Nested, [1, [2]]),
    ],
)
def test_a_value_arrives_from_senders_with_and_without_its_annotation(
    hint: Any, value: Any
) -> None:
    assert identity(arrived(hint, value)) == identity(value)
    assert identity(arrived(hint, value, taking(hint))) == identity(value)


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (tuple[int, str], (1, "a")),
        (set[int], {1}),
        (dict[int, str], {1: "a"}),
        (Decimal, Decimal("0.10")),
        (dt.date, dt.date(2020, 1, 1)),
        (complex, 1 + 2j),
        (dict[str, npt.NDArray[np.int64]], {"a": np.arange(2)}),
        (dict[str, npt.NDArray[np.int64]], {}),
        (pd.DataFrame | None, None),
        (pd.DataFrame | None, DEFAULT),
    ],
)
def test_a_result_arrives_at_readers_with_and_without_its_annotation(hint: Any, value: Any) -> None:
    assert identity(given(hint, value)) == identity(value)
    assert identity(given(hint, value, known=True)) == identity(value)


def test_none_stays_none_if_the_default_is_a_dataframe() -> None:
    @model("has-table")
    def has_table(table: pd.DataFrame | None = DEFAULT) -> bool:
        return table is not None

    assert [has_table(), has_table(None)] == [True, False]


def test_none_is_sent_to_an_optional_argument_that_only_metadata_describes() -> None:
    described = metadata(taking(int | None))["inputs"]
    assert arrived(int | None, None, Signature(tuple(map(spec_described, described)))) is None


def test_a_datetime_that_is_not_a_point_in_time_is_refused_by_name() -> None:
    with pytest.raises(PayloadError, match="'x': NaT cannot be validated"):
        encode_arguments(taking(dt.date), (pd.NaT,), {}, tagged=True)
    with pytest.raises(PayloadError, match="'x' is NaT"):
        arrived(dt.datetime, pd.NaT)


def test_an_output_whose_name_cannot_be_written_is_refused_by_name() -> None:
    with pytest.raises(PayloadError, match=r"the tensor name '\\ud800' cannot be encoded"):
        given(Any, {"\ud800": np.arange(2)})


def test_an_iterable_is_refused_where_it_is_declared() -> None:
    with pytest.raises(AuthoringError, match=r"x: values of type .*read only once"):
        taking(Iterable[int])


def test_the_error_says_in_english_what_json_lacks() -> None:
    with pytest.raises(
        PayloadError, match=r"but is \(1, 2\): it needs types that plain JSON does not have"
    ):
        encode_arguments(taking(tuple[Any, ...] | str), ((1, (1, 2)),), {})
