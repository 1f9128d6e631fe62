"""The state of a pipeline, as its code uses it: `self.state`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar, overload

from tempo_runtime.errors import StateError
from tempo_runtime.request import context
from tempo_runtime.request.metrics import StateMetrics
from tempo_runtime.request.portal import Portal
from tempo_runtime.state.store import Store
from tempo_runtime.state.values import (
    LONGEST_KEY,
    check_amount,
    check_expiry,
    check_key,
    decode,
    encode,
)

T = TypeVar("T")
N = TypeVar("N", int, float)


class AsyncState:
    """The state of a pipeline, for an `async def` predict method: `await self.state.aio.get("key")`.

    The methods are those of `State`.
    """

    def __init__(self, store: Store, metrics: StateMetrics, portal: Portal | None) -> None:
        self._store = store
        self._metrics = metrics
        self._portal = portal

    async def get(self, key: str, default: Any = None) -> Any:
        """See `State.get`."""
        return _value(key, await self._found(key), default)

    async def set(self, key: str, value: Any, *, expires: float | None = None) -> None:
        """See `State.set`."""
        content = encode(check_key(key), _present(key, value))
        await self._run("set", self._store.set(key, content, check_expiry(expires)))

    async def delete(self, key: str) -> bool:
        """See `State.delete`."""
        return await self._run("delete", self._store.delete(check_key(key)))

    @overload
    async def incr(self, key: str, by: int = 1, *, once: str | None = None) -> int: ...
    @overload
    async def incr(self, key: str, by: float, *, once: str | None = None) -> float: ...
    async def incr(self, key: str, by: float = 1, *, once: str | None = None) -> float:
        """See `State.incr`."""
        amount = check_amount(check_key(key), by)
        total = await self._run("incr", self._store.incr(key, amount, _check_once(once)))
        number: float = decode(key, total)
        return number

    async def compare_and_set(
        self, key: str, expected: Any, value: Any, *, expires: float | None = None
    ) -> bool:
        """See `State.compare_and_set`."""
        check_key(key)
        before, after = (None if part is None else encode(key, part) for part in (expected, value))
        swap = self._store.compare_and_set(key, before, after, check_expiry(expires))
        return await self._run("compare_and_set", swap)

    async def update(
        self,
        key: str,
        change: Callable[[Any], T],
        default: Any = None,
        *,
        expires: float | None = None,
    ) -> T:
        """See `State.update`."""
        ends = check_expiry(expires)
        while True:
            found = await self._found(key)
            value = change(_value(key, found, default))
            if await self._swapped(key, found, value, ends):
                return value
            context.current().remaining()

    def __reduce__(self) -> Any:
        raise _not_saved()

    async def _found(self, key: str) -> bytes | None:
        return await self._run("get", self._store.get(check_key(key)))

    async def _swapped(self, key: str, found: bytes | None, value: Any, ends: float | None) -> bool:
        content = None if value is None else encode(key, value)
        swap = self._store.compare_and_set(key, found, content, ends)
        return await self._run("compare_and_set", swap)

    async def _run(self, operation: str, coroutine: Coroutine[Any, Any, T]) -> T:
        with self._metrics.call(operation):
            if self._portal is None:  # it never waits
                return await coroutine
            return await self._portal.arun(coroutine)


class State:
    """The state of a pipeline: values that its requests read and change, by key.

    A pipeline with `state=StateOptions(...)` has it as `self.state`. A class declares `state: State` for
    type checkers. A value is anything that JSON can express, a numpy array, or one of the standard types
    that a pipeline can send without a declared type; it is read back with the same types, or refused.
    `None` stands for no value.

    Each method is one step for all requests, workers and replicas that share the state. In an `async def`
    predict method, use `aio`, whose methods are awaited.

    Attributes:
        aio: The same methods, for an `async def` predict method.

    Raises:
        StateError: If a key or a value is not one that a state can have.
        StateUnavailable: If the Redis that keeps the state cannot be reached, or does not answer in time.
        DeadlineExceeded: If the request has no time left.
    """

    def __init__(
        self, store: Store, metrics: StateMetrics, portal: Portal | None, *, is_async: bool = False
    ) -> None:
        self.aio = AsyncState(store, metrics, portal)
        self._store = store
        self._portal = portal
        self._is_async = is_async

    @property
    def is_away(self) -> bool:
        """Whether the pipeline is not ready, because the Redis of its state does not answer."""
        return self._store.is_away

    @property
    def problem(self) -> str | None:
        """Why that Redis does not answer, once that is known."""
        return self._store.problem

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value.

        Args:
            key: Text of 1 to 512 bytes.
            default: Returned if there is no value.
        """
        return self._wait("get", self.aio.get(key, default))

    def set(self, key: str, value: Any, *, expires: float | None = None) -> None:
        """Replace a value.

        Args:
            key: The key.
            value: The new value.
            expires: Seconds after which it is removed; None for never.
        """
        self._wait("set", self.aio.set(key, value, expires=expires))

    def delete(self, key: str) -> bool:
        """Remove a value, and return whether there was one."""
        return self._wait("delete", self.aio.delete(key))

    @overload
    def incr(self, key: str, by: int = 1, *, once: str | None = None) -> int: ...
    @overload
    def incr(self, key: str, by: float, *, once: str | None = None) -> float: ...
    def incr(self, key: str, by: float = 1, *, once: str | None = None) -> float:
        """Add to a number, and return the sum.

        Args:
            key: The key; no value counts as 0.
            by: The amount. An integer added to an integer gives an integer.
            once: An id. The same id counts only once for this key, for as long as `StateOptions.remember`
                says; further calls return the first sum. So a client may send the same feedback again.

        Raises:
            StateError: If the value is not a number, or the sum has more than 64 bits.
        """
        return self._wait("incr", self.aio.incr(key, by, once=once))

    def compare_and_set(
        self, key: str, expected: Any, value: Any, *, expires: float | None = None
    ) -> bool:
        """Replace a value only if it is equal to another one, in value and types.

        Args:
            key: The key.
            expected: The value that it must have; None if there must be none.
            value: The new value; None to remove it.
            expires: Seconds after which the new value is removed; None for never.

        Returns:
            Whether it was replaced.
        """
        swap = self.aio.compare_and_set(key, expected, value, expires=expires)
        return self._wait("compare_and_set", swap)

    def update(
        self,
        key: str,
        change: Callable[[Any], T],
        default: Any = None,
        *,
        expires: float | None = None,
    ) -> T:
        """Replace a value by what a function makes of it, and return the new one.

        Args:
            key: The key.
            change: Takes the value and returns the new one; None to remove it. It is called again if
                another request has replaced the value meanwhile.
            default: Passed to the function if there is no value.
            expires: Seconds after which the new value is removed; None for never.
        """
        ends = check_expiry(expires)
        # Only the calls of Redis run on its loop: the function is called in this thread.
        while True:
            found = self._wait("update", self.aio._found(key))
            value = change(_value(key, found, default))
            if self._wait("update", self.aio._swapped(key, found, value, ends)):
                return value
            context.current().remaining()

    async def close(self) -> None:
        """Release the connections."""
        await self._store.close()

    def __reduce__(self) -> Any:
        raise _not_saved()

    def _wait(self, method: str, coroutine: Coroutine[Any, Any, T]) -> T:
        if self._is_blocking_loop():
            coroutine.close()
            raise StateError(
                f"state.{method} was called in an async predict method; write "
                f"`await self.state.aio.{method}(...)`"
            )
        if self._portal is not None:
            return self._portal.run(coroutine)
        try:
            coroutine.send(None)
        except StopIteration as end:
            value: T = end.value
            return value
        raise AssertionError("a state in memory never waits")

    def _is_blocking_loop(self) -> bool:
        if self._portal is not None and self._portal.is_here:
            return True
        if not self._is_async:
            return False
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return False
        return True


def _not_saved() -> TypeError:
    return TypeError("a state belongs to its process; look it up as `self.state` where it is used")


def _value(key: str, found: bytes | None, default: Any) -> Any:
    return default if found is None else decode(key, found)


def _present(key: str, value: Any) -> Any:
    if value is None:
        raise StateError(f"set({key!r}): None stands for no value; use delete({key!r})")
    return value


def _check_once(once: Any) -> str | None:
    with suppress(UnicodeEncodeError):  # half of a surrogate pair
        if once is None or (type(once) is str and 1 <= len(once.encode()) <= LONGEST_KEY):
            return once
    raise StateError(f"once must be text of 1 to {LONGEST_KEY} bytes, not {once!r:.80}")


State.__module__ = "tempo_runtime"  # so that a class pickled by value names its public place
