"""What `import tempo_runtime` adds to a process that has imported mlserver, and what `--help` takes.

Each import runs in new processes; a step takes what `-X importtime` says of the modules it brought in.
A command's time is that on the clock, beside a Python that does nothing.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.harness.bench import Bench
from benchmarks.harness.turns import in_turns, ratio

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


def run(bench: Bench) -> None:
    report = bench.report
    rounds = min(9, bench.scale.rounds)
    steps = dict([*STEPS.items()][-1:]) if bench.scale.smoke else STEPS
    turns: dict[str, Callable[[], Run | float]] = {
        name: partial(_run, step) for name, step in steps.items()
    }
    turns |= {name: partial(_wait, command) for name, command in COMMANDS.items()}
    found = in_turns(turns, rounds)
    table: list[tuple[str, ...]] = []
    for name in steps:
        runs = found[name]
        added, modules = [run.added for run in runs], runs[0].modules
        heavy = sorted({module.partition(".")[0] for module in modules} & set(HEAVY))
        cells = (f"{statistics.median(added):.0f}", f"{max(added):.0f}", str(len(modules)))
        table.append((name, *cells, ", ".join(heavy) or "none"))
        shares = ratio([run.before + run.added for run in runs], [run.before for run in runs])
        report.claim(f"import mlserver, then {name} / import mlserver", "time", shares)
    heads = ("after `import mlserver`", "adds ms", "worst ms", "modules", "heavy, and only ours")
    report.table(heads, table)
    pause, shown = (found[name] for name in COMMANDS)
    report.claim(" / ".join(reversed(COMMANDS)), "time", ratio(shown, pause))
    if bench.scale.smoke:
        return
    added = statistics.median(run.added for run in found["every public name"])
    verdicts = {
        f"every public name adds {added:.0f} ms to mlserver": (added, TARGET),
        f"tempo-runtime --help takes {statistics.median(shown):.0f} ms": (
            statistics.median(shown),
            HELP_TARGET,
        ),
    }
    for what, (took, goal) in verdicts.items():
        report.note(f"{what}, goal below {goal:g} ms: {'met' if took < goal else 'missed'}")


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
