"""The annotations of the table, and the types that they name. Travels in the pipelines' artifacts."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import pathlib
import uuid
from collections import OrderedDict, deque
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pydantic
import pydantic.dataclasses
from typing_extensions import TypedDict


class Colour(enum.Enum):
    RED = "red"
    GREEN = 2
    BLUE = (0, 0, 255)


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Unit(str, enum.Enum):
    METRE = "m"
    SECOND = "s"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: float
    label: str = ""


class Movie(TypedDict, total=False):
    title: str
    year: int


@dataclasses.dataclass
class Size:
    width: int
    tags: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Frozen:
    width: int
    inner: Size | None = None


@pydantic.dataclasses.dataclass
class Checked:
    width: int = 1
    when: dt.date | None = None


class Item(pydantic.BaseModel):
    name: str
    price: Decimal = Decimal("0.10")


class Order(pydantic.BaseModel):
    items: list[Item]
    at: dt.datetime | None = None
    extra: dict[str, Any] = {}
    point: Point | None = None


class Special(Item):
    reason: str = "sale"


class Renamed(pydantic.BaseModel):
    given: int = pydantic.Field(alias="givenName")


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    name: str = ""


class Computed(pydantic.BaseModel):
    width: int

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def area(self) -> int:
        return self.width**2


class Secret(pydantic.BaseModel):
    token: pydantic.SecretStr


class Hidden(pydantic.BaseModel):
    shown: int = 0
    hidden: int = pydantic.Field(default=0, exclude=True)


class Private(pydantic.BaseModel):
    shown: int = 0
    _note: str = pydantic.PrivateAttr("")


class Doubling(pydantic.BaseModel):
    """Its validator gives another value each time it runs."""

    width: int

    @pydantic.field_validator("width")
    @classmethod
    def double(cls, width: int) -> int:
        return width * 2


class Rows(pydantic.BaseModel):
    rows: Any = None


class Text(str):
    """A text of a class of its own."""


class Table(pd.DataFrame):
    """A DataFrame of a class of its own."""

    @property
    def _constructor(self) -> type[Table]:
        return Table


HINTS: dict[str, Any] = {
    "Any": Any,
    "bool": bool,
    "int": int,
    "float": float,
    "complex": complex,
    "str": str,
    "bytes": bytes,
    "datetime": dt.datetime,
    "date": dt.date,
    "time": dt.time,
    "timedelta": dt.timedelta,
    "Decimal": Decimal,
    "Fraction": Fraction,
    "UUID": uuid.UUID,
    "Path": pathlib.Path,
    "list": list,
    "list[str]": list[str],
    "list[int]": list[int],
    "list[float]": list[float],
    "list[bytes]": list[bytes],
    "list[datetime]": list[dt.datetime],
    "list[list[int]]": list[list[int]],
    "tuple": tuple,
    "tuple[int, str]": tuple[int, str],
    "tuple[int, ...]": tuple[int, ...],
    "set": set,
    "set[int]": set[int],
    "frozenset[str]": frozenset[str],
    "deque[int]": deque[int],
    "dict": dict,
    "dict[str, float]": dict[str, float],
    "dict[int, str]": dict[int, str],
    "dict[str, Any]": dict[str, Any],
    "dict[bool, int]": dict[bool, int],
    "dict[tuple[int, int], str]": dict[tuple[int, int], str],
    "dict[date, int]": dict[dt.date, int],
    "dict[str, tuple[int, int]]": dict[str, tuple[int, int]],
    "dict[str, set[int]]": dict[str, set[int]],
    "dict[str, bytes]": dict[str, bytes],
    "OrderedDict[str, int]": OrderedDict[str, int],
    "int | None": int | None,
    "str | None": str | None,
    "ndarray | None": np.ndarray | None,
    "int | str": int | str,
    "int | float": int | float,
    "bool | int | str": bool | int | str,
    "date | str": dt.date | str,
    "datetime | date": dt.datetime | dt.date,
    "Decimal | float": Decimal | float,
    "list[int] | dict[str, int]": list[int] | dict[str, int],
    "list[int] | str": list[int] | str,
    "Literal": Literal["a", 1, True, None],
    "Annotated": Annotated[int, pydantic.Field(ge=0, le=10)],
    "Colour": Colour,
    "Level": Level,
    "Unit": Unit,
    "Access": Access,
    "list[Colour]": list[Colour],
    "dict[Colour, int]": dict[Colour, int],
    "Point": Point,
    "Movie": Movie,
    "list[Point]": list[Point],
    "Size": Size,
    "Frozen": Frozen,
    "Checked": Checked,
    "Item": Item,
    "Order": Order,
    "list[Item]": list[Item],
    "dict[str, Item]": dict[str, Item],
    "Item | Size": Item | Size,
    "Item | None": Item | None,
    "Renamed": Renamed,
    "Open": Open,
    "Computed": Computed,
    "Secret": Secret,
    "Hidden": Hidden,
    "Private": Private,
    "Doubling": Doubling,
    "Rows": Rows,
    "ndarray": np.ndarray,
    "NDArray[float32]": npt.NDArray[np.float32],
    "NDArray[int64]": npt.NDArray[np.int64],
    "NDArray[bool_]": npt.NDArray[np.bool_],
    "NDArray[str_]": npt.NDArray[np.str_],
    "NDArray[bytes_]": npt.NDArray[np.bytes_],
    "NDArray[object_]": npt.NDArray[np.object_],
    "ndarray of (any, 2) float64": np.ndarray[tuple[int, Literal[2]], np.dtype[np.float64]],
    "DataFrame": pd.DataFrame,
}
