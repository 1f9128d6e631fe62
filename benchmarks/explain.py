"""Anchors of the income example: how fast, and whether they are alibi's own.

Each row's number is its seed. They are explained by alibi alone with the model in its process (the
yardstick, its `explain` timed and nothing else), by MLServer's alibi-explain runtime, by a runtime
written by hand, and by ours. The servers are called over HTTP, and the classifier has its own server,
except for ours that run it in their process. Those that are not ours call one that only scikit-learn
computes. In the section `speed` they take turns row by row. In the section `right`, several clients ask
ours at the same time, and each explanation is compared with alibi's.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.util import find_spec

import numpy as np

from benchmarks.harness.bench import Bench
from benchmarks.harness.explainers import (
    HTTP,
    IN_PROCESS,
    AlibiExplain,
    Alone,
    ByHand,
    Explained,
    Explainer,
    Ours,
    alibi_explain,
    alone,
    by_hand,
    children,
    essence,
)
from benchmarks.harness.income import CLASSIFIER, EXPLAINER, Rows, census_rows, explain, serving
from benchmarks.harness.servers import ENVIRONMENT
from benchmarks.harness.turns import Ratio
from tempo_runtime.testing import Server, serve

ALONE, THEIRS, BY_HAND = "alibi alone", "alibi-explain", "by hand, HTTP"
GOALS = {IN_PROCESS: 0.20, HTTP: 0.40}  # total time, of that of alibi alone
CLIENTS, WORKERS = (1, 4, 8), (0, 2)
Cases = list[tuple[int, float]]  # rows and thresholds
RIGHT = 1000  # explanations that the section `right` compares
Made = dict[str, list[Explained]]  # by explainer; one for each case


@dataclass
class Task:
    """The explanations to make, and their yardstick.

    Attributes:
        rows: The test rows.
        cases: Which of them, and at which thresholds.
        classifier: A server of the classifier.
        alone: alibi by itself.
    """

    rows: Rows
    cases: Cases
    classifier: Server
    alone: Alone


def run(bench: Bench) -> None:
    rows = census_rows()
    count, thresholds = (10, (0.95,)) if bench.scale.brief else (100, (0.90, 0.95, 0.99))
    if bench.scale.smoke:
        count, thresholds = 2, (0.90,)
    bench.status("starting the classifier, and alibi")
    classifier = bench.stack.enter_context(serving(CLASSIFIER))
    cases = list(itertools.product(range(count), thresholds))
    task = Task(rows, cases, classifier, bench.stack.enter_context(alone(rows)))
    if bench.wants("speed"):
        speed(bench, task)
    if bench.wants("right") and not bench.scale.smoke:
        if not bench.scale.brief:
            many = itertools.product(range(RIGHT), thresholds)
            task = replace(task, cases=list(itertools.islice(many, RIGHT)))
        right(bench, task)


def speed(bench: Bench, task: Task) -> None:
    """Measure the time of each explainer."""
    made: Made = {}
    with ExitStack() as stack:
        explainers = _start(bench, task, stack)
        for explainer in explainers.values():  # the first warms up
            explainer.explain(*task.cases[0])
        for done, case in enumerate(task.cases):
            bench.status(f"{done} of {len(task.cases)} explanations")
            for name in random.sample(list(explainers), len(explainers)):
                made.setdefault(name, []).append(explainers[name].explain(*case))
    yardstick = made[ALONE]
    table = [(name, *_cells(made[name], yardstick)) for name in explainers]
    bench.report.table(("", "p50 ms", "p95 ms", "ratio", "calls", "rows", "same"), table)
    where = f"{len(task.cases)} explanations"
    bench.report.note(
        "ratio: the total time, of that of alibi alone, and the quartiles of each explanation's; "
        "calls and rows: those to the classifier; '-': not counted, or without a seed."
    )
    for name in (name for name in explainers if name != ALONE):
        goal = None if bench.scale.smoke else GOALS.get(name)
        bench.report.claim(
            f"time of {name} / {ALONE}", where, _ratio(made[name], yardstick), most=goal
        )
    ours = [name for name in explainers if name in (BY_HAND, *children(task.classifier))]
    bench.report.answers(
        len(ours) * len(task.cases),
        sum(len(task.cases) - _same(made[name], yardstick) for name in ours),
    )


def _start(bench: Bench, task: Task, stack: ExitStack) -> dict[str, Explainer]:
    rows = task.rows
    explainers: dict[str, Explainer] = {ALONE: task.alone}
    ours = children(task.classifier)
    if bench.scale.smoke:
        ours = {IN_PROCESS: ours[IN_PROCESS]}
    else:
        # Without this package, only scikit-learn computes it.
        plain = serving(CLASSIFIER, extra={"fast_sklearn": False})
        classifier = stack.enter_context(plain)
        if find_spec("mlserver_alibi_explain"):
            server = stack.enter_context(serve(alibi_explain(bench.folder, classifier)))
            explainers[THEIRS] = AlibiExplain(server, rows, classifier)
        else:
            bench.report.note(f"without {THEIRS}: mlserver_alibi_explain is not installed")
        server = stack.enter_context(serve(by_hand(bench.folder, classifier), env=ENVIRONMENT))
        explainers[BY_HAND] = ByHand(server, rows)
    for name, child in ours.items():
        bench.status(f"starting {name}")
        explainers[name] = Ours(stack.enter_context(serving(EXPLAINER, child=child)), rows)
    return explainers


def _cells(made: list[Explained], yardstick: list[Explained]) -> list[str]:
    median, p95 = np.percentile([1000 * each.seconds for each in made], (50, 95))
    return [
        f"{median:.0f}",
        f"{p95:.0f}",
        str(_ratio(made, yardstick)),
        _sum(each.calls for each in made),
        _sum(each.rows for each in made),
        "-" if made[0].essence is None else str(_same(made, yardstick)),
    ]


def _ratio(made: list[Explained], yardstick: list[Explained]) -> Ratio:
    ours, theirs = (np.array([each.seconds for each in one]) for one in (made, yardstick))
    low, high = np.percentile(ours / theirs, (25, 75))
    return Ratio(ours.sum() / theirs.sum(), low, high)


def _same(made: list[Explained], yardstick: list[Explained]) -> int:
    return sum(each.essence == other.essence for each, other in zip(made, yardstick))


def _sum(counts: Iterable[int | None]) -> str:
    known = [count for count in counts if count is not None]
    return f"{sum(known):,}" if known else "-"


def right(bench: Bench, task: Task) -> None:
    """Count the explanations of ours that are identical to those of alibi alone."""
    for done, case in enumerate(task.cases):
        bench.status(f"{ALONE}: {done} of {len(task.cases)}")
        task.alone.essence(*case)
    table: list[tuple[str, ...]] = []
    compared = wrong = 0
    ways = children(task.classifier)
    for name, count in itertools.product((IN_PROCESS, HTTP), WORKERS):
        child = ways[name]
        with serving(EXPLAINER, child=child, workers=count) as server:
            for clients in CLIENTS:
                bench.status(f"{name}: {count} workers, {clients} clients")
                faults = _faults(task, server, clients)
                for fault in faults[:3]:
                    bench.report.note(f"wrong, {name}, {count} workers: {fault}")
                identical = len(task.cases) - len(faults)
                table.append(
                    (name, f"{count}", f"{clients}", f"{identical:,} of {len(task.cases):,}")
                )
                compared += len(task.cases)
                wrong += len(faults)
    bench.report.table(("classifier", "workers", "clients", "identical"), table)
    bench.report.answers(compared, wrong)


def _faults(task: Task, server: Server, clients: int) -> list[str]:
    def fault(case: tuple[int, float]) -> str:
        number, threshold = case
        try:
            found = essence(explain(server, task.rows, number, threshold))
        except Exception as error:  # each failure counts as a missing explanation
            return f"row {number} at {threshold}: {error}"
        expected = task.alone.essence(number, threshold)
        return "" if found == expected else f"row {number} at {threshold}: {found}, not {expected}"

    with ThreadPoolExecutor(clients) as pool:
        return [text for text in pool.map(fault, task.cases) if text]
