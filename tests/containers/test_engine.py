"""scripts/engine.sh gives a machine without Docker an engine, and takes it away again."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers.income import ROOT
from tests.helpers.remaining import left

SCRIPT = ROOT / "scripts" / "engine.sh"
# A second engine shares the first one's name server and bridges, and disturbs its containers.
needs_podman = pytest.mark.skipif(
    os.geteuid() != 0
    or not shutil.which("podman")
    or Path("/var/run/docker.sock").exists()
    or "DOCKER_HOST" in os.environ,
    reason="takes root, podman, and a machine without an engine",
)


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "DOCKER_HOST"}
    return subprocess.run(
        [str(SCRIPT), *arguments],
        env=environment | variables,
        capture_output=True,
        text=True,
        check=False,
    )


@needs_podman
def test_it_starts_an_engine_and_leaves_nothing_of_it_running(tmp_path: Path) -> None:
    docker = pytest.importorskip("docker", reason="docker is not installed")
    variables = {"TEMPO_ENGINE": str(tmp_path / "engine")}
    try:
        started = run(**variables)
        assert started.returncode == 0, started.stderr
        address = started.stdout.strip().removeprefix("export DOCKER_HOST=")
        client = docker.DockerClient(base_url=address)
        assert client.ping()
        client.close()
        assert run(**variables).stdout == started.stdout, "it is there already"
    finally:
        stopped = run("stop", **variables)
    assert stopped.returncode == 0, stopped.stderr
    assert not Path(address.removeprefix("unix://")).exists()
    assert left("TEMPO_ENGINE", variables["TEMPO_ENGINE"]) == []


def test_an_engine_that_does_not_answer_is_reported(tmp_path: Path) -> None:
    done = run(DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert done.returncode == 1
    assert "nothing answers at DOCKER_HOST" in done.stderr
    assert len(done.stderr.splitlines()) == 1
