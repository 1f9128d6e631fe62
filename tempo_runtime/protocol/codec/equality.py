"""Compare values in all their parts, by type and value."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from itertools import zip_longest
from math import copysign
from typing import Any

import numpy as np

MISSING = object()  # stands for a missing value
_COMPARABLE = frozenset((str, int, bool, bytes, type(None)))
Difference = tuple[str, Any, Any]  # a path, and the two values there


@dataclass(frozen=True)
class _How:
    """The differences that count; see `difference`."""

    exact: bool
    classes: bool

    def is_kind(self, left: type, right: type) -> bool:
        """Return whether two types count as the same."""
        if left is right or self.classes or left.__qualname__ != right.__qualname__:
            return left is right
        # Modules of an artifact are imported under names that end with their own.
        names = sorted((left.__module__, right.__module__), key=len)
        return f".{names[1]}".endswith(f".{names[0]}")


def difference(
    left: Any, right: Any, path: str = "value", *, exact: bool = True, classes: bool = True
) -> Difference | None:
    """Find the first difference between two values; None if they are the same.

    Here NaN equals NaN, 0.0 differs from -0.0, and 1 from 1.0 and True. The order of dicts counts.

    Args:
        left: One value.
        right: The other value.
        path: Path to the values.
        exact: Whether time zones count if their offsets are equal, and types if both have the same text
            or number in JSON.
        classes: Whether classes with the same name count as different: an artifact has its own copies of
            the author's classes.
    """
    try:
        return next(_differences(left, right, path, _How(exact, classes)), None)
    except Exception:  # in an author's comparison, or for a recursive value
        return path, left, right


def _differences(left: Any, right: Any, path: str, how: _How) -> Iterator[Difference]:
    if not how.exact and type(left) is not type(right):
        left, right = _as_json(left, right)
    kind = type(left)
    if not how.is_kind(kind, type(right)):
        yield path, left, right
    elif kind in (list, tuple) or isinstance(left, list | tuple | deque):
        yield from _in_order(left, right, path, how)
        yield from _attributes(left, right, path, how)
        if isinstance(left, deque) and left.maxlen != right.maxlen:
            yield path, left, right
    elif isinstance(left, dict):
        yield from _dicts(left, right, path, how)
        if isinstance(left, defaultdict) and left.default_factory is not right.default_factory:
            yield path, left, right
        yield from _attributes(left, right, path, how)
    elif isinstance(left, set | frozenset):
        yield from _sets(left, right, path, how)
    elif not _is_leaf(left, right, path, how):
        yield from _parts(left, right, path, how)
    elif not _equal(left, right, how):
        yield path, left, right


def _as_json(left: Any, right: Any) -> tuple[Any, Any]:
    """Convert two values of different types to a form in which JSON has the same type for both."""
    if isinstance(left, np.ndarray | np.generic):
        return left.tolist(), right
    if type(left) in (str, int, float, bool):
        from pydantic_core import to_jsonable_python

        return left, to_jsonable_python(right)
    return left, right


def _is_leaf(left: Any, right: Any, path: str, how: _How) -> bool:
    kind = type(left)
    if isinstance(left, np.ndarray):
        return left.dtype.kind != "O" or left.dtype.names is not None
    return not (hasattr(kind, "model_fields") or hasattr(kind, "__dataclass_fields__"))


def _parts(left: Any, right: Any, path: str, how: _How) -> Iterator[Difference]:
    """Yield the differences between the parts of arrays, pydantic models and dataclasses."""
    if isinstance(left, np.ndarray):
        if left.dtype != right.dtype or left.shape != right.shape:
            yield path, left, right
        else:
            yield from _in_order(left.ravel().tolist(), right.ravel().tolist(), path, how)
        return
    yield from _attributes(left, right, path, how)
    for name in getattr(type(left), "__dataclass_fields__", ()):
        if name not in getattr(left, "__dict__", ()):
            ours, theirs = getattr(left, name, MISSING), getattr(right, name, MISSING)
            yield from _differences(ours, theirs, f"{path}.{name}", how)
    for name in ("__pydantic_extra__", "__pydantic_private__"):
        ours, theirs = getattr(left, name, None), getattr(right, name, None)
        yield from _fields(ours or {}, theirs or {}, path, how)


def _attributes(left: Any, right: Any, path: str, how: _How) -> Iterator[Difference]:
    yield from _fields(
        getattr(left, "__dict__", None) or {}, getattr(right, "__dict__", None) or {}, path, how
    )


def _alike(left: list[Any] | tuple[Any, ...], right: list[Any] | tuple[Any, ...]) -> bool:
    """Return whether two lists of numbers and texts are the same, for which `==` and types suffice."""
    kinds = list(map(type, left))
    return _COMPARABLE.issuperset(kinds) and kinds == list(map(type, right)) and [*left] == [*right]


def _fields(
    left: dict[str, Any], right: dict[str, Any], path: str, how: _How
) -> Iterator[Difference]:
    for name in {**left, **right}:
        ours, theirs = left.get(name, MISSING), right.get(name, MISSING)
        yield from _differences(ours, theirs, f"{path}.{name}", how)


def _in_order(
    left: Iterable[Any], right: Iterable[Any], path: str, how: _How
) -> Iterator[Difference]:
    if isinstance(left, list | tuple) and isinstance(right, list | tuple) and _alike(left, right):
        return
    for i, (ours, theirs) in enumerate(zip_longest(left, right, fillvalue=MISSING)):
        if ours is MISSING or theirs is MISSING:
            yield path, left, right
            return
        yield from _differences(ours, theirs, f"{path}[{i}]", how)


def _dicts(
    left: dict[Any, Any], right: dict[Any, Any], path: str, how: _How
) -> Iterator[Difference]:
    if len(left) != len(right):
        yield path, left, right
        return
    if _alike(list(left), list(right)) and _alike(list(left.values()), list(right.values())):
        return
    for (key, ours), (other, theirs) in zip(left.items(), right.items()):
        yield from _differences(key, other, f"a key of {path}", how)
        yield from _differences(ours, theirs, f"{path}[{key!r:.40}]", how)


def _sets(left: Any, right: Any, path: str, how: _How) -> Iterator[Difference]:
    others = {element: element for element in right}
    odd = 0
    for element in left:
        if element != element:
            odd += 1
            continue
        other = others.get(element, MISSING)
        if other is MISSING:
            yield path, left, right
            return
        yield from _differences(element, other, f"an element of {path}", how)
    if len(left) != len(right) or odd != sum(element != element for element in right):
        yield path, left, right


def _equal(left: Any, right: Any, how: _How) -> bool:
    if left is right:
        return True
    if isinstance(left, np.ndarray | np.generic):
        return bool(
            left.dtype == right.dtype
            and left.shape == right.shape
            and left.tobytes() == right.tobytes()
        )
    if isinstance(left, Enum):  # equal members of the same class are the same object
        return type(left) is not type(right) and left.name == right.name
    if isinstance(left, float):
        return (left == right and copysign(1, left) == copysign(1, right)) or (
            left != left and right != right
        )
    if isinstance(left, complex):
        return _equal(left.real, right.real, how) and _equal(left.imag, right.imag, how)
    if isinstance(left, Decimal):
        return str(left) == str(right)  # 1.0 differs from 1.00
    if isinstance(left, dt.datetime | dt.time):
        return (
            left.replace(tzinfo=None) == right.replace(tzinfo=None)
            and left.utcoffset() == right.utcoffset()
            and (
                not how.exact
                or (left.fold == right.fold and _equal_zones(left.tzinfo, right.tzinfo))
            )
        ) or (left != left and right != right)
    return bool(left == right)


def _equal_zones(left: Any, right: Any) -> bool:
    if type(left) is not type(right):
        return False
    names = [getattr(zone, "key", None) or str(zone) for zone in (left, right)]
    return names[0] == names[1]
