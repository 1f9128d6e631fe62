"""Pipelines that log their requests to a sink, beside the same ones without a log.

The section `forest` has a random forest in the process of its pipeline, `nothing` a pipeline that returns
its input, which shows what a log costs at most. The sink runs in a separate process and only counts. In
the section `away` there is no sink: for a minute, requests must be answered, memory must stay the same,
and each event must be counted as sent, dropped or waiting.
"""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path

import httpx
import joblib
import numpy as np
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

from benchmarks.harness.bench import Bench
from benchmarks.harness.load import Question, closed_loop, random_batches
from benchmarks.harness.servers import (
    PIPELINE,
    Contender,
    Load,
    compare,
    model_folder,
    on_mlserver,
    start,
)
from benchmarks.harness.sink import sink
from benchmarks.harness.turns import Ratio
from tempo_runtime import Model, ModelFramework, PipelineModels, pipeline, save
from tempo_runtime.testing import Server

CLIENTS = (1, 8, 32)
GOAL = 0.95
MINUTE, PARTS = 60.0, 12  # seconds without a sink, and readings of the memory in that time
FULL = 3  # readings until as many events wait as may
GROWTH = 1.02
EVENTS = 3  # of each request: the request, the call to the forest, and the answer
WITHOUT, WITH, AWAY = "no log", "log", "away"
_METRIC = re.compile(
    r'^tempo_insights_(\w+?)(?:_total)?\{pipeline="away"[^}]*\} (\S+)$', re.MULTILINE
)


def run(bench: Bench) -> None:
    forest = RandomForestClassifier(10 if bench.scale.smoke else 100, random_state=0)
    forest.fit(*load_iris(return_X_y=True))
    over = _forest(bench.folder, forest)

    @pipeline("nothing")
    async def nothing(x: np.ndarray) -> np.ndarray:
        return x

    returned = save(nothing, str(bench.folder / "nothing"))
    url = bench.stack.enter_context(sink())
    answers = {"forest": forest.predict, "nothing": lambda x: x}
    folders: dict[str, Path] = {}
    for section, artifact in (("forest", over), ("nothing", returned)):
        if bench.wants(section):
            for name, insights in ((WITHOUT, False), (WITH, {"sink": url})):
                folder = bench.folder / f"{section}-{'with' if insights else 'without'}"
                folders[f"{section}, {name}"] = model_folder(
                    folder, PIPELINE, uri=artifact, insights=insights
                )
    if bench.wants("away"):
        options = {"sink": _nowhere(), "max_events": 100 if bench.scale.smoke else 1000}
        folders[AWAY] = model_folder(bench.folder / "away", PIPELINE, uri=over, insights=options)
    servers = start(bench, {name: [folder] for name, folder in folders.items()})
    contenders = {
        name: on_mlserver(servers[name], folder.name, "x") for name, folder in folders.items()
    }
    for section in filter(bench.wants, answers):
        with_log, without = (f"{section}, {name}" for name in (WITH, WITHOUT))
        chosen = {name: contenders[name] for name in (without, with_log)}
        for clients in CLIENTS[:1] if bench.scale.smoke else CLIENTS:
            load = Load(random_batches(1), answers[section], clients)
            where = f"1 row, c={clients}"
            compare(bench, chosen, {with_log: without}, load, where, {with_log: GOAL})
    if bench.wants("away"):
        _away(bench, servers[AWAY], contenders[AWAY], forest)


def _nowhere() -> str:
    """Return the URL of a port at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}/events"


def _forest(folder: Path, forest: RandomForestClassifier) -> str:
    file = folder / "forest/model.joblib"
    child = model_folder(file.parent, "mlserver_sklearn.SKLearnModel", uri=str(file))
    joblib.dump(forest, file)
    model = Model("forest", platform=ModelFramework.SKLearn, local_folder=str(child))

    @pipeline("over", models=PipelineModels(forest=model))
    def over(x: np.ndarray) -> np.ndarray:
        return over.models.forest(x)

    return save(over, str(folder / "over"))


def _away(
    bench: Bench, server: Server, contender: Contender, forest: RandomForestClassifier
) -> None:
    batches = random_batches(1)
    questions = [
        Question(contender.encode(rows, number), forest.predict(rows).ravel(), contender.decode)
        for number, rows in enumerate(batches)
    ]
    memory, answers, wrong = _load(bench, contender, questions)
    counts = _settled(server, answers * EVENTS)
    accounted = sum(counts[name] for name in ("events_sent", "events_dropped", "queue_events"))
    bench.report.note(
        f"events: {answers * EVENTS:,} = {counts['events_sent']:,.0f} sent + "
        f"{counts['events_dropped']:,.0f} dropped + {counts['queue_events']:,.0f} waiting"
    )
    growth = memory[-1] / memory[FULL - 1]
    smoke = bench.scale.smoke
    seconds = f"{PARTS * _seconds(bench):.0f} s"
    bench.report.claim(
        f"memory after {seconds} without a sink / when the queue is full",
        "forest, c=8",
        Ratio(growth, growth, growth),
        most=None if smoke else GROWTH,
    )
    ratio = accounted / (answers * EVENTS)
    bench.report.claim(
        "events sent, dropped or waiting / events of all requests",
        "forest, c=8",
        Ratio(ratio, ratio, ratio),
        least=1,
        most=1,
    )
    bench.report.answers(answers, wrong + (ratio != 1))


def _load(
    bench: Bench, contender: Contender, questions: list[Question]
) -> tuple[list[float], int, int]:
    """Return readings of the memory, and how many answers came and how many were wrong."""
    memory, answers, wrong = [], 0, 0
    for part in range(PARTS):
        bench.status(f"no sink, part {part + 1} of {PARTS}, {wrong} wrong answers")
        found = closed_loop(contender.port, questions, 8, _seconds(bench))
        memory.append(contender.memory())
        answers, wrong = answers + len(found.times), wrong + found.wrong
    return memory, answers, wrong


def _seconds(bench: Bench) -> float:
    return bench.scale.seconds if bench.scale.smoke else MINUTE / PARTS


def _settled(server: Server, events: int) -> dict[str, float]:
    """Return the counts of events, once the sender has updated those that wait."""
    counts: dict[str, float] = {}
    for _ in range(100):
        counts = dict.fromkeys(("events_sent", "events_dropped", "queue_events"), 0.0)
        for name, value in _METRIC.findall(httpx.get(server.metrics).text):
            if name in counts:
                counts[name] += float(value)
        if sum(counts.values()) == events:
            break
        time.sleep(0.1)
    return counts
