"""Two sections of `explain.py`: explanations at once on two workers, and a queue of them on one."""

from __future__ import annotations

import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection

import numpy as np
import psutil
from explainers import BY_SKLEARN, IN_PROCESS, Bench
from income import EXPLAINER, explain, serving, slow_row
from probe import probe
from rich.table import Table

from tempo_runtime import pipeline, save
from tempo_runtime.testing import Server

TWO_AT_ONCE = 1.15  # target: two on two workers, of one alone
LIVE = 50.0  # ms, target: p99 while explanations wait
OF_IDLE = 2.0  # target: the small pipeline's p99 meanwhile, of its idle p99
SLOW, CANDIDATES = 0.99, 20  # threshold, and of how many test rows the slowest is taken
QUEUED, QUEUE_THRESHOLD = 50, 0.95
IDLE = 5.0  # seconds
HEALTH, SMALL = "live", "pipeline"
IDLY, LOADED = "idle", "busy"
Waits = dict[tuple[str, str], list[float]]  # by who was asked, and the load


def workers(bench: Bench) -> None:
    """Whether two explanations at once, each on a worker, take as long as one."""
    ratios, shares, one, two, busy = [], [], [], [], []
    bench.status.update("two workers: looking for a row that takes long")
    child = {"TRANSPORT": "in_process"}
    with serving(EXPLAINER, child=child, workers=2) as server, ThreadPoolExecutor(2) as pool:

        def takes(count: int) -> float:
            begin = time.perf_counter()
            list(pool.map(lambda _: explain(server, bench.rows, number, SLOW), range(count)))
            return time.perf_counter() - begin

        number = slow_row(server, bench.rows, SLOW, CANDIDATES)
        takes(2)  # warms up both: MLServer gives its workers requests in turn
        for turn in range(3 * bench.rounds):
            bench.status.update(f"two workers: round {turn + 1} of {3 * bench.rounds}")
            one.append(takes(1))
            before = _processor_seconds(server)
            two.append(takes(2))
            after = _processor_seconds(server)
            spent = sorted(after[process] - before[process] for process in before)
            ratios.append(two[-1] / one[-1])
            shares.append(spent[-2] / (spent[-1] + spent[-2]))
            busy.append((spent[-1] + spent[-2]) / two[-1])
    ratio = float(np.median(ratios))
    bench.console.print(
        f"row {number} at {SLOW}: {np.median(one):.2f} s alone, {np.median(two):.2f} s for two at "
        f"once, of which the less busy worker did {min(shares):.0%} at least; meanwhile they had "
        f"{np.median(busy):.2f} processors"
    )
    what = "two explanations at once on two workers, of one alone"
    bench.verdict(what, f"{ratio:.2f}", f"{TWO_AT_ONCE}", met=ratio <= TWO_AT_ONCE)


def _processor_seconds(server: Server) -> dict[int, float]:
    """Return the processor time of each process of a server, except the first."""
    found = psutil.Process(server.process.pid).children(recursive=True)
    return {each.pid: sum(each.cpu_times()[:2]) for each in found}


def queue(bench: Bench) -> None:
    """Measure other answers of a server without workers while many explanations are waiting."""
    table = Table("classifier", "asked", "load", "answers", "p50 ms", "p99 ms", "max ms")
    kinds = {IN_PROCESS: {"TRANSPORT": "in_process"}}
    kinds[BY_SKLEARN] = {"TRANSPORT": "in_process", "FAST_SKLEARN": "0"}
    kinds["HTTP, own server"] = {"TRANSPORT": "http", "URL": bench.classifier.url}
    live, slower = 0.0, 0.0
    with tempfile.TemporaryDirectory(prefix="tempo-explain-") as folder:
        small = _small_pipeline(folder)
        for name, child in kinds.items():
            bench.status.update(f"{QUEUED} at once, {name}")
            with serving(EXPLAINER, child=child, beside=[small]) as server:
                waits, seconds = _queued(bench, server)
            p99: dict[tuple[str, str], float] = {}
            for (asked, load), found in waits.items():
                p50, p99[asked, load], most = 1000 * np.percentile(found, (50, 99, 100))
                cells = (f"{p50:.1f}", f"{p99[asked, load]:.1f}", f"{most:.1f}")
                first = name if len(p99) == 1 else ""
                table.add_row(first, asked, load, f"{len(found):,}", *cells)
            table.add_section()
            live = max(live, p99[HEALTH, LOADED])
            slower = max(slower, p99[SMALL, LOADED] / p99[SMALL, IDLY])
            bench.console.print(f"{name}: {QUEUED} explanations at once take {seconds:.1f} s")
    bench.console.print(table)
    what = f"worst p99 of /v2/health/live while {QUEUED} explanations are waited for"
    bench.verdict(what, f"{live:.1f} ms", f"below {LIVE:g} ms", met=live < LIVE)
    what = "worst p99 of a small pipeline meanwhile, of its idle p99"
    bench.verdict(what, f"{slower:.1f}", f"{OF_IDLE:g}", met=slower <= OF_IDLE)


def _queued(bench: Bench, server: Server) -> tuple[Waits, float]:
    """How long each was waited for, idle and during explanations; and what those take together."""
    tensor = {"name": "x", "datatype": "FP64", "shape": [4], "data": [1.0, 2.0, 3.0, 4.0]}
    body = json.dumps({"inputs": [tensor]}).encode()
    waits: Waits = {(asked, load): [] for asked in (HEALTH, SMALL) for load in (IDLY, LOADED)}
    seconds = []
    with (
        probe(server) as health,
        probe(server, "/v2/models/double/infer", body, every=0) as double,
        ThreadPoolExecutor(QUEUED) as pool,
    ):
        probes = {HEALTH: health, SMALL: double}

        def explained(number: int) -> None:
            explain(server, bench.rows, number % bench.count, QUEUE_THRESHOLD)

        explained(0)  # warms up
        for _ in range(bench.rounds):
            _ask(probes)
            time.sleep(IDLE)
            _take(probes, waits, IDLY)
            _ask(probes)
            begin = time.monotonic()
            list(pool.map(explained, range(QUEUED)))
            seconds.append(time.monotonic() - begin)
            _take(probes, waits, LOADED)
    return waits, float(np.median(seconds))


def _ask(probes: dict[str, Connection]) -> None:
    for each in probes.values():
        each.send(True)


def _take(probes: dict[str, Connection], waits: Waits, load: str) -> None:
    for each in probes.values():
        each.send(False)
    for name, each in probes.items():
        waits[name, load] += each.recv()


def _small_pipeline(folder: str) -> str:
    @pipeline("double")
    def double(x: np.ndarray) -> np.ndarray:
        return x * 2

    return save(double, f"{folder}/double")
