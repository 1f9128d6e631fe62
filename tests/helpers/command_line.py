"""The command line, as its user calls it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
from click.testing import CliRunner

from tempo_runtime.cli import main
from tests.helpers.remaining import left


def run(*arguments: object, stdin: str | None = None) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `tempo-runtime ARGUMENTS`."""
    done = CliRunner().invoke(main, [str(each) for each in arguments], input=stdin)
    return done.exit_code, done.stdout, done.stderr


class Serving:
    """Run `tempo-runtime serve` in a process, with its own temporary folder."""

    def __init__(self, folder: Path, *arguments: str, cwd: Path | None = None) -> None:
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self._printed, self._told = folder / "printed", folder / "told"
        environment = {**os.environ, "TMPDIR": str(self.temporary), "COLUMNS": "200"}
        code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        code += "from tempo_runtime.cli import main; main()"
        with self._printed.open("wb") as printed, self._told.open("wb") as told:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, "serve", *arguments],
                cwd=cwd,
                env=environment,
                stdout=printed,
                stderr=told,
            )

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.left():
            process.kill()
        self.process.wait()

    def printed(self) -> str:
        return self._printed.read_text()

    def told(self) -> str:
        return self._told.read_text()

    def wait_for(self, words: str) -> None:
        while words not in self.printed():
            assert self.process.poll() is None, self.told()
            time.sleep(0.05)

    def stop(self, sent: signal.Signals) -> int:
        self.process.send_signal(sent)
        return self.process.wait()

    def left(self) -> list[psutil.Process]:
        return left("TMPDIR", str(self.temporary))
