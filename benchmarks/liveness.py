"""Whether the server stays alive while it explains: `/v2/health/live`, asked every 10 ms.

`python benchmarks/liveness.py [--quick]`. The income explainer, with its classifier in its process,
over HTTP as its sibling, and over HTTP in a server of its own: three servers that take turns idle,
with one explanation of several seconds, and with two at once. Another process asks. An answer that
took longer than 10 ms counts for the questions that fell due meanwhile too, each from when it did.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack

import numpy as np
from income import CLASSIFIER, EXPLAINER, Rows, census_rows, explain, serving, slow_row
from probe import probe
from rich.console import Console
from rich.table import Table

from tempo_runtime.testing import Server

TARGET = 50.0  # ms, p99 during explanations
IDLE = 3.0
CANDIDATES = 8  # test rows; the one that takes longest to explain is used
THRESHOLD = 0.99
IN_PROCESS = "in process"
SIBLING = "HTTP, same server"
APART = "HTTP, own server"
LOADS = {0: "idle", 1: "1 explanation", 2: "2 explanations"}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round instead of three")
    rounds = 1 if parser.parse_args(argv).quick else 3
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers end too
    console = Console()
    with ExitStack() as stack, console.status("reading the census") as status:
        rows = census_rows()
        status.update("starting the servers")
        servers = {
            IN_PROCESS: stack.enter_context(_serve({"TRANSPORT": "in_process"})),
            SIBLING: stack.enter_context(_serve({"TRANSPORT": "http"})),
        }
        url = servers[IN_PROCESS].url  # which also serves the classifier, and is idle meanwhile
        servers[APART] = stack.enter_context(_serve({"TRANSPORT": "http", "URL": url}))
        probes = {kind: stack.enter_context(probe(each)) for kind, each in servers.items()}
        status.update("looking for a row that takes seconds")
        row = slow_row(servers[IN_PROCESS], rows, THRESHOLD, CANDIDATES)
        waits: dict[tuple[str, int], list[float]] = {}
        seconds: dict[tuple[str, int], list[float]] = {}
        for turn in range(rounds):
            for kind, server in servers.items():
                for count, load in LOADS.items():
                    status.update(f"round {turn + 1} of {rounds}, {kind}: {load}")
                    probes[kind].send(True)
                    seconds.setdefault((kind, count), []).extend(_loaded(server, rows, row, count))
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


def _serve(child: dict[str, str]) -> AbstractContextManager[Server]:
    return serving(CLASSIFIER, EXPLAINER, child=child)


def _loaded(server: Server, rows: Rows, number: int, count: int) -> list[float]:
    if not count:
        time.sleep(IDLE)
        return []

    def explained(_: int) -> float:
        begin = time.monotonic()
        explain(server, rows, number, THRESHOLD)
        return time.monotonic() - begin

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(explained, range(count)))


if __name__ == "__main__":
    main()
