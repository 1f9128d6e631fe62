"""Follow a page as its reader does: write its files, and run its commands in their order.

A block of Python that begins with `# NAME.py` is that file, and a block of CSV belongs to a file that the
line before it names. A block of bash is run, and has to print the block of text after it. `tempo-runtime
serve` goes on in the background, on a free port, until the page says to stop it or the walk ends.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tempo_runtime._util.http_request import request
from tests.helpers.command_line import Serving

DEFAULT = "http://127.0.0.1:8080"
_BLOCK = re.compile(
    r"^```(\w+)\n(.*?)^```\n(?:\n```(?:text|json)\n(.*?)^```)?", re.DOTALL | re.MULTILINE
)
_SERVE = "tempo-runtime serve "


@dataclass
class Walkthrough:
    """A reader of a page, in a folder.

    Attributes:
        folder: The reader's folder.
        skipped: What commands that are not run begin with.
        url: Where the reader's server is.
        seconds: Each command that was run, and how long it took.
    """

    folder: Path
    skipped: tuple[str, ...] = ("pip install", "python3 -m venv", "mkdir -p ~")
    url: str = DEFAULT
    seconds: list[tuple[str, float]] = field(default_factory=list)
    _serving: Serving | None = None

    def __enter__(self) -> Walkthrough:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if any(command.startswith("tempo-runtime deploy") for command, _ in self.seconds):
            for deployment in json.loads(shell("tempo-runtime ps --json", self.folder)):
                if deployment["target"] == "process":  # of this folder's records
                    shell(f"tempo-runtime undeploy {deployment['id']}", self.folder)

    def follow(self, page: str) -> None:
        """Follow the page to its end."""
        for language, text, shown in _BLOCK.findall(page):
            if language == "python":
                (self.folder / text.split()[1]).write_text(text)
            elif language == "bash" and not text.startswith(self.skipped):
                self.run(text, shown)

    def run(self, command: str, shown: str = "") -> None:
        """Run one block, and compare what it prints."""
        begun = time.monotonic()
        if command.startswith(_SERVE):
            self.stop()
            self._serve(command)
        else:
            printed = shell(command.replace(DEFAULT, self.url), self.folder)
            printed = printed.replace(self.url, DEFAULT)
            assert re.search(_pattern(shown), printed), f"{command}{printed}"
        self.seconds.append((command.splitlines()[0], time.monotonic() - begun))

    def stop(self) -> None:
        """Stop the reader's server, if there is one."""
        serving, self._serving, self.url = self._serving, None, DEFAULT
        if serving is not None:
            serving.__exit__()

    def _serve(self, command: str) -> None:
        arguments = command.split()[2:]
        place = self.folder / f"served-{len(self.seconds)}"
        place.mkdir()
        serving = self._serving = Serving(place, *arguments, "--port", "0", cwd=self.folder)
        serving.wait_for("Ctrl-C stops the server")
        (self.url,) = re.findall(r"ready at (\S+)", serving.printed())

    def metrics(self) -> str:
        """Return what the reader's server has counted."""
        assert self._serving is not None
        (url,) = re.findall(r"metrics at (\S+)", self._serving.printed())
        return request(url, 5).body.decode()

    def stopwatch(self) -> str:
        """Return how long each step took, and all of them together."""
        lines = [f"{seconds:6.1f} s  {command}" for command, seconds in self.seconds]
        total = sum(seconds for _, seconds in self.seconds)
        return "\n".join([*lines, f"{total:6.1f} s  in all"])


def _pattern(shown: str) -> str:
    """Return a pattern of what a page shows, in which `...` stands for any text in a line."""
    return re.escape(shown.strip()).replace(r"\.\.\.", ".*")


def shell(line: str, folder: Path) -> str:
    """Run a line of bash with this environment's commands, and return what it prints."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "XDG_STATE_HOME": str(folder / "state"),
    }
    done = subprocess.run(
        ["bash", "-ec", line],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{line}{done.stdout}{done.stderr}"
    return done.stdout
