"""Measure the processor time of HTTP clients for a call, 32 at once, to a server that only answers.

`python benchmarks/http_clients.py`. httpx over aiohttp's connections takes part where
`httpx-aiohttp` is installed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import Any

import aiohttp
import httpx
import uvloop
from rich.console import Console
from rich.table import Table

CLIENTS, CALLS, ROUNDS = 32, 50, 5
HEADERS = {"content-type": "application/json"}
QUESTION = b'{"inputs": []}'
BODY = b'{"outputs": [{"name": "y", "shape": [1], "datatype": "INT64", "data": [1]}]}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)
Call = Callable[[], Awaitable[Any]]


class Server(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if data.endswith(QUESTION):
            self.transport.write(ANSWER)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2/models/m/infer"
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    client = httpx.AsyncClient(limits=httpx.Limits(max_connections=None), trust_env=False)

    async def with_aiohttp() -> bytes:
        async with session.post(url, data=QUESTION, headers=HEADERS) as answer:
            return await answer.read()

    async def with_httpx() -> bytes:
        return (await client.post(url, content=QUESTION, headers=HEADERS)).content

    calls: dict[str, Call] = {"aiohttp": with_aiohttp, "httpx": with_httpx}
    if find_spec("httpx_aiohttp"):
        from httpx_aiohttp import AiohttpTransport

        joint = AiohttpTransport(client=session)

        async def with_both() -> bytes:
            request = httpx.Request("POST", url, content=QUESTION, headers=HEADERS)
            return await (await joint.handle_async_request(request)).aread()

        calls["httpx over aiohttp"] = with_both
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            found[name].append(await measure(call))
    table = Table("", "µs of the processor for a call", "of aiohttp's")
    for name, each in found.items():
        table.add_row(name, f"{min(each):.0f}", f"{min(each) / min(found['aiohttp']):.1f}")
    Console().print(table)
    await session.close()
    await client.aclose()
    server.close()


async def measure(call: Call) -> float:
    async def client() -> None:
        for _ in range(CALLS):
            await call()

    begin = time.process_time()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return (time.process_time() - begin) / (CLIENTS * CALLS) * 1e6


if __name__ == "__main__":
    uvloop.run(main())
