"""List the benchmarks, or run some: `python -m benchmarks [NAME ...] [--quick|--smoke]`."""

from __future__ import annotations

import argparse
import ast
import importlib
import shlex
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.harness.bench import FULL, QUICK, SMOKE, Bench
from benchmarks.harness.report import Report

HERE = Path(__file__).parent


def _benchmarks() -> dict[str, str]:
    """Return the modules here that have a function `run`, with what each measures."""
    found = {}
    for file in sorted(HERE.glob("*.py")):
        module = ast.parse(file.read_text())
        names = {part.name for part in module.body if isinstance(part, ast.FunctionDef)}
        if "run" in names:
            found[file.stem] = (ast.get_docstring(module) or "").partition("\n")[0]
    return found


BENCHMARKS = _benchmarks()


def _known(name: str) -> str:
    if name not in BENCHMARKS:
        raise argparse.ArgumentTypeError(
            f"there is no benchmark {name!r}; there are {', '.join(BENCHMARKS)}"
        )
    return name


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the arguments say; return 1 if an answer was wrong, and 0 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", type=_known, metavar="NAME")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a short run, and a rough answer")
    size.add_argument("--smoke", action="store_true", help="whether it runs; measures nothing")
    parser.add_argument("--only", nargs="+", metavar="SECTION", help="sections of a benchmark")
    options = parser.parse_args(argv)
    report = Report()
    if not options.names:
        report.listing(BENCHMARKS)
    for name in options.names:
        only = tuple(options.only or ())
        flags = [*(("--only", *only) if only else ()), *(("--quick",) if options.quick else ())]
        report.begin(shlex.join(["python", "-m", "benchmarks", name, *flags]))
        scale = SMOKE if options.smoke else QUICK if options.quick else FULL
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tempo-benchmark-"))
            status = stack.enter_context(report.console.status("importing"))
            bench = Bench(scale, report, stack, Path(folder), only, status.update)
            importlib.import_module(f"benchmarks.{name}").run(bench)
        if not options.smoke:
            report.rows()
    return 1 if report.wrong else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that servers end too
    sys.exit(main())
