"""A state in the memory of this process."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from weakref import WeakValueDictionary

from tempo_runtime.state.values import Number, added, same

_SPARE = 64  # times of expiry that may be out of date, besides one for each entry


@dataclass(frozen=True)
class _Entry:
    content: bytes
    ends: float | None = None  # on the store's clock


class MemoryStore:
    """Keeps values in this process; see `Store`. No method waits for anything.

    Args:
        remember: Seconds for which the ids of `incr` are remembered.
        clock: Returns the time, in seconds.
    """

    is_away = False
    problem: str | None = None

    def __init__(
        self, remember: float = 3600.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._remember = remember
        self._clock = clock
        self._entries: dict[str | tuple[str, str], _Entry] = {}  # of keys, and of ids of `incr`
        self._ends: list[tuple[float, str, str]] = []  # of entries that expire, the next one first
        self._lock = Lock()

    async def get(self, key: str) -> bytes | None:
        """See `Store.get`."""
        with self._lock:
            return self._find(key)

    async def set(self, key: str, content: bytes, expires: float | None) -> None:
        """See `Store.set`."""
        with self._lock:
            self._put(key, content, expires)

    async def delete(self, key: str) -> bool:
        """See `Store.delete`."""
        with self._lock:
            known = self._find(key)
            self._entries.pop(key, None)
            return known is not None

    async def incr(self, key: str, by: Number, once: str | None) -> bytes:
        """See `Store.incr`."""
        with self._lock:
            if once is not None and (known := self._find((key, once))) is not None:
                return known
            before = self._find(key)
            total = added(key, before, by)
            # A value that was set to expire still does.
            self._entries[key] = _Entry(total, None if before is None else self._entries[key].ends)
            if once is not None:
                self._put((key, once), total, self._remember)
            return total

    async def compare_and_set(
        self, key: str, expected: bytes | None, content: bytes | None, expires: float | None
    ) -> bool:
        """See `Store.compare_and_set`."""
        with self._lock:
            known = self._find(key)
            if known is None or expected is None:
                if known is not expected:
                    return False
            elif not same(known, expected):
                return False
            if content is None:
                self._entries.pop(key, None)
            else:
                self._put(key, content, expires)
            return True

    async def close(self) -> None:
        """See `Store.close`."""

    def _find(self, name: str | tuple[str, str]) -> bytes | None:
        self._expire()
        entry = self._entries.get(name)
        return None if entry is None else entry.content

    def _put(self, name: str | tuple[str, str], content: bytes, expires: float | None) -> None:
        ends = None if expires is None else self._clock() + expires
        self._entries[name] = _Entry(content, ends)
        if ends is not None:
            key, once = (name, "") if isinstance(name, str) else name
            heapq.heappush(self._ends, (ends, key, once))
            if len(self._ends) > 2 * len(self._entries) + _SPARE:
                self._forget_replaced()

    def _forget_replaced(self) -> None:
        """Forget when values would have expired that were replaced or removed since."""
        self._ends = [
            (entry.ends, *((name, "") if isinstance(name, str) else name))
            for name, entry in self._entries.items()
            if entry.ends is not None
        ]
        heapq.heapify(self._ends)

    def _expire(self) -> None:
        now = self._clock()
        while self._ends and self._ends[0][0] <= now:
            _, key, once = heapq.heappop(self._ends)
            name = (key, once) if once else key
            entry = self._entries.get(name)
            if entry is not None and entry.ends is not None and entry.ends <= now:
                del self._entries[name]


_shared: WeakValueDictionary[str, MemoryStore] = WeakValueDictionary()
_sharing = Lock()


def shared(namespace: str, remember: float) -> MemoryStore:
    """Return the store that all pipelines of this process with this namespace share."""
    with _sharing:
        store = _shared.get(namespace)
        if store is None:
            store = _shared[namespace] = MemoryStore(remember)
        return store
