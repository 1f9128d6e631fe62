"""A process that asks a server again and again, and measures how long each answer takes."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from multiprocessing.connection import Connection

import numpy as np

from tempo_runtime.testing import Server

LIVE = "/v2/health/live"
HEADERS = {"content-type": "application/json"}


@contextmanager
def probe(
    server: Server, path: str = LIVE, body: bytes | None = None, every: float = 0.01
) -> Iterator[Connection]:
    """A process that asks from each True to the next False, and then sends what it measured.

    An answer that takes longer than `every` counts for the questions that fell due meanwhile too,
    each from when it did. Each answer must be equal to the first: one that differs ends the process.

    Args:
        server: Whom it asks.
        path: What it asks for.
        body: What it posts; None to get.
        every: Seconds from one question to the next; 0 to ask once the last is answered.
    """
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    address = server.url.removeprefix("http://")
    arguments = (there, os.getpid(), address, path, body, every)
    process = spawn.Process(target=_ask, args=arguments, daemon=True)
    process.start()
    there.close()  # so that its end is seen here
    try:
        here.recv()  # it is there
        yield here
    finally:
        process.kill()
        process.join()


def _ask(
    orders: Connection, parent: int, address: str, path: str, body: bytes | None, every: float
) -> None:
    orders.send(True)
    while os.getppid() == parent and orders.recv():
        connection = HTTPConnection(address, timeout=60)
        waits: list[float] = []
        expected = b""
        while not orders.poll():
            begin = time.monotonic()
            connection.request("GET" if body is None else "POST", path, body, HEADERS)
            answer = connection.getresponse()
            text = answer.read()
            expected = expected or text
            assert answer.status == 200, text
            assert text == expected, text
            took = time.monotonic() - begin
            waits += np.arange(took, 0, -every).tolist() if every else [took]
            time.sleep(-took % every if every else 0)
        connection.close()
        orders.recv()
        orders.send(waits)
