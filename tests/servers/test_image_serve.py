"""The image's program that starts MLServer: what it ends with, and what it does with signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

FILES = Path(__file__).parents[2] / "images/server"
# A stand-in for MLServer: it reports when it may be stopped, and which signal stopped it.
WAITING = """\
trap 'echo ended by TERM; exit 0' TERM
trap 'echo ended by INT; exit 0' INT
echo started
while :; do sleep 0.05; done
"""


class Image:
    """The image's program with its environment, and a program that stands for MLServer."""

    def __init__(self, folder: Path) -> None:
        self.models = folder / "models"
        self.models.mkdir()
        self._programs = folder / "programs"
        self._programs.mkdir()
        self._environment = {
            "HOME": str(folder),
            "PATH": f"{self._programs}:{Path(sys.executable).parent}:/usr/bin:/bin",
            "PYTHONPATH": str(FILES / "shim"),
            "MLSERVER_MODELS_DIR": str(self.models),
            "MLSERVER_ENV_TARBALL": str(self.models / "environment.tar.gz"),
        }

    def mlserver(self, text: str) -> None:
        self.program("mlserver", text)

    def program(self, name: str, text: str) -> None:
        program = self._programs / name
        program.write_text(f"#!/bin/bash\n{text}")
        program.chmod(0o755)

    def start(self) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(
            ["bash", str(FILES / "serve")],
            cwd=self.models.parent,
            env=self._environment,
            text=True,
            start_new_session=True,
            # Where the tests run in the background it is ignored, and bash cannot trap it then.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            **pipes,  # type: ignore[call-overload]
        )

    def run(self) -> tuple[int, str]:
        """Its status and what it printed."""
        with self.start() as process:
            text, _ = process.communicate(timeout=60)
        return process.returncode, text


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return Image(tmp_path)


@pytest.fixture
def running(image: Image) -> Iterator[subprocess.Popen[str]]:
    """A server that waits to be told to end."""
    image.mlserver(WAITING)
    with image.start() as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        yield process
        process.kill()


@pytest.mark.parametrize(("status", "expected"), [(0, 1), (1, 1), (137, 137)])
def test_a_server_that_ends_by_itself_has_failed(image: Image, status: int, expected: int) -> None:
    image.mlserver(f"echo no rate for south; exit {status}")
    assert image.run() == (
        expected,
        f"no rate for south\ntempo-serve: the server ended by itself, with status {status}\n",
    )


def test_a_server_that_is_killed_ends_with_the_signals_status(image: Image) -> None:
    image.mlserver("kill -KILL $$")
    assert image.run()[0] == 128 + signal.SIGKILL


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_asked_to_end_ends_with_0(
    running: subprocess.Popen[str], told: signal.Signals
) -> None:
    running.send_signal(told)
    text, _ = running.communicate(timeout=60)
    assert text == "ended by TERM\n"
    assert running.returncode == 0


def test_it_waits_for_a_server_that_needs_time_to_end(image: Image) -> None:
    image.mlserver(WAITING.replace("echo ended", "sleep 0.3; echo ended", 1))
    with image.start() as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
        text, _ = process.communicate(timeout=60)
    assert text == "ended by TERM\n"
    assert process.returncode == 0


def packed(image: Image, python: str) -> None:
    """Put an environment beside the models whose `python` is a link to a path."""
    folder = image.models / "environment"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/activate").write_text("")
    (folder / "bin/python").symlink_to(python)
    with tarfile.open(image.models / "environment.tar.gz", "w:gz") as archive:
        archive.add(folder, ".")


def test_an_environment_whose_python_does_not_start_is_reported(image: Image) -> None:
    image.mlserver("echo started")
    packed(image, "/usr/local/bin/python3.99")
    status, text = image.run()
    assert status == 1
    assert text == (
        "tempo-serve: the Python of environment.tar.gz (/usr/local/bin/python3.99) does not start in "
        "this image: No such file or directory; pack the environment with the minor version of the "
        "image's Python, or with conda.yaml, which packs a Python too\n"
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            b"<html>",
            "cannot be unpacked (gzip: stdin: not in gzip format); save and upload the artifact",
        ),
        (None, "has no bin/activate; pack the environment with"),
    ],
)
def test_an_unusable_environment_is_reported(
    image: Image, content: bytes | None, told: str
) -> None:
    image.mlserver("echo started")
    packed(image, os.path.realpath(sys.executable))
    tarball = image.models / "environment.tar.gz"
    if content is None:
        with tarfile.open(tarball, "w:gz"):
            pass
    else:
        tarball.write_bytes(content)
    status, text = image.run()
    assert status == 1
    assert text.startswith(f"tempo-serve: environment.tar.gz {told}"), text
    assert text.count("\n") == 1


def test_it_ends_at_once_while_the_environment_is_unpacked(image: Image) -> None:
    image.mlserver("echo started")
    (image.models / "environment.tar.gz").write_bytes(b"")
    image.program("tar", "echo unpacking; exec sleep 100")
    with image.start() as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "unpacking\n"
        process.send_signal(signal.SIGTERM)
        text, _ = process.communicate(timeout=60)
    assert (process.returncode, text) == (0, "")


def test_a_library_that_crashes_leaves_the_line_of_the_code(image: Image) -> None:
    image.mlserver("exec python -c 'import ctypes; ctypes.string_at(0)'")
    status, text = image.run()
    assert status == 128 + signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in text
    assert 'File "<string>", line 1 in <module>' in text


def test_an_environment_whose_python_starts_is_used(image: Image) -> None:
    image.mlserver("echo started; exit 3")
    packed(image, os.path.realpath(sys.executable))
    status, text = image.run()
    assert text.startswith("started\n"), text
    assert status == 3
