"""Contenders: servers that are asked the same, each with its own processes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.harness.bench import Bench
from benchmarks.harness.load import (
    Decode,
    Question,
    Run,
    closed_loop,
    v2_json,
    v2_numbers,
)
from benchmarks.harness.turns import Ratio, in_turns, ratio
from tempo_runtime.testing import Server, serve

ROOT = Path(__file__).resolve().parents[2]
PRELOAD = Path(__file__).with_name("preload")
SETTINGS = {"gzip_enabled": False, "grpc_max_message_length": 64 << 20}
# XGBoost's and BLAS's threads would wait for each other, and take the processor from everything else.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
Rows = NDArray[np.float64]
Encode = Callable[[Rows, int], bytes]


@dataclass
class Contender:
    """A server that is measured.

    Attributes:
        port: Where it answers on this machine.
        processes: Its own, and then the servers of its children.
        encode: Makes the whole request for some rows; the number tells requests apart.
        decode: Reads the numbers of an answer.
    """

    port: int
    processes: Sequence[int]
    encode: Encode
    decode: Decode = v2_numbers

    def cpu(self) -> float:
        """Return the processor's seconds that they and those that they started have taken."""
        return sum(
            sum(process.cpu_times()[:2])
            for pid in self.processes
            for process in _with_children(pid)
        )

    def memory(self) -> float:
        """Return the bytes that it holds without the servers of its children."""
        return sum(process.memory_info().rss for process in _with_children(self.processes[0]))


def _with_children(pid: int) -> list[psutil.Process]:
    first = psutil.Process(pid)
    return [first, *first.children(recursive=True)]


@dataclass
class Measured:
    """Results of some contenders under one load.

    Attributes:
        runs: The turns of each.
        cpu: The processor's milliseconds for a request, in each turn.
    """

    runs: dict[str, list[Run]]
    cpu: dict[str, list[float]] = field(default_factory=dict)

    def rate(self, ours: str, theirs: str) -> Ratio:
        """Compare right answers in a second."""
        return ratio(*([run.rate for run in self.runs[name]] for name in (ours, theirs)))

    def cost(self, ours: str, theirs: str) -> Ratio:
        """Compare the processor's time for a request."""
        return ratio(self.cpu[ours], self.cpu[theirs])

    def percentile(self, ours: str, theirs: str, percent: float) -> Ratio:
        """Compare a percentile of the times."""
        found = (
            [float(np.percentile(run.times, percent)) for run in self.runs[name]]
            for name in (ours, theirs)
        )
        return ratio(*found)

    def compared(self) -> tuple[int, int]:
        """Return how many answers were compared, and how many were wrong."""
        runs = [run for found in self.runs.values() for run in found]
        return sum(len(run.times) for run in runs), sum(run.wrong for run in runs)

    def cells(self, name: str, yardstick: str) -> list[str]:
        """Return the cells of `HEADS` for one contender."""
        runs = self.runs[name]
        times = np.concatenate([run.times for run in runs])
        p50, p99 = 1000 * np.percentile(times, (50, 99))
        return [
            name,
            f"{np.median([run.rate for run in runs]):.0f}",
            str(self.rate(name, yardstick)),
            f"{p50:.1f}",
            f"{p99:.1f}",
            f"{np.median(self.cpu[name]):.2f}",
            f"{self.cost(name, yardstick).median:.2f}",
            str(sum(run.wrong for run in runs)),
        ]


HEADS = ("", "requests/s", "ratio", "p50 ms", "p99 ms", "CPU ms", "ratio", "wrong")


class Load(NamedTuple):
    """The questions to contenders.

    Attributes:
        batches: The rows of each question.
        answer: Computes the right answer.
        clients: How many ask at the same time.
    """

    batches: Sequence[Rows]
    answer: Callable[[Rows], NDArray[Any]]
    clients: int


