"""`make demo`: what a person sees, and that nothing of it stays."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.income import EXAMPLE

MARK = "TEMPO_DEMO_TEST"


class Demo:
    """The demo, running."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.mark = uuid.uuid4().hex
        self.output = folder / "output"
        environment = {
            **os.environ,
            "COLUMNS": "100",
            "PYTHONUNBUFFERED": "1",
            MARK: self.mark,
        }
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(EXAMPLE / "demo.py"), *arguments],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def printed(self) -> str:
        return self.output.read_text()

    def wait_for(self, words: str) -> None:
        while words not in self.printed():
            assert self.process.poll() is None, self.printed()
            time.sleep(0.05)

    def left(self) -> list[psutil.Process]:
        """Processes it started that are still there."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return [process for process in found if process.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    running = Demo(tmp_path, "--keep")
    yield running
    for process in running.left():
        process.kill()
    running.process.wait()


def test_it_prints_the_person_the_prediction_and_three_anchors_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    demo = Demo(tmp_path)
    assert demo.process.wait() == 0, demo.printed()
    printed = demo.printed()
    for words in ("A person of the census", "Marital Status Separated", "The forest predicts"):
        assert words in printed
    for threshold in ("0.90", "0.95", "0.99"):
        assert f"│  {threshold} │" in printed
    assert "nothing is left running" in printed
    assert demo.left() == []


@pytest.mark.parametrize(
    ("moment", "sent"),
    [
        ("Read the census", signal.SIGINT),
        ("Ctrl-C stops the server", signal.SIGINT),
        ("Ctrl-C stops the server", signal.SIGTERM),
    ],
)
def test_it_leaves_nothing_when_it_is_stopped(
    moment: str, sent: signal.Signals, demo: Demo
) -> None:
    demo.wait_for(moment)
    demo.process.send_signal(sent)
    assert demo.process.wait() != 0
    assert demo.left() == []
    assert "Traceback" not in demo.printed()


def test_it_finds_other_ports_where_its_own_are_taken_and_its_curl_line_works(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 8080)):
        demo = Demo(tmp_path, "--keep")
        demo.wait_for("Ctrl-C stops the server")
    try:
        line = next(line for line in demo.printed().splitlines() if line.startswith("curl "))
        assert ":8080" not in line
        answer = subprocess.run(line, shell=True, capture_output=True, text=True, check=True)
        assert '"anchor' in answer.stdout.replace("\\", "")
    finally:
        demo.process.send_signal(signal.SIGINT)
        demo.process.wait()
    assert demo.left() == []


def test_a_server_that_does_not_come_up_is_told_with_its_log(tmp_path: Path) -> None:
    script = f"""
import sys
sys.path.insert(0, {str(EXAMPLE)!r})
import demo, httpx
demo.MODELS = {str(tmp_path)!r}
with demo.server() as (process, log), httpx.Client() as client:
    demo.wait_ready(process, log, client)
"""
    (tmp_path / "model-settings.json").write_text(
        '{"name": "m", "implementation": "no.such.Class"}'
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "The server did not come up" in done.stderr
    assert "no" in done.stderr
    with pytest.raises(httpx.TransportError):
        httpx.get("http://127.0.0.1:8080/v2", timeout=1)
