"""Pipelines of every kind of class. It travels in their artifacts, so it imports little."""

from __future__ import annotations

import abc
import dataclasses
import functools
from typing import Any, Generic, TypeVar

import attr
import attrs
import pydantic
import pydantic.dataclasses

from tempo_runtime import loadmethod, model, predictmethod

T = TypeVar("T")


@model("plain")
class Plain:
    made = 0

    def __init__(self, factor: float = 1.0) -> None:
        type(self).made += 1
        self.factor = factor

    @predictmethod
    def predict(self, x: float) -> float:
        return x * self.factor


class Derived(Plain):
    """Not decorated itself."""

    @property
    def twice(self) -> float:
        return self.factor * 2


@model("slots")
class Slots:
    __slots__ = ("__private", "factor")

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor
        self.__private = 1

    @predictmethod
    def predict(self, x: float) -> float:
        return x * self.factor * self.__private


@model("slots-and-dict")
class SlotsAndDict(Slots):
    __slots__ = ("__dict__",)

    @predictmethod
    def predict(self, x: float) -> float:
        return super().predict(x)


@model("data")
@dataclasses.dataclass
class Data:
    factor: float = 1.0
    seen: list[int] = dataclasses.field(default_factory=list)

    @predictmethod
    def predict(self, x: float) -> float:
        return x * self.factor


@model("data-slots")
@dataclasses.dataclass(slots=True)
class DataSlots:
    factor: float = 1.0

    @predictmethod
    def predict(self, x: float) -> float:
        return x * self.factor


@model("data-frozen")
@dataclasses.dataclass(slots=True, frozen=True)
class DataFrozen:
    factor: float = 1.0

    @predictmethod
    def predict(self, x: float) -> float:
        return x * self.factor


@model("pydantic")
class Pydantic(pydantic.BaseModel):
    factor: float
    _plus: float = pydantic.PrivateAttr(default=0.0)

    @functools.cached_property
    def twice(self) -> float:
        return self.factor * 2

    @predictmethod
    def predict(self, x: float) -> float:
        return x * self.twice / 2 + self._plus


@model("pydantic-extra")
class PydanticExtra(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow", frozen=True)
    factor: float = 1.0

    @predictmethod
    def predict(self, x: float) -> float:
        return x * self.factor


@model("pydantic-data")
@pydantic.dataclasses.dataclass
class PydanticData:
    factor: float = 1.0

    @predictmethod
    def predict(self, x: float) -> float:
        return x * self.factor


@model("attrs-dict")
@attr.s(auto_attribs=True)
class AttrsDict:
    factor: float = 1.0

    @predictmethod
    def predict(self, x: float) -> float:
        return x * self.factor


@model("attrs-slots")
@attrs.define
class AttrsSlots:
    factor: float = 1.0

    @predictmethod
    def predict(self, x: float) -> float:
        return x * self.factor


@model("attrs-frozen")
@attrs.frozen(weakref_slot=False)
class AttrsFrozen:
    factor: float = 1.0

    @predictmethod
    def predict(self, x: float) -> float:
        return x * self.factor


class Meta(type):
    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        made = super().__call__(*args, **kwargs)
        made.called = True
        return made


@model("metaclass")
class WithMetaclass(metaclass=Meta):
    called: bool

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    @predictmethod
    def predict(self, x: float) -> float:
        return x * self.factor if self.called else 0.0


@model("new")
class New:
    factor: float

    def __new__(cls, factor: float) -> Any:
        made = super().__new__(cls)
        made.factor = factor
        return made

    def __getnewargs__(self) -> tuple[float]:
        return (self.factor,)

    @predictmethod
    def predict(self, x: float) -> float:
        return x * self.factor


@model("get-state")
class GetState:
    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor
        self.left_out = (number for number in [1])

    def __getstate__(self) -> dict[str, float]:
        return {"given": self.factor}

    def __setstate__(self, state: dict[str, float]) -> None:
        self.factor = state["given"]

    @predictmethod
    def predict(self, x: float) -> float:
        return x * self.factor


@model("reduce")
class Reduce:
    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def __reduce__(self) -> Any:
        return Reduce, (self.factor,)

    @predictmethod
    def predict(self, x: float) -> float:
        return x * self.factor


class Base(abc.ABC):
    @abc.abstractmethod
    def scale(self, x: float) -> float: ...

    @predictmethod
    def predict(self, x: float) -> float:
        return self.scale(x)


Abstract = model("abstract")(Base)


@model("concrete")
class Concrete(Base):
    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def scale(self, x: float) -> float:
        return x * self.factor


@model("generic")
class GenericOne(Generic[T]):
    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    @predictmethod
    def predict(self, x: float) -> float:
        return x * self.factor


class Positive:
    def __set_name__(self, owner: type, name: str) -> None:
        self.name = f"_{name}"

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else getattr(instance, self.name)

    def __set__(self, instance: Any, value: float) -> None:
        setattr(instance, self.name, abs(value))


@model("descriptor")
class Descriptor:
    factor = Positive()

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    @predictmethod
    def predict(self, x: float) -> float:
        return float(x * self.factor)


@model("dict")
class OfDict(dict):  # type: ignore[type-arg]
    def __init__(self, factor: float = 1.0) -> None:
        self["factor"] = factor

    @property
    def factor(self) -> float:
        return float(self["factor"])

    @predictmethod
    def predict(self, x: float) -> float:
        return x * self.factor


@model("fitted")
class Fitted:
    """Gets its state after the constructor, as scikit-learn's estimators do."""

    def __init__(self) -> None:
        self.weights = [0.0]

    def fit(self, weight: float) -> None:
        self.weights = [weight]

    @predictmethod
    def predict(self, x: float) -> float:
        return x * self.weights[0]


@model("loading")
class Loading:
    """A pipeline whose load method creates an object that cannot be pickled."""

    def __init__(self, size: int = 1) -> None:
        self.size = size
        self.loads = 0
        self.limit = 10

    @loadmethod
    def load(self) -> None:
        self.loads += 1
        self.limit = 20
        self.numbers = (number for number in range(self.size))

    @predictmethod
    def predict(self, x: float) -> list[float]:
        return [x * self.size, self.loads, self.limit, hasattr(self.numbers, "send")]


@model("counting")
class Counting:
    def __init__(self, factor: int = 1) -> None:
        self.factor = factor
        self.counter = 0

    @predictmethod
    def predict(self, x: int) -> int:
        self.counter += 1
        return x * self.factor
