"""An engine that takes connections and never answers keeps nobody from what runs as processes."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tempo_runtime import LocalOptions, deploy_local
from tests.containers.deploy.conftest import Readable

pytestmark = pytest.mark.slow
_PATIENCE = 30  # seconds: half of what the engine has for an answer


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[socket.socket]:
    """A socket that listens in the engine's place."""
    pytest.importorskip("docker", reason="docker is not installed")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        yield listener


@pytest.mark.parametrize(
    ("command", "said"),
    [(["ps"], "Nothing is deployed here"), (["undeploy", "shop"], "there is no deployment 'shop'")],
)
def test_a_command_goes_on_without_it_and_says_so(
    silent: socket.socket, command: list[str], said: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from tempo_runtime.cli import main; main()", *command],
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )
    assert said in done.stdout + done.stderr
    place = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
    assert f"Deployments of containers are left out: no container engine answers at {place}" in (
        done.stderr
    )


def test_a_deployment_of_processes_does_not_ask_it(studio: Readable, silent: socket.socket) -> None:
    silent.setblocking(False)
    with deploy_local(studio.alone("first"), LocalOptions(detached=True, timeout=120)) as remote:
        assert remote.predict() == "first"
        with pytest.raises(BlockingIOError):
            silent.accept()
