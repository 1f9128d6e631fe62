"""Software that cannot be installed beside MLServer 1.7, in virtual environments of its own.

They are made once in the folder that `TEMPO_INTEROP` names, so that later runs find them; without it
they last as long as the test run. A test is skipped where one cannot be installed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from tests.interop.clients import values

CLIENTS = Path(__file__).parent / "clients"
PACKAGES = {
    "kserve": ["kserve==0.21.0"],
    # It is of the time of pydantic 1, and of the last MLServer that had that.
    "tempo": ["mlops-tempo==0.5.2", "pydantic<2", "mlserver==1.5.0"],
}
_INSTALLED = ".installed"


def python_with(name: str, folder: Path) -> str:
    """A Python that has the packages; installs them if it must."""
    home = Path(os.environ.get("TEMPO_INTEROP", folder)) / f"{name}-{sys.version_info.minor}"
    python = home / "bin" / "python"
    if not (home / _INSTALLED).exists():
        shutil.rmtree(home, ignore_errors=True)
        uv = shutil.which("uv") or shutil.which("uv", path=os.path.dirname(sys.executable))
        venv.create(home, with_pip=uv is None, symlinks=True)
        install = [uv, "pip", "install", "--python"] if uv else []
        command = [*install, str(python)] if uv else [str(python), "-m", "pip", "install"]
        done = subprocess.run(
            [*command, "--quiet", *PACKAGES[name]], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"{name} cannot be installed: {done.stderr.strip()[-500:]}")
        (home / _INSTALLED).touch()
    return str(python)


def run(python: str, client: str, jobs: list[dict[str, Any]], *arguments: str) -> list[Any]:
    """Gives jobs to a client, and what it made of each: a value, or an error's text."""
    done = subprocess.run(
        [python, str(CLIENTS / client), *arguments],
        input=json.dumps([values.dump(job) for job in jobs]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    return [
        values.load(answer["value"]) if "value" in answer else answer["error"] for answer in answers
    ]
