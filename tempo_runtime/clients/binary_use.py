"""Decide which calls to a server over HTTP are sent as binary data."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from tempo_runtime.clients.failures import Failure
from tempo_runtime.protocol.binary import EXTENSION
from tempo_runtime.protocol.messages import Request
from tempo_runtime.request.timing import Elapsed, within

_SMALLEST = 1000  # numbers; smaller requests take as long in JSON
_TIMEOUT = 5.0  # seconds for the metadata
_PAUSE = 60.0  # seconds until the metadata is read again


class BinaryUse:
    """Whether a server takes binary data: it must announce that in its metadata.

    The metadata is read beside the first call for which it matters, which does not wait for it: not every
    proxy lets clients read it.

    Args:
        metadata: Returns the server's metadata, given the headers of a call.
        is_triton: Whether it is Triton, which takes every tensor as binary data, and some only so: no
            float16 in JSON, and no text that is not Unicode.
    """

    def __init__(
        self,
        metadata: Callable[[Mapping[str, str]], Awaitable[dict[str, Any]]],
        *,
        is_triton: bool = False,
    ) -> None:
        self._metadata = metadata
        self.is_triton = is_triton
        self._announced = False
        self._next_look = 0.0
        self._looking: asyncio.Task[None] | None = None

    def suits(self, request: Request, headers: Mapping[str, str]) -> bool:
        """Return whether a request is sent as binary data, as far as is known now."""
        if self.is_triton and asyncio.get_running_loop().time() >= self._next_look:
            return True
        numbers = 0
        for tensor in request.tensors:
            if isinstance(tensor.data, np.ndarray):
                numbers += tensor.data.size
        if numbers < _SMALLEST:
            return False
        loop = asyncio.get_running_loop()
        if not self._announced and loop.time() >= self._next_look:
            self._next_look = loop.time() + _PAUSE
            self._looking = loop.create_task(self._look(headers))
        return self._announced

    def refused(self) -> None:
        """Send JSON for some time: the server refused a request only because it was binary."""
        self._announced = False
        self._next_look = asyncio.get_running_loop().time() + _PAUSE

    def close(self) -> None:
        """Stop reading the metadata."""
        if self._looking is not None:
            self._looking.cancel()

    async def _look(self, headers: Mapping[str, str]) -> None:
        with suppress(Failure, Elapsed):
            extensions = (await within(_TIMEOUT, self._metadata(headers))).get("extensions")
            self._announced = isinstance(extensions, list) and EXTENSION in extensions
