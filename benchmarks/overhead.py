"""A pipeline that only returns its input, beside MLServer runtimes written by hand that do the same.

An `async def` pipeline runs on the event loop, and is compared with a runtime that returns the tensor as
it came, and with one that makes it an array and back. A `def` pipeline computes in a thread, and is
compared with a runtime that has a pool of them. The section `noop` has these; `binary` compares large
requests in V2's binary data with those in JSON, and `page` servers that have the page with those that do
not, while nobody looks at it.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial

import numpy as np

from benchmarks.harness.bench import Bench
from benchmarks.harness.load import random_batches, v2_binary, v2_binary_numbers
from benchmarks.harness.servers import Load, compare, model_folder, on_mlserver, start
from tempo_runtime import pipeline, save

ROWS, CLIENTS = (1, 100), (1, 8, 32)
ECHO, ARRAYS, THREADS = "by hand", "by hand, arrays", "by hand, threads"
COROUTINE, FUNCTION = "async def", "def"
YARDSTICKS = {COROUTINE: ECHO, FUNCTION: THREADS}
GOALS = {COROUTINE: 0.97, FUNCTION: 1.15}
PAGE = ", page"
BINARY, LARGE = ", binary", (10_000, 8)  # rows and clients
P99 = 0.5  # of the p99 of the threads by hand, with 32 clients


def run(bench: Bench) -> None:
    @pipeline("coroutine")
    async def coroutine(x: np.ndarray) -> np.ndarray:
        return x

    @pipeline("function")
    def function(x: np.ndarray) -> np.ndarray:
        return x

    rivals = "benchmarks.rivals.noop."
    folders = {
        ECHO: model_folder(bench.folder / "echo", rivals + "Echo"),
        ARRAYS: model_folder(bench.folder / "arrays", rivals + "Arrays"),
        THREADS: model_folder(bench.folder / "threads", rivals + "Threads"),
        COROUTINE: bench.folder / "coroutine",
        FUNCTION: bench.folder / "function",
    }
    save(coroutine, str(folders[COROUTINE]))
    save(function, str(folders[FUNCTION]))
    servers = start(bench, {name: [folder] for name, folder in folders.items()})
    contenders = {
        name: on_mlserver(server, folders[name].name, "x") for name, server in servers.items()
    }
    cells = list(itertools.product(ROWS, CLIENTS)) if bench.wants("noop") else []
    for rows, clients in cells[:1] if bench.scale.smoke else cells:
        where = f"{rows} row{'s' * (rows > 1)}, c={clients}"
        load = Load(random_batches(rows), lambda x: x, clients)
        found = compare(bench, contenders, YARDSTICKS, load, where, GOALS)
        rate, cost = found.rate(COROUTINE, ARRAYS), found.cost(COROUTINE, ARRAYS)
        bench.report.claim(f"{COROUTINE} / {ARRAYS}", where, rate, cpu=cost)
        if clients == max(CLIENTS):
            what = f"p99 of {FUNCTION} / {THREADS}"
            bench.report.claim(what, where, found.percentile(FUNCTION, THREADS, 99), most=P99)
    if bench.wants("binary"):
        rows, clients = (10, 1) if bench.scale.smoke else LARGE
        ours = {name: contenders[name] for name in YARDSTICKS}
        for name, contender in list(ours.items()):
            encode = partial(v2_binary, folders[name].name, "x")
            ours[name + BINARY] = replace(contender, encode=encode, decode=v2_binary_numbers)
        yardsticks = {name + BINARY: name for name in YARDSTICKS}
        load = Load(random_batches(rows), lambda x: x, clients)
        where = f"{rows:,} rows, c={clients}"
        compare(bench, ours, yardsticks, load, where, dict.fromkeys(yardsticks, 2.0))
    if bench.wants("page"):
        pages = {name + PAGE: [folders[name]] for name in YARDSTICKS}
        with_page = start(bench, pages, {"TEMPO_RUNTIME_PAGE": "true"})
        both = {name: contenders[name] for name in YARDSTICKS}
        for name in YARDSTICKS:
            server = with_page[name + PAGE]
            both[name + PAGE] = on_mlserver(server, folders[name].name, "x")
        yardsticks = {name + PAGE: name for name in YARDSTICKS}
        for clients in CLIENTS[:1] if bench.scale.smoke else CLIENTS:
            load = Load(random_batches(1), lambda x: x, clients)
            compare(bench, both, yardsticks, load, f"1 row, c={clients}", {})
