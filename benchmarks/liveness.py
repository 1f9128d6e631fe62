"""Other answers of a server while it explains: its health, and a small pipeline beside.

The income explainer has its classifier in its process, or calls it over HTTP. Another process asks for
the health every 10 ms, and a third the small pipeline without a pause. An answer that took longer than
10 ms counts for the questions that fell due meanwhile too, each from when it did.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing.connection import Connection

import numpy as np

from benchmarks.harness.bench import Bench
from benchmarks.harness.income import CLASSIFIER, EXPLAINER, Rows, census_rows, explain, serving
from benchmarks.harness.load import v2_json
from benchmarks.harness.probe import probe
from benchmarks.harness.turns import ratio
from tempo_runtime import pipeline, save
from tempo_runtime.testing import Server

LIVE = 50  # ms, goal for the p99 of the health while it explains
OF_IDLE = 2.0  # goal for the small pipeline's p99 while it explains, of its p99 when idle
IDLE = 3.0  # seconds
THRESHOLD = 0.95
IN_PROCESS, SIBLING, APART = "in process", "HTTP, same server", "HTTP, own server"
HEALTH, SMALL = "health", "small pipeline"
LOADS = {"idle": 0, "1 client": 1, "2 clients": 2, "50 clients": 50}
Waits = dict[str, list[float]]  # question -> seconds until each answer


def run(bench: Bench) -> None:
    @pipeline("double")
    def double(x: np.ndarray) -> np.ndarray:
        return x * 2

    rows = census_rows()
    small = save(double, str(bench.folder / "double"))
    count = 2 if bench.scale.smoke else 10 if bench.scale.brief else 50
    table: list[tuple[str, ...]] = []
    places: dict[str, dict[str, str]] = {IN_PROCESS: {"TRANSPORT": "in_process"}}
    with ExitStack() as stack:
        if not bench.scale.smoke:
            classifier = stack.enter_context(serving(CLASSIFIER))
            places[SIBLING] = {"TRANSPORT": "http"}
            places[APART] = {"TRANSPORT": "http", "URL": classifier.url}
        for place, child in places.items():
            beside = [CLASSIFIER] if place == SIBLING else []
            with serving(EXPLAINER, *beside, child=child, beside=[small]) as server:
                waits = _measure(bench, server, rows[:count], place)
            for load, found in waits.items():
                table += [
                    (place, load, name, f"{len(one):,}", *_milliseconds(one))
                    for name, one in found.items()
                ]
            _claim(bench, place, waits)
    bench.report.table(
        ("classifier", "load", "asked", "answers", "p50 ms", "p99 ms", "max ms"), table
    )


def _measure(bench: Bench, server: Server, rows: Rows, place: str) -> dict[str, Waits]:
    """Return how long answers took, by the load."""
    body = v2_json("double", "x", np.ones((1, 4)), 0).partition(b"\r\n\r\n")[2]
    waits: dict[str, Waits] = {load: {HEALTH: [], SMALL: []} for load in LOADS}
    with (
        probe(server) as health,
        probe(server, "/v2/models/double/infer", body, every=0) as small,
        ThreadPoolExecutor(max(LOADS.values())) as pool,
    ):
        probes = {HEALTH: health, SMALL: small}
        explain(server, rows, 0, THRESHOLD)  # warms up
        for turn in range(min(3, bench.scale.rounds)):
            for load, clients in LOADS.items():
                bench.status(f"{place}, {load}, round {turn + 1}")
                _each(probes, True)
                if clients:
                    numbers = [list(range(len(rows)))[client::clients] for client in range(clients)]
                    list(pool.map(partial(_explain_all, server, rows), numbers))
                else:
                    time.sleep(0.1 if bench.scale.smoke else IDLE)
                _each(probes, False)
                for name, connection in probes.items():
                    waits[load][name] += connection.recv()
    return waits


def _explain_all(server: Server, rows: Rows, numbers: list[int]) -> None:
    for number in numbers:
        explain(server, rows, number, THRESHOLD)


def _each(probes: dict[str, Connection], order: bool) -> None:
    for connection in probes.values():
        connection.send(order)


def _milliseconds(waits: list[float]) -> list[str]:
    return [f"{1000 * wait:.1f}" for wait in np.percentile(waits, (50, 99, 100))]


def _claim(bench: Bench, place: str, waits: dict[str, Waits]) -> None:
    busy = [found for load, found in waits.items() if LOADS[load]]
    slowest = 1000 * max(float(np.percentile(found[HEALTH], 99)) for found in busy)
    verdict = "met" if slowest < LIVE else "missed"
    goal = "" if bench.scale.smoke else f", goal below {LIVE} ms: {verdict}"
    bench.report.note(f"worst p99 of the health while it explains, {place}: {slowest:.1f} ms{goal}")
    idle = float(np.percentile(waits["idle"][SMALL], 99))
    ratios = ratio([float(np.percentile(found[SMALL], 99)) for found in busy], [idle] * len(busy))
    most = None if bench.scale.smoke else OF_IDLE
    bench.report.claim(
        "p99 of a small pipeline while explanations run / idle", place, ratios, most=most
    )
    bench.report.answers(sum(len(found[SMALL]) for found in waits.values()), 0)
