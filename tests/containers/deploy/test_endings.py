"""However a process that deploys ends, no container and no network of its deployment is left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from tempo_runtime import DockerOptions, deploy_local
from tempo_runtime.deploy.local import find
from tests.containers.deploy.conftest import Readable, left
from tests.deploy.conftest import eventually
from tests.deploy.local.deploying_process import starting

pytestmark = pytest.mark.slow
_DEPLOYER = """
import sys
from tempo_runtime import DockerOptions, deploy_local
remote = deploy_local(sys.argv[1], DockerOptions.model_validate_json(sys.argv[2]))
print(remote.endpoint, flush=True)
sys.stdin.read()
"""
# Is killed when it is about to do something with containers.
_KILLED = """
import os, signal, sys
from tempo_runtime import DockerOptions, deploy_local
from tempo_runtime.deploy.local import container, container_removal
module, _, name = sys.argv[3].rpartition(".")
owner = container_removal if module == "container_removal" else container.Container
whole = getattr(owner, name)
def killed(containers, *more):
    if containers:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(containers, *more)
setattr(owner, name, killed)
deploy_local(sys.argv[1], DockerOptions.model_validate_json(sys.argv[2]))
"""
_WITHIN = 30.0  # seconds

Deployer = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def deployer(options: DockerOptions) -> Iterator[Deployer]:
    """Starts a process that deploys; it waits for its standard input to close."""
    with starting(_DEPLOYER) as start:
        yield lambda folder: start(folder, options.model_dump_json())


def deployed(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().startswith("http://127.0.0.1:")


def test_a_killed_deployer_leaves_nothing(
    studio: Readable, options: DockerOptions, deployer: Deployer, engine: Any
) -> None:
    studio.plus(1.0)
    process = deployer(str(studio.folder / "plus"))
    deployed(process)
    assert len(left(engine, options.name)) == 3
    os.kill(process.pid, signal.SIGKILL)
    assert eventually(lambda: not left(engine, options.name), _WITHIN), left(engine, options.name)


@pytest.mark.parametrize("signalled", [signal.SIGKILL, signal.SIGINT])
def test_a_deployer_that_ends_while_its_containers_start_leaves_nothing(
    studio: Readable,
    options: DockerOptions,
    deployer: Deployer,
    engine: Any,
    signalled: signal.Signals,
) -> None:
    studio.plus(1.0)
    process = deployer(str(studio.folder / "plus"))
    assert eventually(lambda: len(left(engine, options.name)) >= 2, 60)
    os.kill(process.pid, signalled)
    assert eventually(lambda: not left(engine, options.name), _WITHIN), left(engine, options.name)
    assert process.wait(60) != 0


def test_a_deployment_whose_deployer_and_reaper_are_dead_is_ended_by_the_next_command_that_finds_it(
    studio: Readable, options: DockerOptions, deployer: Deployer, engine: Any
) -> None:
    studio.alone()
    process = deployer(str(studio.folder / "alone"))
    deployed(process)
    # Its reaper first, as the kernel may do when there is no memory.
    for each in psutil.Process(process.pid).children():
        each.kill()
    os.kill(process.pid, signal.SIGKILL)
    process.wait(60)
    (one,) = find.find(options.name)
    assert one.owner == process.pid
    assert [each.state for each in one.models()] == ["ready"]
    one.undeploy()
    assert not left(engine, options.name)


def test_a_detached_deployment_is_replaced_and_ended_by_others(
    studio: Readable, options: DockerOptions
) -> None:
    chosen = options.model_copy(update={"detached": True})
    try:
        first = deploy_local(studio.alone("first"), chosen)
        assert first.deployment.owner is None
        second = deploy_local(studio.alone("second"), chosen)
        assert second.deployment.id == first.deployment.id
        assert second.predict() == "second"
        (one,) = find.find(options.name)
        assert one.main() == second.deployment.main()
    finally:
        for each in find.find(options.name):
            each.undeploy()
    assert second.status() == []


@pytest.mark.parametrize(
    ("moment", "ported"),
    [
        ("Container.join", "second"),
        ("Container.mark_leaving", "first"),
        ("container_removal.terminate", "first"),
    ],
)
def test_the_remains_of_a_killed_redeploy_end_with_the_next_deploy(
    studio: Readable, options: DockerOptions, engine: Any, moment: str, ported: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        own = options.model_copy(update={"detached": True, "port": probe.getsockname()[1]})
    other = own.model_copy(update={"port": 0})
    first, second = (own, other) if ported == "first" else (other, own)
    try:
        deploy_local(studio.alone("first"), first)
        studio.alone("second")
        with starting(_KILLED) as start:
            killed = start(str(studio.folder / "alone"), second.model_dump_json(), moment)
            assert killed.wait(60) == -signal.SIGKILL
        assert len(left(engine, options.name)) == 3
        third = deploy_local(studio.alone("third"), own)
        assert third.predict() == "third"
        assert len(left(engine, options.name)) == 2
    finally:
        for each in find.find(options.name):
            each.undeploy()
