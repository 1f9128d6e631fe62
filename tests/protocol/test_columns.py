"""Names of columns: what `Columns` refuses, and where an annotation may have them."""

from __future__ import annotations

import pickle
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from pydantic import Field

from tempo_runtime import AuthoringError, Columns, PayloadError
from tempo_runtime.protocol import codec, json_schema
from tempo_runtime.protocol.signature import Kind, Signature, TensorSpec

PEOPLE = Columns(["Age", "Workclass"], {"Workclass": ["Private", "State-gov"]})
NAMED = [{"name": "Age"}, {"name": "Workclass", "categories": ["Private", "State-gov"]}]


def test_categories_are_given_by_the_name_of_their_column_or_by_its_number() -> None:
    assert Columns(["Age", "Workclass"], {1: ["Private", "State-gov"]}) == PEOPLE
    assert (
        Columns(np.array(["Age", "Workclass"]), {np.int64(1): ["Private", "State-gov"]}) == PEOPLE
    )
    assert Columns(["Age", "Workclass"]) != PEOPLE


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((["a", "b", "a"],), "the name 'a' occurs twice"),
        (("ab",), "'ab' is not a list of names"),
        (([],), r"\[\] is not a list of names"),
        ((["a", 1],), "1 is not a name"),
        ((["a", ""],), "'' is not a name"),
        ((["a"], {"b": ["x"]}), "there are categories for 'b', which is not a column"),
        ((["a"], {1: ["x"]}), "there are categories for 1, which is not a column"),
        ((["a"], {0.5: ["x"]}), "there are categories for 0.5, which is not a column"),
        ((["a"], {0: ["x", "x"]}), "the categories of 0: the name 'x' occurs twice"),
        ((["a"], {0: [1, 2]}), "the categories of 0: 1 is not a name"),
    ],
)
def test_names_that_people_could_not_tell_apart_are_refused(
    arguments: tuple[Any, ...], told: str
) -> None:
    with pytest.raises(AuthoringError, match=told):
        Columns(*arguments)


def test_they_can_be_pickled_and_are_shown_short() -> None:
    assert pickle.loads(pickle.dumps(PEOPLE)) == PEOPLE
    assert repr(Columns(list("abcde"))) == "<Columns: a, b, c and 2 more>"


@pytest.mark.parametrize(
    ("hint", "kind"),
    [
        (np.ndarray, Kind.ARRAY),
        (NDArray[np.float64], Kind.ARRAY),
        (np.ndarray[tuple[int, Literal[2]], np.dtype[np.int64]], Kind.ARRAY),
        (list[list[float]], Kind.JSON),
        (list[str], Kind.STRINGS),
        (pd.DataFrame, Kind.FRAME),
        (Any, Kind.ANY),
    ],
)
def test_arrays_lists_and_frames_have_columns_and_are_sent_as_without(
    hint: Any, kind: Kind
) -> None:
    plain = TensorSpec.of("rows", hint)
    for annotated in (Annotated[hint, PEOPLE], Annotated[hint, PEOPLE] | None):
        spec = TensorSpec.of("rows", annotated)
        assert (spec.kind, spec.columns) == (kind, PEOPLE)
        assert (spec.hint, spec.dtype, spec.shape) == (plain.hint, plain.dtype, plain.shape)


def test_other_parts_of_an_annotation_stay() -> None:
    def f(row: Annotated[list[int], Field(max_length=2), PEOPLE]) -> None: ...

    signature = Signature.of(f)
    schema = json_schema.of(signature, f)["arguments"]["properties"]["row"]
    assert (schema["maxItems"], schema["x-columns"]) == (2, NAMED)
    with pytest.raises(PayloadError, match="at most 2 items"):
        codec.encode(signature.inputs[0], [1, 2, 3])


@pytest.mark.parametrize(
    ("hint", "told"),
    [
        (int, "rows: a value of type int does not have columns"),
        (dict[str, int], "rows: a value of type dict.* does not have columns"),
        (np.ndarray[tuple[()], np.dtype[np.float64]], "does not have columns"),
        (
            np.ndarray[tuple[int, Literal[3]], np.dtype[np.float64]],
            "rows: its annotation has 3 columns, and 2 are named",
        ),
        (Annotated[np.ndarray, Columns(["a"])], "has Columns twice"),
        (
            Annotated[np.ndarray, Columns(["a"])] | None,
            "names the columns Age, Workclass, and not a",
        ),
    ],
)
def test_an_annotation_that_cannot_have_these_columns_is_refused_by_name(
    hint: Any, told: str
) -> None:
    with pytest.raises(AuthoringError, match=told):
        TensorSpec.of("rows", Annotated[hint, PEOPLE])


def test_the_schema_of_arguments_and_results_names_the_columns() -> None:
    def f(
        rows: Annotated[NDArray[np.float64], PEOPLE],
        more: Annotated[list[list[float]], PEOPLE] | None = None,
    ) -> Annotated[NDArray[np.float64], Columns(["no", "yes"])]:
        return rows

    schemas = json_schema.of(Signature.of(f), f)
    arguments = schemas["arguments"]["properties"]
    assert [argument["x-columns"] for argument in arguments.values()] == [NAMED, NAMED]
    assert schemas["result"]["x-columns"] == [{"name": "no"}, {"name": "yes"}]
