"""Whether the server stays alive while it explains: `/v2/health/live`, asked every 10 ms.

`python benchmarks/liveness.py [--quick]`. The income explainer, with its classifier in its process,
over HTTP as its sibling, and over HTTP in a server of its own: three servers that take turns idle,
with one explanation of several seconds, and with two at once. Another process asks. An answer that
took longer than 10 ms counts for the questions that fell due meanwhile too, each from when it did.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from tempo_runtime.testing import Server, serve

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "income"
TARGET = 50.0  # ms, p99 during explanations
EVERY = 0.01
IDLE = 3.0
CANDIDATES = 8  # test rows; the one that takes longest to explain is used
THRESHOLD = 0.99
IN_PROCESS = "in process"
SIBLING = "HTTP, same server"
APART = "HTTP, own server"
VARIABLE = "TEMPO_RUNTIME_MODELS__SKLEARN__"
LOADS = {0: "idle", 1: "1 explanation", 2: "2 explanations"}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round instead of three")
    rounds = 1 if parser.parse_args(argv).quick else 3
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers end too
    console = Console()
    with ExitStack() as stack, console.status("reading the census") as status:
        rows = _rows()
        status.update("starting the servers")
        servers = {
            IN_PROCESS: stack.enter_context(_serve({"TRANSPORT": "in_process"})),
            SIBLING: stack.enter_context(_serve({"TRANSPORT": "http"})),
        }
        url = servers[IN_PROCESS].url  # which also serves the classifier, and is idle meanwhile
        servers[APART] = stack.enter_context(_serve({"TRANSPORT": "http", "URL": url}))
        probes = {kind: stack.enter_context(_probe(each)) for kind, each in servers.items()}
        status.update("looking for a row that takes seconds")
        row = _slow_row(servers[IN_PROCESS], rows)
        waits: dict[tuple[str, int], list[float]] = {}
        seconds: dict[tuple[str, int], list[float]] = {}
        for turn in range(rounds):
            for kind, server in servers.items():
                for count, load in LOADS.items():
                    status.update(f"round {turn + 1} of {rounds}, {kind}: {load}")
                    probes[kind].send(True)
                    seconds.setdefault((kind, count), []).extend(_loaded(server, row, count))
                    probes[kind].send(False)
                    waits.setdefault((kind, count), []).extend(probes[kind].recv())
    table = Table("classifier", "load", "takes s", "asked", "p50 ms", "p99 ms", "max ms")
    worst = 0.0
    for (kind, count), found in waits.items():
        p50, p99, most = (1000 * float(value) for value in np.percentile(found, (50, 99, 100)))
        worst = max(worst, p99) if count else worst
        takes = f"{np.median(seconds[kind, count]):.1f}" if count else ""
        name = "" if count else kind
        cells = (str(len(found)), f"{p50:.1f}", f"{p99:.1f}", f"{most:.1f}")
        table.add_row(name, LOADS[count], takes, *cells, end_section=count == max(LOADS))
    console.print(table)
    verdict = "below" if worst < TARGET else "not below"
    console.print(f"While it explains, the worst p99 is {worst:.1f} ms: {verdict} {TARGET:g} ms.")
    console.print(
        "(A sibling's own predict runs on the server's loop: that is MLServer's sklearn runtime.)"
    )


def _rows() -> np.ndarray[Any, Any]:
    """The test rows, and the artefacts if there are none yet."""
    sys.path.insert(0, str(EXAMPLE))
    from src.constants import ARTIFACTS_FOLDER
    from src.data import AdultData

    made = (
        Path(ARTIFACTS_FOLDER, "model/model.joblib"),
        Path(ARTIFACTS_FOLDER, "explainer/tempo.json"),
    )
    if not all(path.is_file() for path in made):
        subprocess.run([sys.executable, "train.py"], cwd=EXAMPLE, check=True)
    rows: np.ndarray[Any, Any] = AdultData().X_test
    return rows


@contextmanager
def _serve(child: dict[str, str]) -> Iterator[Server]:
    variables = {f"{VARIABLE}{name}": value for name, value in child.items()}
    with serve(ROOT / "model-settings", env=variables) as server:
        yield server


def _explain(server: Server, row: np.ndarray[Any, Any]) -> float:
    begin = time.monotonic()
    server.infer("income-explainer", payload=row, parameters={"threshold": THRESHOLD})
    return time.monotonic() - begin


def _slow_row(server: Server, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    times = [_explain(server, rows[i : i + 1]) for i in range(CANDIDATES)]
    slowest = int(np.argmax(times))
    return rows[slowest : slowest + 1]


def _loaded(server: Server, row: np.ndarray[Any, Any], count: int) -> list[float]:
    if not count:
        time.sleep(IDLE)
        return []
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(_explain, [server] * count, [row] * count))


@contextmanager
def _probe(server: Server) -> Iterator[Connection]:
    """A process that asks from each True to the next False, and then sends what it measured."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    address = server.url.removeprefix("http://")
    process = spawn.Process(target=_ask, args=(there, address, os.getpid()), daemon=True)
    process.start()
    try:
        yield here
    finally:
        process.kill()
        process.join()


def _ask(orders: Connection, address: str, parent: int) -> None:
    while os.getppid() == parent and orders.recv():
        live = HTTPConnection(address, timeout=60)
        waits: list[float] = []
        while not orders.poll():
            begin = time.monotonic()
            live.request("GET", "/v2/health/live")
            answer = live.getresponse()
            answer.read()
            assert answer.status == 200, answer.status
            took = time.monotonic() - begin
            waits += np.arange(took, 0, -EVERY).tolist()
            time.sleep(-took % EVERY)
        live.close()
        orders.recv()
        orders.send(waits)


if __name__ == "__main__":
    main()
