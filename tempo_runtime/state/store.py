"""The interface of the objects that keep the values of a state."""

from __future__ import annotations

from typing import Protocol

from tempo_runtime.state.values import Number


class Store(Protocol):
    """Keeps the values of one namespace, as the bytes of `values.encode`.

    Attributes:
        is_away: Whether it is known not to answer.
        problem: Why it does not answer, once that is known.
    """

    is_away: bool
    problem: str | None

    async def get(self, key: str) -> bytes | None:
        """Return a value; None if the key has no value."""

    async def set(self, key: str, content: bytes, expires: float | None) -> None:
        """Replace a value, which expires after a number of seconds."""

    async def delete(self, key: str) -> bool:
        """Remove a value, and return whether there was one."""

    async def incr(self, key: str, by: Number, once: str | None) -> bytes:
        """Add to a number and return the sum; the same for the same `once`, which counts only once."""

    async def compare_and_set(
        self, key: str, expected: bytes | None, content: bytes | None, expires: float | None
    ) -> bool:
        """Replace a value if it is equal to the expected one; None stands for no value."""

    async def close(self) -> None:
        """Release what it holds."""
