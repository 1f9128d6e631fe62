"""HTTP connections that the children of all pipelines in a server share.

We use aiohttp instead of httpx: a call takes a fraction of the time (`benchmarks/http_clients.py`), and
its errors distinguish a broken connection from one that was never made, which decides about a retry.
"""

from __future__ import annotations

import asyncio
from threading import Lock
from typing import Any

import aiohttp

from tempo_runtime.clients.tls import ssl_context
from tempo_runtime.settings import TlsSettings

# uvicorn closes idle connections after 5 s. We close them earlier, so that no request is sent on a
# connection that the server is closing.
_KEEPALIVE = 2.5
# A replaced server keeps its name but has a new address, so addresses are kept only briefly.
_DNS_CACHE = 1  # seconds

_lock = Lock()  # each pipeline is loaded in its own thread
_shared: dict[tuple[asyncio.AbstractEventLoop, TlsSettings], Connections] = {}


class Connections:
    """A pool of connections on one loop.

    Args:
        loop: The loop.
        tls: Settings of encrypted connections.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, tls: TlsSettings) -> None:
        self._key = loop, tls
        self._ssl = True if tls == TlsSettings() else ssl_context(tls)
        self._users = 0
        self._pooled: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop, tls: TlsSettings) -> Connections:
        """Return the pool for a loop and TLS settings; each caller must close it once.

        Raises:
            SettingsError: If a file named in `tls` cannot be used.
        """
        with _lock:
            pool = _shared.get((loop, tls))
            if pool is None:
                pool = _shared[loop, tls] = cls(loop, tls)
            pool._users += 1
            return pool

    # A session belongs to the loop on which it is made, so it is made on first use.

    @property
    def pooled(self) -> aiohttp.ClientSession:
        """Connections that are kept between calls."""
        if self._pooled is None:
            self._pooled = self._session(keepalive_timeout=_KEEPALIVE)
        return self._pooled

    @property
    def fresh(self) -> aiohttp.ClientSession:
        """New connections for each call: after a pooled one broke, the others may be broken as well."""
        if self._fresh is None:
            self._fresh = self._session(force_close=True)
        return self._fresh

    async def close(self) -> None:
        """Release the pool, on its loop; the last user closes its connections."""
        with _lock:
            self._users -= 1
            if self._users:
                return
            _shared.pop(self._key, None)
        for session in filter(None, (self._pooled, self._fresh)):
            await session.close()

    def _session(self, **options: Any) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0, ttl_dns_cache=_DNS_CACHE, ssl=self._ssl, **options
        )
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
