"""Anchors of the income example: how fast, whether right, and what else the server does meanwhile.

`python benchmarks/explain.py [--quick] [--rows 100] [--only speed|right|workers|queue]`. The first 100
test rows at three thresholds, each row's number its seed. They are explained by alibi alone with the
model in its process (the yardstick, its `explain` timed and nothing else), by MLServer's alibi-explain
runtime, by a runtime written by hand, and by ours. The servers are called over HTTP, and the classifier
has its own server, except for ours that run it in their process. They take turns row by row, in another
order each, so that the machine's noise falls on all alike. The exit status is 1 where an explanation is
wrong.
"""

from __future__ import annotations

import argparse
import itertools
import random
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from explainers import (
    BY_SKLEARN,
    IN_PROCESS,
    AlibiExplain,
    Bench,
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
from income import CLASSIFIER, EXPLAINER, census_rows, explain, serving
from rich.console import Console
from rich.table import Table
from together import queue, workers

from tempo_runtime.testing import Server, serve

ALONE, THEIRS, BY_HAND = "alibi alone", "alibi-explain", "by hand, HTTP"
# Targets: our total time, of alibi's alone, by how the classifier is reached.
OF_ALONE, OF_ALONE_REMOTE = {IN_PROCESS: 0.2, BY_SKLEARN: 0.5}, 0.4
TIMES_THEIRS = 2.0  # target: how much faster than the alibi-explain runtime
CLIENTS, WORKERS = (1, 2, 4, 8), (0, 2)
Made = dict[tuple[str, float], list[Explained]]  # by explainer and threshold, a row each


def main(argv: Sequence[str] | None = None) -> None:
    sections: dict[str, Callable[[Bench], int | None]]
    sections = {"speed": speed, "right": right, "workers": workers, "queue": queue}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10 rows, one threshold")
    parser.add_argument("--rows", type=int, help="how many rows")
    parser.add_argument("--only", choices=sections, help="one section")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers end too
    console = Console()
    with ExitStack() as stack, console.status("reading the census") as status:
        rows = census_rows()
        status.update("starting the classifier, and alibi")
        bench = Bench(
            rows=rows,
            count=options.rows or (10 if options.quick else 100),
            thresholds=(0.95,) if options.quick else (0.90, 0.95, 0.99),
            rounds=1 if options.quick else 3,
            classifier=stack.enter_context(serving(CLASSIFIER)),
            alone=stack.enter_context(alone(rows)),
            console=console,
            status=status,
        )
        chosen = [options.only] if options.only else list(sections)
        wrong = sum(sections[name](bench) or 0 for name in chosen)
    sys.exit(1 if wrong else 0)


def speed(bench: Bench) -> None:
    """Measure the time of each explainer."""
    made: Made = {}
    with ExitStack() as stack:
        bench.status.update("starting the servers")
        explainers = _start(bench, stack)
        for explainer in explainers.values():  # the first warms up
            explainer.explain(0, bench.thresholds[0])
        for threshold, number in itertools.product(bench.thresholds, range(bench.count)):
            bench.status.update(f"threshold {threshold}, row {number + 1} of {bench.count}")
            for name in random.sample(list(explainers), len(explainers)):
                each = explainers[name].explain(number, threshold)
                made.setdefault((name, threshold), []).append(each)
    for threshold in bench.thresholds:
        heads = ("p50 ms", "p95 ms", "sum s", "ratio", "calls", "rows", "same")
        table = Table(f"threshold {threshold:.2f}", *heads)
        for name in explainers:
            table.add_row(name, *_cells(made[name, threshold], made[ALONE, threshold]))
        bench.console.print(table)
    bench.console.print(
        f"ratio: the sum, of {ALONE}'s; calls and rows: those to the classifier; same: how many "
        f"have the anchor, precision and coverage of {ALONE}'s; '-': not counted, or not seeded."
    )
    totals = {
        name: sum(_total(made[name, each]) for each in bench.thresholds) for name in explainers
    }
    for name in children(bench.classifier):
        target = OF_ALONE.get(name, OF_ALONE_REMOTE)
        ratio = totals[name] / totals[ALONE]
        what = f"ours, {name}: total time, of {ALONE}'s"
        bench.verdict(what, f"{ratio:.2f}", f"{target}", met=ratio <= target)
        if THEIRS in totals:
            times = totals[THEIRS] / totals[name]
            what = f"ours, {name}: times as fast as {THEIRS}"
            bench.verdict(what, f"{times:.1f}", f"{TIMES_THEIRS:g}", met=times >= TIMES_THEIRS)


def _start(bench: Bench, stack: ExitStack) -> dict[str, Explainer]:
    root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tempo-explain-")))
    rows, classifier = bench.rows, bench.classifier
    explainers: dict[str, Explainer] = {ALONE: bench.alone}
    if find_spec("mlserver_alibi_explain"):
        server = stack.enter_context(serve(alibi_explain(root, classifier)))
        explainers[THEIRS] = AlibiExplain(server, rows, classifier)
    else:
        bench.console.print(f"without {THEIRS}: mlserver_alibi_explain is not installed")
    path = {"PYTHONPATH": str(Path(__file__).parent)}
    server = stack.enter_context(serve(by_hand(root, classifier), env=path))
    explainers[BY_HAND] = ByHand(server, rows)
    for name, child in children(classifier).items():
        explainers[name] = Ours(stack.enter_context(serving(EXPLAINER, child=child)), rows)
    return explainers


def _cells(made: list[Explained], yardstick: list[Explained]) -> list[str]:
    median, p95 = np.percentile([1000 * each.seconds for each in made], (50, 95))
    total = _total(made)
    same = sum(each.essence == other.essence for each, other in zip(made, yardstick))
    return [
        f"{median:.0f}",
        f"{p95:.0f}",
        f"{total:.1f}",
        f"{total / _total(yardstick):.2f}",
        _sum(each.calls for each in made),
        _sum(each.rows for each in made),
        "-" if made[0].essence is None else f"{same}",
    ]


def _total(made: list[Explained]) -> float:
    return sum(each.seconds for each in made)


def _sum(counts: Iterable[int | None]) -> str:
    known = [count for count in counts if count is not None]
    return f"{sum(known):,}" if known else "-"


def right(bench: Bench) -> int:
    """Whether each explanation of ours is alibi's own; how many are not."""
    cases = list(itertools.product(range(bench.count), bench.thresholds))
    for done, case in enumerate(cases):
        bench.status.update(f"{ALONE}: {done} of {len(cases)}")
        bench.alone.essence(*case)
    table = Table("classifier", "workers", "clients", "compared", "wrong")
    compared = wrong = 0
    for (name, child), count in itertools.product(children(bench.classifier).items(), WORKERS):
        with serving(EXPLAINER, child=child, workers=count) as server:
            for clients in CLIENTS:
                bench.status.update(f"{name}: {count} workers, {clients} clients")
                faults = _faults(bench, server, cases, clients)
                for fault in faults[:3]:
                    bench.console.print(f"wrong, {name}, {count} workers: {fault}", markup=False)
                table.add_row(name, f"{count}", f"{clients}", f"{len(cases)}", f"{len(faults)}")
                compared += len(cases)
                wrong += len(faults)
        table.add_section()
    bench.console.print(table)
    what = f"wrong, of {compared:,} explanations compared with {ALONE}'s"
    bench.verdict(what, f"{wrong}", "0", met=not wrong)
    return wrong


def _faults(
    bench: Bench, server: Server, cases: list[tuple[int, float]], clients: int
) -> list[str]:
    def fault(case: tuple[int, float]) -> str:
        number, threshold = case
        try:
            found = essence(explain(server, bench.rows, number, threshold))
        except Exception as error:  # whatever it is, there is no explanation
            return f"row {number} at {threshold}: {error}"
        expected = bench.alone.essence(number, threshold)
        return "" if found == expected else f"row {number} at {threshold}: {found}, not {expected}"

    with ThreadPoolExecutor(clients) as pool:
        return [text for text in pool.map(fault, cases) if text]


if __name__ == "__main__":
    main()
