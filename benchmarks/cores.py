"""Two cores beside one: requests and explanations, with parallel workers and with threads.

The same server is bound to one core or to two, in turns. A request is a prediction of XGBoost, which
releases the interpreter's lock. An explanation is an anchor of the income example, which does not; they
are counted as long as all clients ask. The clients take part of the second core, so a ratio of 2 is out
of reach.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import psutil
from xgboost import XGBRegressor

from benchmarks.harness.bench import Bench
from benchmarks.harness.income import EXPLAINER, census_rows, explain, serving
from benchmarks.harness.load import (
    Question,
    closed_loop,
    random_batches,
    v2_binary,
    v2_binary_numbers,
)
from benchmarks.harness.servers import ENVIRONMENT, SETTINGS, model_folder, port_of
from benchmarks.harness.turns import in_turns, ratio
from tempo_runtime import Model, ModelFramework, PipelineModels, pipeline, save
from tempo_runtime.testing import Server, serve

WAYS = {"threads": 0, "2 workers": 2}
CLIENTS, ROWS, TREES = 4, 2000, 300
EXPLANATIONS, THRESHOLD = 64, 0.95
GOAL = 1.8


def run(bench: Bench) -> None:
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) < 2:
        bench.report.note("skipped: the processes of this machine cannot be bound to two cores")
        return
    ways = {"threads": 0} if bench.scale.smoke else WAYS
    for way, workers in ways.items():
        if bench.wants("requests"):
            _requests(bench, way, workers, cores)
        if bench.wants("explanations"):
            _explanations(bench, way, workers, cores)


def _requests(bench: Bench, way: str, workers: int, cores: list[int]) -> None:
    bench.status(f"requests, {way}")
    folder = bench.folder / f"requests-{workers}"
    file = folder / "model.json"
    child = model_folder(folder, "mlserver_xgboost.XGBoostModel", uri=str(file))
    batches = random_batches(ROWS)
    trees = XGBRegressor(n_estimators=10 if bench.scale.smoke else TREES, n_jobs=1)
    trees.fit(batches[0], batches[0].sum(1))
    trees.save_model(file)
    model = Model(folder.name, platform=ModelFramework.XGBoost, local_folder=str(child))

    @pipeline("trees", models=PipelineModels(model=model))
    def asked(x: np.ndarray) -> np.ndarray:
        return asked.models.model(x).astype(float)

    artifact = save(asked, str(folder / "trees"))
    questions = [
        Question(
            v2_binary("trees", "x", rows, number),
            trees.predict(rows).astype(float),
            v2_binary_numbers,
        )
        for number, rows in enumerate(batches)
    ]
    settings = {**SETTINGS, "parallel_workers": workers}
    with serve(artifact, settings=settings, env=ENVIRONMENT) as server:

        def turn(count: int) -> tuple[float, int, int]:
            bind(server, cores[:count])
            found = closed_loop(port_of(server), questions, CLIENTS, bench.scale.seconds)
            return found.rate, len(found.times), found.wrong

        _compare(bench, "requests", way, turn, None)


def _explanations(bench: Bench, way: str, workers: int, cores: list[int]) -> None:
    bench.status(f"explanations, {way}")
    rows = census_rows()
    known: dict[int, str] = {}
    begun: list[float] = []
    count = CLIENTS + 1 if bench.scale.smoke else 24 if bench.scale.brief else EXPLANATIONS
    child = {"TRANSPORT": "in_process"}
    with (
        serving(EXPLAINER, child=child, workers=workers) as server,
        ThreadPoolExecutor(CLIENTS) as pool,
    ):

        def is_right(number: int) -> bool:
            begun.append(time.perf_counter())
            anchor = json.loads(explain(server, rows, number, THRESHOLD))["data"]["anchor"]
            return known.setdefault(number, anchor) == anchor

        def turn(cores_used: int) -> tuple[float, int, int]:
            bind(server, cores[:cores_used])
            begun.clear()
            right = list(pool.map(is_right, range(count)))
            # When the last one begins, all but those of the clients have ended. Afterwards a core can
            # have nothing to do: an explanation may take ten times as long as another.
            return (count - CLIENTS) / (begun[-1] - begun[0]), count, right.count(False)

        _compare(bench, "explanations", way, turn, GOAL if workers else None)


def _compare(
    bench: Bench,
    what: str,
    way: str,
    turn: Callable[[int], tuple[float, int, int]],
    goal: float | None,
) -> None:
    turns = {name: partial(turn, count) for name, count in (("1 core", 1), ("2 cores", 2))}
    found = in_turns(turns, bench.scale.rounds)
    rates = {name: [rate for rate, *_ in measured] for name, measured in found.items()}
    table = [
        (name, f"{np.median(rates[name]):.1f}", str(ratio(rates[name], rates["1 core"])))
        for name in rates
    ]
    bench.report.table((f"{what}, {way}", "in a second", "ratio"), table)
    compared = ratio(rates["2 cores"], rates["1 core"])
    least = None if bench.scale.smoke else goal
    bench.report.claim(f"{what} on 2 cores / on 1", way, compared, least=least)
    counts = [measured[1:] for one in found.values() for measured in one]
    bench.report.answers(*map(sum, zip(*counts)))


def bind(server: Server, cores: Iterable[int]) -> None:
    """Bind each thread of a server and of its workers to some cores."""
    first = psutil.Process(server.process.pid)
    for process in (first, *first.children(recursive=True)):
        for thread in process.threads():
            os.sched_setaffinity(thread.id, cores)
