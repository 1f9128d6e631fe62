"""However a process that deploys ends, nothing of its deployment is left."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tempo_runtime import LocalOptions
from tempo_runtime.deploy.local import find
from tests.deploy.conftest import MARK, eventually
from tests.deploy.local.deploying_process import starting
from tests.deploy.local.redeployed import ASKED, Studio
from tests.helpers.remaining import left

_DEPLOYER = """
import json, sys
from tempo_runtime import LocalOptions, deploy_local
remote = deploy_local(sys.argv[1], LocalOptions(**json.loads(sys.argv[2])))
remote.predict(**json.loads(sys.argv[3]))
print(json.dumps([model.url for model in remote.status()]), flush=True)
sys.stdin.read()
"""
_WITHIN = 30.0  # seconds, of which a machine with nothing else to do takes three
_BEFORE_IT_DRAINS = 9.0  # seconds; a server by itself gives its requests ten


@pytest.fixture
def deployer(studio: Studio, options: LocalOptions) -> Iterator[Callable[..., Any]]:
    """Starts a process that deploys; it waits for its standard input to close."""
    with starting(_DEPLOYER) as start:

        def deploying(folder: str, detached: bool = False, **arguments: Any) -> Any:
            chosen = options.model_copy(update={"detached": detached})
            return start(folder, chosen.model_dump_json(), json.dumps(arguments))

        yield deploying


def urls(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return list(json.loads(process.stdout.readline()))


def refused(url: str) -> bool:
    at = urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((at.hostname, at.port)) != 0


def test_a_killed_deployer_leaves_nothing(
    studio: Studio, options: LocalOptions, state: Path, deployer: Callable[..., Any]
) -> None:
    studio.plus(1.0)
    process = deployer(str(studio.folder / "plus"), x=[[1.0]])
    addresses = urls(process)
    assert len(left(MARK, options.env[MARK])) == 2
    os.kill(process.pid, signal.SIGKILL)
    gone = eventually(
        lambda: (
            not left(MARK, options.env[MARK])
            and not list(state.iterdir())
            and all(map(refused, addresses))
        ),
        _WITHIN,
    )
    assert gone, (left(MARK, options.env[MARK]), list(state.iterdir()))


def test_a_deployer_that_is_killed_while_a_request_hangs_leaves_nothing(
    studio: Studio, options: LocalOptions, state: Path, deployer: Callable[..., Any]
) -> None:
    studio.alone()
    process = deployer(str(studio.folder / "alone"), seconds=50.0)
    assert eventually(
        lambda: any(ASKED in each.logs().get("alone", "") for each in find.find("alone")), 60
    )
    os.kill(process.pid, signal.SIGKILL)
    gone = eventually(
        lambda: not left(MARK, options.env[MARK]) and not list(state.iterdir()), _BEFORE_IT_DRAINS
    )
    assert gone


@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize("signalled", [signal.SIGKILL, signal.SIGINT])
def test_a_deployer_that_ends_while_its_servers_start_leaves_nothing(
    studio: Studio,
    options: LocalOptions,
    state: Path,
    deployer: Callable[..., Any],
    signalled: signal.Signals,
    detached: bool,
) -> None:
    studio.plus(1.0)
    process = deployer(str(studio.folder / "plus"), detached=detached, x=[[1.0]])
    assert eventually(lambda: len(left(MARK, options.env[MARK])) == 2, 60)
    assert len(list(find.deployments())) == 1  # listing it now does not remove it
    os.kill(process.pid, signalled)
    gone = eventually(
        lambda: not left(MARK, options.env[MARK]) and not list(state.iterdir()), _WITHIN
    )
    assert gone
    assert process.wait(60) != 0


def test_a_deployer_that_just_ends_undeploys_first(
    studio: Studio, options: LocalOptions, state: Path, deployer: Callable[..., Any]
) -> None:
    studio.alone()
    process = deployer(str(studio.folder / "alone"))
    urls(process)
    process.stdin.close()
    assert process.wait(60) == 0
    assert not left(MARK, options.env[MARK])
    assert not list(state.iterdir())


def test_the_remains_of_killed_processes_are_removed_when_deployments_are_listed(
    studio: Studio, options: LocalOptions, state: Path, deployer: Callable[..., Any]
) -> None:
    studio.alone()
    process = deployer(str(studio.folder / "alone"))
    urls(process)
    (folder,) = state.iterdir()
    # Its reaper first, as the kernel may do when there is no memory.
    (reaper,) = (each for each in _children(process.pid) if str(folder) in each.cmdline())
    reaper.kill()
    os.kill(process.pid, signal.SIGKILL)
    assert eventually(lambda: not left(MARK, options.env[MARK]), _WITHIN)
    assert folder.exists()
    assert list(find.deployments()) == []
    assert not folder.exists()


def _children(pid: int) -> list[Any]:
    import psutil

    return list(psutil.Process(pid).children())
