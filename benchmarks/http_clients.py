"""HTTP clients: the processor's time that a call takes, beside aiohttp, which ours uses.

32 calls at once to a server that only answers. httpx over aiohttp's connections takes part where
`httpx-aiohttp` is installed.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import Any

import aiohttp
import httpx
import uvloop

from benchmarks.harness.bench import Bench
from benchmarks.harness.turns import ratio

CLIENTS = 32
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


def run(bench: Bench) -> None:
    uvloop.run(_run(bench))


async def _run(bench: Bench) -> None:
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
    count = 1 if bench.scale.smoke else 50
    found: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(bench.scale.rounds + 1):  # the first warms up
        for name in random.sample(list(calls), len(calls)):
            cost = await measure(calls[name], count)
            if turn:
                found[name].append(cost)
    for name in (name for name in calls if name != "aiohttp"):
        costs = ratio(found[name], found["aiohttp"])
        bench.report.claim(f"CPU of a call, {name} / aiohttp", f"c={CLIENTS}", costs)
    bench.report.answers(sum(map(len, found.values())) * CLIENTS * count, 0)
    await session.close()
    await client.aclose()
    server.close()


async def measure(call: Call, count: int) -> float:
    """Return the processor's seconds for a call; each answer must be the expected one."""

    async def client() -> None:
        for _ in range(count):
            answer = await call()
            assert answer == BODY, answer

    begin = time.process_time()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return (time.process_time() - begin) / (CLIENTS * count)
