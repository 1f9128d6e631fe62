"""A gzip stream that several threads compress.

Each block is a member of its own, which every gzip reader takes as one stream (RFC 1952, section 2.2).
The same content gives the same bytes, whatever the number of threads.
"""

from __future__ import annotations

import os
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO

_BLOCK = 1 << 20
_LEVEL = 6
_GZIP = 31  # zlib's window of 2 ** 15 bytes, plus 16 for gzip's header


class Writer:
    """A file that compresses what is written to it.

    Args:
        output: Where to.
        threads: How many compress; by default one for each processor.
    """

    def __init__(self, output: BinaryIO, threads: int | None = None) -> None:
        self._output = output
        self._threads = threads or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._threads)
        self._pending: deque[Future[bytes]] = deque()
        self._buffer = bytearray()

    def write(self, content: bytes) -> int:
        """Take more content."""
        self._buffer += content
        while len(self._buffer) >= _BLOCK:
            self._submit(bytes(self._buffer[:_BLOCK]))
            del self._buffer[:_BLOCK]
        return len(content)

    def close(self) -> None:
        """Write what is left, and wait for it."""
        try:
            if self._buffer:
                self._submit(bytes(self._buffer))
            while self._pending:
                self._write_first()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def _submit(self, block: bytes) -> None:
        self._pending.append(self._pool.submit(_member, block))
        while len(self._pending) > 2 * self._threads:
            self._write_first()

    def _write_first(self) -> None:
        self._output.write(self._pending.popleft().result())


def _member(block: bytes) -> bytes:
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    return compressor.compress(block) + compressor.flush()
