"""`make demo`: what a person sees, and that nothing of it stays."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.helpers.income import EXAMPLE
from tests.helpers.remaining import left

MARK = "TEMPO_DEMO_TEST"
# The demo but for the training, which takes most of its time: it serves what is there.
WITHOUT_TRAINING = f"""
import runpy, sys
sys.path.insert(0, {str(EXAMPLE)!r})
import train
from src.data import AdultData
train.make_artifacts = AdultData
runpy.run_path({str(EXAMPLE / "demo.py")!r}, run_name="__main__")
"""


class Demo:
    """The demo, running; or `code` in its place."""

    def __init__(self, folder: Path, *arguments: str, code: str | None = None) -> None:
        self.mark = uuid.uuid4().hex
        self.output = folder / "output"
        environment = {
            **os.environ,
            "COLUMNS": "100",
            "PYTHONUNBUFFERED": "1",
            MARK: self.mark,
        }
        script = [str(EXAMPLE / "demo.py")] if code is None else ["-c", code]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, *script, *arguments],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Demo:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.left():
            process.kill()
        self.process.wait()

    def printed(self) -> str:
        return self.output.read_text()

    def wait_for(self, words: str) -> None:
        while words not in self.printed():
            assert self.process.poll() is None, self.printed()
            time.sleep(0.05)

    def left(self) -> list[psutil.Process]:
        """Processes it started that are still there."""
        return left(MARK, self.mark)


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Ctrl-C reaches what a test starts, also where the tests themselves are to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def from_scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The whole demo, at its end; the other tests use the models that it trained."""
    with Demo(tmp_path_factory.mktemp("demo")) as demo:
        demo.process.wait()
        yield demo


def test_it_prints_the_person_the_prediction_and_three_anchors_and_leaves_nothing(
    from_scratch: Demo,
) -> None:
    printed = from_scratch.printed()
    assert from_scratch.process.returncode == 0, printed
    for words in ("A person of the census", "Marital Status Separated", "The forest predicts"):
        assert words in printed
    for threshold in ("0.90", "0.95", "0.99"):
        assert f"│  {threshold} │" in printed
    assert "nothing is left running" in printed
    assert from_scratch.left() == []


def test_stopped_while_it_trains_it_leaves_nothing(tmp_path: Path) -> None:
    with Demo(tmp_path) as demo:
        demo.wait_for("Read the census")
        stop(demo, signal.SIGINT)


def test_terminated_while_its_server_is_up_it_leaves_nothing(
    from_scratch: Demo, tmp_path: Path
) -> None:
    with Demo(tmp_path, "--keep", code=WITHOUT_TRAINING) as demo:
        demo.wait_for("Ctrl-C stops the server")
        stop(demo, signal.SIGTERM)


def test_where_its_ports_are_taken_its_curl_line_names_others_and_works_until_ctrl_c(
    from_scratch: Demo, tmp_path: Path
) -> None:
    with Demo(tmp_path, "--keep", code=WITHOUT_TRAINING) as demo:
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # another process has it
                stack.enter_context(socket.create_server(("127.0.0.1", 8080)))
            demo.wait_for("Ctrl-C stops the server")
        line = next(line for line in demo.printed().splitlines() if line.startswith("curl "))
        assert ":8080" not in line
        answer = subprocess.run(line, shell=True, capture_output=True, text=True, check=True)
        assert '"anchor' in answer.stdout.replace("\\", "")
        stop(demo, signal.SIGINT)


def stop(demo: Demo, sent: signal.Signals) -> None:
    demo.process.send_signal(sent)
    assert demo.process.wait() != 0
    assert demo.left() == []
    assert "Traceback" not in demo.printed()


def test_the_error_of_a_server_that_does_not_come_up_has_its_log(tmp_path: Path) -> None:
    (tmp_path / "model-settings.json").write_text(
        '{"name": "m", "implementation": "no.such.Class"}'
    )
    code = f"""
import sys
sys.path.insert(0, {str(EXAMPLE)!r})
import demo, httpx
demo.MODELS = {str(tmp_path)!r}
with demo.server() as (process, log), httpx.Client() as client:
    demo.wait_ready(process, log, client)
"""
    with Demo(tmp_path, code=code) as demo:
        assert demo.process.wait() != 0
        assert "The server did not come up" in demo.printed()
        assert "No module named 'no'" in demo.printed()
        assert demo.left() == []
