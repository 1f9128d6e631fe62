"""Whether explanations leave anything behind: many of them, and what the server's memory does.

`python benchmarks/soak.py [--count 2000]`. The income explainer with its classifier in its process is
asked by four clients for the test rows, one after the other and again from the first. After each 50,
when all are answered, the memory it holds is read. The exit status is 1 where one fails.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import psutil
from income import EXPLAINER, Rows, census_rows, explain, serving
from rich.console import Console

from tempo_runtime.testing import Server

CLIENTS = 4
EVERY = 50  # explanations, between two readings
SETTLED = 200  # explanations after which memory should not grow
ROWS = 100  # test rows, explained in turn
THRESHOLD = 0.95
WIDTH, HEIGHT = 80, 10  # characters of the curve
EIGHTHS = " ▁▂▃▄▅▆▇█"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="explanations (2000)")
    count = parser.parse_args(argv).count
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the server ends too
    console = Console()
    errors: list[str] = []
    with console.status("reading the census") as status:
        rows = census_rows()
        status.update("starting the server")
        with serving(EXPLAINER, child={"TRANSPORT": "in_process"}) as server:
            process = psutil.Process(server.process.pid)
            memory = {0: process.memory_info().rss / 1e6}
            begin = time.monotonic()
            for done in range(0, count, EVERY):
                status.update(f"{done} of {count} explanations, {len(errors)} errors")
                last = min(done + EVERY, count)
                errors += _errors(server, rows, range(done, last))
                memory[last] = process.memory_info().rss / 1e6
            seconds = time.monotonic() - begin
    console.print("\n".join(_curve(list(memory.values()))), markup=False, highlight=False)
    console.print(f"{count} explanations in {seconds:.0f} s, {len(errors)} errors")
    for error in errors[:5]:
        console.print(error, markup=False)
    settled = [number for number in memory if number >= SETTLED]
    if len(settled) > 1:
        first, last = memory[settled[0]], memory[settled[-1]]
        console.print(
            f"memory held: {memory[0]:.0f} MB at the start, {first:.0f} MB after {settled[0]} "
            f"explanations, {last:.0f} MB after {settled[-1]}: it grew by {last - first:+.1f} MB"
        )
    else:
        console.print(f"too few to say whether memory grows after the first {SETTLED}")
    sys.exit(1 if errors else 0)


def _errors(server: Server, rows: Rows, numbers: range) -> list[str]:
    def error(number: int) -> str:
        try:
            explain(server, rows, number % ROWS, THRESHOLD)
        except Exception as failed:  # whatever it is, there is no explanation
            return f"row {number % ROWS}: {failed}"
        return ""

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


if __name__ == "__main__":
    main()
