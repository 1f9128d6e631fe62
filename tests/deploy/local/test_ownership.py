"""Whose a deployment is: this process', a fork's, another machine's."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tempo_runtime import LocalOptions, deploy_local
from tempo_runtime.deploy.local import find, records, server
from tempo_runtime.deploy.local.records import Process, ServerRecord
from tempo_runtime.deploy.local.server import ServerProcess
from tests.deploy.conftest import MARK, eventually
from tests.deploy.local.deploying_process import starting
from tests.deploy.local.redeployed import Studio
from tests.helpers.remaining import left

pytestmark = pytest.mark.traced

_FORKING = """
import os, sys
from tempo_runtime import LocalOptions, deploy_local
options = LocalOptions.model_validate_json(sys.argv[2])
remote = deploy_local(sys.argv[1], options)
sys.stdout.flush()
"""
_DEPLOYS_ITS_OWN = f"""{_FORKING}
if (fork := os.fork()) == 0:
    with deploy_local(sys.argv[1], options) as its:
        print(its.changes, its.predict(), its.endpoint != remote.endpoint, flush=True)
    os._exit(0)
os.waitpid(fork, 0)
print(remote.predict(), flush=True)
"""
_LIVES_ON = f"""{_FORKING}
if (fork := os.fork()) == 0:
    sys.stdin.read()
    os._exit(0)
print(fork, flush=True)
sys.stdin.read()
"""


def test_a_fork_does_not_end_what_its_parent_deployed(
    studio: Studio, options: LocalOptions
) -> None:
    studio.alone()
    with starting(_DEPLOYS_ITS_OWN) as start:
        output, _ = start(str(studio.folder / "alone"), options.model_dump_json()).communicate()
    assert output == "{'alone': 'started'} first True\nfirst\n"


def test_a_killed_deployer_leaves_nothing_but_its_forks(
    studio: Studio, options: LocalOptions, state: Path
) -> None:
    studio.alone()
    with starting(_LIVES_ON) as start:
        process = start(str(studio.folder / "alone"), options.model_dump_json())
        assert process.stdout is not None
        fork = int(process.stdout.readline())
        assert left(MARK, options.env[MARK])
        os.kill(process.pid, signal.SIGKILL)
        gone = eventually(
            lambda: not left(MARK, options.env[MARK]) and not list(state.iterdir()), 30.0
        )
        assert Process.of(fork).alive
    assert gone


def test_a_deployment_of_another_machine_is_neither_shown_nor_removed(
    studio: Studio, options: LocalOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    with deploy_local(studio.alone(), options) as remote:
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(socket, "gethostname", lambda: "elsewhere")
            elsewhere.setattr(server.ServerProcess, "alive", False)
            assert not list(find.deployments())
        assert [each.name for each in find.deployments()] == ["alone"]
        assert remote.predict() == "first"


def test_records_are_for_their_user_only(studio: Studio, options: LocalOptions) -> None:
    with deploy_local(studio.alone(), options):
        for folder in (records.home(), records.home().parent):
            assert folder.stat().st_mode & 0o777 == 0o700


def test_a_process_that_got_the_id_of_an_ended_one_is_not_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True
    ) as another:
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        monkeypatch.setitem(server._children, another.pid, ended)
        record = ServerRecord("m", Process(another.pid, 1), "", "", 0, 0, 0, "")
        ServerProcess(record).kill()
        another.communicate(b"\n")
    assert another.returncode == 0
