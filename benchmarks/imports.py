"""What `import tempo_runtime` adds to a process that has imported mlserver, and what `--help` takes.

`python benchmarks/imports.py [--quick]`. Each import runs in new processes, in turns with a process
that imports mlserver only; a step's time is what `-X importtime` says of the modules it brought in.
A command's time is that on the clock, beside a Python that does nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

import tempo_runtime

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
TARGET = 150.0  # ms, on top of mlserver
HELP_TARGET = 300.0  # ms
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "tempo-runtime --help": [str(Path(sys.executable).with_name("tempo-runtime")), "--help"],
}
HEAVY = ("alibi", "sklearn", "kubernetes", "docker", "pandas", "grpc", "dill", "httpx", "torch")
STEPS = {
    "import tempo_runtime": "import tempo_runtime",
    "tempo_runtime.TempoPipelineRuntime": "import tempo_runtime; tempo_runtime.TempoPipelineRuntime",
    "every public name": "from tempo_runtime import *",
    "+ tempo_runtime.testing": "import tempo_runtime.testing",
}
# A mark on stderr parts what mlserver imports from what the step does.
PROGRAM = """
import json, sys
import mlserver
before = set(sys.modules)
print("MARK", file=sys.stderr, flush=True)
{step}
print(json.dumps(sorted(set(sys.modules) - before)))
"""
LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \| +(\S+)")


@dataclass
class Run:
    before: float  # ms, mlserver's share
    added: float  # ms, the step's
    modules: list[str]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three rounds instead of nine")
    rounds = 3 if parser.parse_args(argv).quick else 9
    console = Console()
    runs: dict[str, list[Run]] = {name: [] for name in STEPS}
    waits: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with console.status("") as status:
        for turn in range(rounds + 1):  # the first fills the caches
            status.update(f"round {turn} of {rounds}")
            for name, step in STEPS.items():
                found = _run(step)
                if turn:
                    runs[name].append(found)
            for name, command in COMMANDS.items():
                waited = _wait(command)
                if turn:
                    waits[name].append(waited)
    table = Table(
        "after `import mlserver`", "adds ms", "worst ms", "modules", "heavy, and only ours"
    )
    for name, found in runs.items():
        added = [run.added for run in found]
        modules = found[0].modules
        heavy = sorted({module.partition(".")[0] for module in modules} & set(HEAVY))
        cells = (f"{statistics.median(added):.0f}", f"{max(added):.0f}", str(len(modules)))
        table.add_row(name, *cells, ", ".join(heavy) or "none")
    console.print(table)
    mlserver = statistics.median(run.before for found in runs.values() for run in found)
    added = statistics.median(run.added for run in runs["every public name"])
    verdict = "below" if added < TARGET else "not below"
    console.print(
        f"tempo_runtime {tempo_runtime.__version__} adds {added:.0f} ms, all of it used, to mlserver's "
        f"{mlserver:.0f} ms: {verdict} {TARGET:g} ms."
    )
    pause, shown = (statistics.median(found) for found in waits.values())
    verdict = "below" if shown < HELP_TARGET else "not below"
    console.print(
        f"tempo-runtime --help takes {shown:.0f} ms (at worst {max(waits['tempo-runtime --help']):.0f}), "
        f"of which Python itself takes {pause:.0f} ms: {verdict} {HELP_TARGET:g} ms."
    )


def _wait(command: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, env=ENVIRONMENT, capture_output=True, check=True)
    return (time.perf_counter() - begin) * 1000


def _run(step: str) -> Run:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", PROGRAM.format(step=step)],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    before, _, after = done.stderr.partition("MARK\n")
    return Run(_milliseconds(before), _milliseconds(after), json.loads(done.stdout))


def _milliseconds(lines: str) -> float:
    return sum(int(match[1]) for match in LINE.finditer(lines)) / 1000


if __name__ == "__main__":
    main()
