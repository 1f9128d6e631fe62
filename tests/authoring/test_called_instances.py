"""An instance of a pipeline class can be called: that is its predict method."""

# mypy: disable-error-code="type-arg, no-any-return, attr-defined, import-untyped, operator"
# mypy: allow-untyped-decorators

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from tempo_runtime import PayloadError, PipelineModels, load, model, pipeline, predictmethod, save

ROWS = np.array([1.0, 2.0])


@model("shop")
class Shop:
    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    @predictmethod
    def total(self, rows: np.ndarray, discount: float = 0.0) -> float:
        return float(rows.sum()) * self.factor - discount


@model("written")
class Written:
    @predictmethod
    def total(self, rows: np.ndarray) -> float:
        return float(rows.sum())

    __call__ = total


@model("named-call")
class NamedCall:
    @predictmethod
    def __call__(self, rows: np.ndarray) -> float:
        return float(rows.sum())


@model("async-shop")
class AsyncShop:
    @predictmethod
    async def total(self, rows: np.ndarray) -> float:
        return float(rows.sum())


class Base:
    def __call__(self) -> str:
        return "the author's"


def test_a_call_of_an_instance_is_its_predict_method() -> None:
    shop = Shop(factor=2.0)
    assert shop(ROWS) == shop.total(ROWS) == 6.0
    assert shop([1, 2], discount=1) == shop(rows=ROWS, discount=1.0) == 5.0


def test_a_call_of_an_instance_checks_its_arguments() -> None:
    with pytest.raises(PayloadError, match="'rows' is missing"):
        Shop()()


def test_a_call_of_an_async_instance_gives_its_coroutine() -> None:
    called = AsyncShop()(ROWS)
    assert inspect.iscoroutine(called)
    assert asyncio.run(called) == 3.0


def test_an_instance_has_the_signature_of_its_predict_method() -> None:
    assert list(inspect.signature(Shop()).parameters) == ["rows", "discount"]


def test_a_class_keeps_a_call_that_it_defines_or_inherits() -> None:
    @model("own")
    class Own:
        @predictmethod
        def total(self, rows: np.ndarray) -> float:
            return 0.0

        def __call__(self) -> str:
            return "its own"

    @model("derived")
    class Derived(Base):
        @predictmethod
        def total(self, rows: np.ndarray) -> float:
            return 0.0

    assert Own()() == "its own"
    assert Derived()() == "the author's"


@pytest.mark.parametrize("kind", [Written, NamedCall])
def test_call_may_be_a_name_of_the_predict_method(kind: Any) -> None:
    assert kind()([1, 2]) == 3.0
    with pytest.raises(PayloadError, match="'rows' is missing"):
        kind()()


def test_a_call_of_a_derived_class_is_its_own_predict_method() -> None:
    class Cheap(Written):
        @predictmethod
        def total(self, rows: np.ndarray) -> float:
            return -1.0

    @model("cheaper")
    class Cheaper(Shop):
        @predictmethod
        def total(self, rows: np.ndarray, discount: float = 0.0) -> float:
            return -2.0

    assert Cheap()(ROWS) == -1.0
    assert Cheaper()(ROWS) == -2.0


@pytest.mark.parametrize("by_value", [False, True])
@pytest.mark.parametrize("kind", [Shop, Written, NamedCall])
def test_a_loaded_instance_can_be_called(kind: Any, by_value: bool, tmp_path: Path) -> None:
    if by_value:
        kind = model("local")(type("Local", (kind,), {}))
    assert load(save(kind, str(tmp_path)))(ROWS) == 3.0


def test_an_instance_with_slots_or_fields_can_be_called() -> None:
    @model("slots")
    class Slots:
        __slots__ = ("by",)

        @predictmethod
        def times(self, x: float) -> float:
            return 2 * x

    @model("fields")
    class Fields(BaseModel):
        by: float = 3.0

        @predictmethod
        def times(self, x: float) -> float:
            return self.by * x

    assert Slots()(2.0) == 4.0
    assert Fields(by=5.0)(2.0) == 10.0


def test_a_child_that_is_an_instance_can_be_called_by_its_parent_and_by_hand() -> None:
    shop = Shop(factor=10.0)

    @pipeline("mall", models=PipelineModels(shop=shop))
    class Mall:
        @predictmethod
        def total(self, rows: np.ndarray) -> float:
            return self.models.shop(rows)

    assert Mall()(ROWS) == shop(ROWS) == 30.0