def measure(bench: Bench, contenders: Mapping[str, Contender], load: Load) -> Measured:
    """Ask contenders in turns."""
    expected = [np.asarray(load.answer(rows), dtype=float).ravel() for rows in load.batches]
    cpu: dict[str, list[float]] = {name: [] for name in contenders}

    def turn(name: str, contender: Contender) -> Callable[[], Run]:
        questions = [
            Question(contender.encode(rows, number), right, contender.decode)
            for number, (rows, right) in enumerate(zip(load.batches, expected))
        ]

        def ask() -> Run:
            before = contender.cpu()
            run = closed_loop(contender.port, questions, load.clients, bench.scale.seconds)
            cpu[name].append(1000 * (contender.cpu() - before) / len(run.times))
            return run

        return ask

    turns = {name: turn(name, contender) for name, contender in contenders.items()}
    runs = in_turns(turns, bench.scale.rounds)
    # The clock of a process ticks 100 times in a second.
    costs = {
        name: np.maximum(found[-bench.scale.rounds :], 0.01).tolist() for name, found in cpu.items()
    }
    return Measured(runs, costs)


def compare(
    bench: Bench,
    contenders: Mapping[str, Contender],
    yardsticks: Mapping[str, str],
    load: Load,
    where: str,
    goals: Mapping[str, float],
) -> Measured:
    """Measure contenders, and print a table and the ratio of each to its yardstick.

    Args:
        bench: Says how much.
        contenders: Whom to measure.
        yardsticks: The contender that each is compared with; one that is not here is a yardstick.
        load: What they are asked.
        where: Names the load.
        goals: The smallest ratio that each should reach.
    """
    bench.status(where)
    found = measure(bench, contenders, load)
    table = [
        [*found.cells(name, yardsticks.get(name, name)), yardsticks.get(name, "")]
        for name in contenders
    ]
    bench.report.table((*HEADS, "ratio to"), table, f"\n{where}")
    for name, yardstick in yardsticks.items():
        rate = found.rate(name, yardstick)
        goal = None if bench.scale.smoke else goals.get(name)
        cpu = found.cost(name, yardstick)
        bench.report.claim(f"{name} / {yardstick}", where, rate, least=goal, cpu=cpu)
    bench.report.answers(*found.compared())
    return found


def model_folder(
    folder: Path, implementation: str, *, uri: str | None = None, **extra: Any
) -> Path:
    """Write the settings of a model into a folder that has its name."""
    folder.mkdir(parents=True, exist_ok=True)
    parameters = {"extra": extra} if uri is None else {"uri": uri, "extra": extra}
    settings = {"name": folder.name, "implementation": implementation, "parameters": parameters}
    (folder / "model-settings.json").write_text(json.dumps(settings))
    return folder


PIPELINE = "tempo_runtime.TempoPipelineRuntime"


def start(
    bench: Bench, folders: Mapping[str, Sequence[Path]], variables: Mapping[str, str] | None = None
) -> dict[str, Server]:
    """Start a server for each, of one folder or of several; in a smoke run, one server for all.

    Args:
        bench: The benchmark.
        folders: The models of each server, by its name.
        variables: Further environment variables of the servers.
    """

    def started(*served: Path, path: str = str(ROOT)) -> Server:
        environment = {**ENVIRONMENT, "PYTHONPATH": path, **(variables or {})}
        return bench.stack.enter_context(serve(*served, settings=SETTINGS, env=environment))

    if bench.scale.smoke:
        every = {folder: None for served in folders.values() for folder in served}
        return dict.fromkeys(folders, started(*every, path=f"{ROOT}{os.pathsep}{PRELOAD}"))
    servers = {}
    for name, served in folders.items():
        bench.status(f"starting {name}")
        servers[name] = started(*served)
    return servers


def on_mlserver(
    server: Server, model: str, tensor: str, children: Sequence[Server] = ()
) -> Contender:
    """Return the contender that a model on an MLServer is."""
    return Contender(
        port_of(server),
        list(dict.fromkeys(each.process.pid for each in (server, *children))),
        lambda rows, number: v2_json(model, tensor, rows, number),
    )


def port_of(server: Server) -> int:
    """Return the port of a server over HTTP."""
    return int(server.url.rpartition(":")[2])


def environment() -> dict[str, str]:
    """Return the variables for a server that is not an MLServer."""
    return {**os.environ, **ENVIRONMENT}
