"""Attributes of an author's objects, and what this package knows of an object, kept beside it.

This package writes nothing on an instance. All its attributes are the author's, whether it has a
`__dict__`, `__slots__`, or is a pydantic model.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import suppress
from types import MemberDescriptorType
from typing import Any, Generic, TypeVar

T = TypeVar("T")
_NO_ATTRIBUTES = ("__dict__", "__weakref__")
# Where pydantic keeps attributes that are not fields.
_PYDANTIC = ("__pydantic_private__", "__pydantic_extra__")


def attributes(instance: Any) -> dict[str, Any]:
    """Return an object's attributes by name, a pydantic model's private and extra ones among them."""
    found = stored(instance)
    for name in _PYDANTIC:
        found |= found.pop(name, None) or {}
    return found


def stored(instance: Any) -> dict[str, Any]:
    """Return what an object holds in its `__dict__` and its slots, by name."""
    found: dict[str, Any] = dict(getattr(instance, "__dict__", None) or {})
    for base in type(instance).__mro__:
        for name, slot in vars(base).items():
            if isinstance(slot, MemberDescriptorType) and name not in _NO_ATTRIBUTES:
                with suppress(AttributeError):  # one that was never set
                    found[name] = slot.__get__(instance)
    return found


class Beside(Generic[T]):
    """Records about objects, by the object itself, until it is gone.

    Objects may have no hash and any `__eq__`, and a class with `__slots__` may allow no weak reference;
    such a class calls `forget` when an object of it ends.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[Callable[[], Any] | None, T]] = {}

    def get(self, instance: Any) -> T | None:
        """Return what is known of an object, if anything."""
        reference, known = self._known.get(id(instance), (None, None))
        return known if reference is None or reference() is instance else None

    def set(self, instance: Any, known: T) -> None:
        """Replace what is known of it."""
        key = id(instance)
        reference = weak(instance, lambda _: self._known.pop(key, None))
        self._known[key] = (reference, known)

    def forget(self, instance: Any) -> None:
        """Drop what is known of it."""
        self._known.pop(id(instance), None)


def weak(instance: Any, ended: Callable[[Any], Any] | None = None) -> Callable[[], Any] | None:
    """Return a weak reference, or None if the class allows none."""
    try:
        return weakref.ref(instance, ended)
    except TypeError:
        return None
