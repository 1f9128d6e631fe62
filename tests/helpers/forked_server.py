"""Run code in a process that knows nothing of the tests, without importing the package each time.

A process that has imported only what loading an artifact imports forks for each run.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import subprocess
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import Any, NamedTuple

_PARENT = """\
import sys
sys.path.append(sys.argv[1])
from tests.helpers.forked_server import serve
sys.path.pop()
serve()
"""


class Ended(NamedTuple):
    """How a run ended: its exit status, and what it printed."""

    status: int
    stdout: str
    stderr: str


def run(code: str, *arguments: Any, cwd: Path) -> Ended:
    """Run code as `python -W error -c CODE ARGUMENT...` does."""
    with tempfile.TemporaryDirectory() as place:
        asked = {
            "code": code,
            "argv": ["-c", *map(str, arguments)],
            "cwd": str(cwd),
            "place": place,
        }
        parent = _parent()
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(json.dumps({**asked, "environment": _environment()}) + "\n")
        parent.stdin.flush()
        status = int(parent.stdout.readline())
        return Ended(status, *(Path(place, name).read_text() for name in ("stdout", "stderr")))


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@functools.cache
def _parent() -> subprocess.Popen[str]:
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-W", "error", "-c", _PARENT, root]
    parent = subprocess.Popen(
        command,
        cwd="/",
        env=_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def end() -> None:
        parent.communicate()

    atexit.register(end)
    return parent


def serve() -> None:
    """Fork for each line of the standard input, and print the exit status of each fork."""
    import numpy  # noqa: F401

    import tempo_runtime.artifact.store
    import tempo_runtime.execution.loading  # noqa: F401

    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    for line in sys.stdin:
        asked = json.loads(line)
        sys.stdout.flush()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy has threads, which do nothing now
            child = os.fork()
        if not child:
            _become(**asked)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(code: str, argv: list[str], cwd: str, place: str, environment: dict[str, str]) -> None:
    status = 0
    try:
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(cwd)
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(
                os.open(os.path.join(place, name), os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number
            )
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv[:] = argv
        exec(compile(code, "<string>", "exec"), vars(sys.modules["__main__"]))
    except SystemExit as ended:
        status = int(ended.code or 0) if not isinstance(ended.code, str) else 1
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
