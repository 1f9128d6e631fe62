"""Explanations by the thousand: errors, and the memory that the server holds.

The income explainer with its classifier in its process is asked by four clients for the test rows, one
after the other and again from the first. After each 50, when all are answered, the memory it holds is
read. An answer is wrong if it differs from the first one for the same row.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import psutil

from benchmarks.harness.bench import Bench
from benchmarks.harness.income import EXPLAINER, Rows, census_rows, explain, serving
from benchmarks.harness.turns import Ratio
from tempo_runtime.testing import Server

CLIENTS = 4
EVERY = 50  # explanations, between two readings
SETTLED = 200  # explanations after which memory should not grow
ROWS = 100  # test rows, explained in turn
THRESHOLD = 0.95
GROWTH = 1.05
WIDTH, HEIGHT = 80, 10  # characters of the curve
EIGHTHS = " ▁▂▃▄▅▆▇█"


def run(bench: Bench) -> None:
    count = 4 if bench.scale.smoke else 400 if bench.scale.brief else 2000
    every, settled = (2, 2) if bench.scale.smoke else (EVERY, SETTLED)
    errors: list[str] = []
    known: dict[int, str] = {}
    rows = census_rows()
    with serving(EXPLAINER, child={"TRANSPORT": "in_process"}) as server:
        process = psutil.Process(server.process.pid)
        memory = {0: process.memory_info().rss / 1e6}
        for done in range(0, count, every):
            bench.status(f"{done} of {count} explanations, {len(errors)} errors")
            errors += _errors(server, rows, range(done, done + every), known)
            memory[done + every] = process.memory_info().rss / 1e6
    bench.report.note("\n".join(_curve(list(memory.values()))))
    for error in errors[:5]:
        bench.report.note(error)
    ratios = [held / memory[settled] for done, held in memory.items() if done >= settled]
    growth = Ratio(ratios[-1], min(ratios), max(ratios))
    what = f"memory after {count:,} explanations / after {settled}"
    most = None if bench.scale.smoke else GROWTH
    bench.report.claim(what, "in process", growth, most=most)
    bench.report.answers(count, len(errors))


def _errors(server: Server, rows: Rows, numbers: range, known: dict[int, str]) -> list[str]:
    def error(number: int) -> str:
        row = number % ROWS
        try:
            anchor = json.loads(explain(server, rows, row, THRESHOLD))["data"]["anchor"]
        except Exception as failed:  # each failure counts as a missing explanation
            return f"row {row}: {failed}"
        expected = known.setdefault(row, anchor)
        return "" if anchor == expected else f"row {row}: {anchor}, not {expected}"

    with ThreadPoolExecutor(CLIENTS) as clients:
        return [text for text in clients.map(error, numbers) if text]


def _curve(values: list[float]) -> list[str]:
    """Lines of text: values as columns, from a scale's bottom to its top."""
    shown = values[:: -(-len(values) // WIDTH)]
    low, high = min(shown), max(shown)
    steps = [round((value - low) / (high - low or 1) * (HEIGHT * 8 - 1)) + 1 for value in shown]
    lines = []
    for line in reversed(range(HEIGHT)):
        scale = {HEIGHT - 1: f"{high:.0f} MB", 0: f"{low:.0f} MB"}.get(line, "")
        columns = (EIGHTHS[min(8, max(0, step - 8 * line))] for step in steps)
        lines.append(f"{scale:>8} |{''.join(columns)}")
    return [*lines, f"{'':>8} +{'-' * len(shown)}", f"{'':>10}a column each {EVERY} explanations"]
