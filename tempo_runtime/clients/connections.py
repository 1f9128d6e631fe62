"""HTTP connections, which the children of all pipelines in a server share.

aiohttp, not httpx: its connections take half the time of httpx's (`benchmarks/children.py`), and its
errors tell a connection that broke from one that was never made, which decides about a retry.
"""

from __future__ import annotations

import asyncio
from threading import Lock
from typing import Any

import aiohttp

from tempo_runtime.clients.tls import ssl_context
from tempo_runtime.settings import TlsSettings

# Idle connections are closed before uvicorn closes them, after 5 s: at exactly 5 s a request can be
# sent into a connection that is being closed.
_KEEPALIVE = 2.5
# A server that is replaced keeps its name, and has another address.
_LOOKED_UP = 1  # seconds

_lock = Lock()  # pipelines are loaded in threads of their own
_shared: dict[tuple[asyncio.AbstractEventLoop, TlsSettings], Connections] = {}


class Connections:
    """A pool of connections on one loop.

    Args:
        loop: That loop.
        tls: How they are encrypted, where a URL asks for it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, tls: TlsSettings) -> None:
        self._key = loop, tls
        self._ssl = True if tls == TlsSettings() else ssl_context(tls)
        self._users = 0
        self._kept: aiohttp.ClientSession | None = None
        self._new: aiohttp.ClientSession | None = None

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop, tls: TlsSettings) -> Connections:
        """Return the pool of that loop and that encryption; each caller closes it once.

        Raises:
            SettingsError: If a file that `tls` names cannot be used.
        """
        with _lock:
            found = _shared.get((loop, tls))
            if found is None:
                found = _shared[loop, tls] = cls(loop, tls)
            found._users += 1
            return found

    # Sessions belong to the loop they are made on, so they are made when they are first used.

    @property
    def pooled(self) -> aiohttp.ClientSession:
        """Connections that are kept between calls."""
        if self._kept is None:
            self._kept = self._session(keepalive_timeout=_KEEPALIVE)
        return self._kept

    @property
    def fresh(self) -> aiohttp.ClientSession:
        """A connection for each call: after one that was kept broke, others may be broken, too."""
        if self._new is None:
            self._new = self._session(force_close=True)
        return self._new

    async def close(self) -> None:
        """Give it back; the last to do so closes it. Called on its loop."""
        with _lock:
            self._users -= 1
            if self._users:
                return
            _shared.pop(self._key, None)
        for session in filter(None, (self._kept, self._new)):
            await session.close()

    def _session(self, **options: Any) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0, ttl_dns_cache=_LOOKED_UP, ssl=self._ssl, **options
        )
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
