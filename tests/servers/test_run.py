"""A server of this process, from its models to its end."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tempo_runtime import SettingsError
from tempo_runtime._util.ports import free_ports
from tempo_runtime.errors import ServingFailed
from tempo_runtime.servers import process, repository
from tempo_runtime.servers.log import Log
from tempo_runtime.servers.process import LocalServer, Ports
from tempo_runtime.servers.repository import Served
from tempo_runtime.servers.run import Running, running

pytestmark = pytest.mark.traced

# Ends, and leaves a process behind that has its output and would say more.
_LEAVING = """
import subprocess
print("the server is gone", flush=True)
subprocess.Popen(["sh", "-c", "sleep 20; echo its worker is gone"])
"""


def test_settings_that_mlserver_cannot_read_are_reported_before_a_server_is_started() -> None:
    settings = {"name": "m", "implementation": "some.Model", "max_batch_size": "many"}
    models = {"m": Served("m", settings, "/m")}
    with (
        pytest.raises(SettingsError, match="max_batch_size"),
        running(models, Ports(*free_ports(3)), timeout=1),
    ):
        pass


@pytest.mark.parametrize(
    ("extra", "variable", "seconds"),
    [
        (None, None, 15.0),
        ({"drain_timeout": 60}, None, 65.0),
        ({"drain_timeout": 60}, "90", 95.0),
        ({"drain_timeout": 1}, None, 6.0),
        ({"drain_timeout": "soon"}, None, 15.0),
    ],
)
def test_a_server_has_its_drain_timeout_to_end(
    extra: dict[str, object] | None, variable: str | None, seconds: float
) -> None:
    models = [Served("m", {"parameters": {"extra": extra}}, "/m")]
    environ = {} if variable is None else {"TEMPO_RUNTIME_DRAIN_TIMEOUT": variable}
    assert repository.seconds_to_end(models, environ) == seconds


def test_a_server_that_ends_before_its_workers_takes_them_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_MLSERVER", _LEAVING)
    server = LocalServer(tmp_path, Ports(*free_ports(3)), os.environ, subprocess.PIPE)
    assert server.process.stdout is not None
    with pytest.raises(ServingFailed) as told:
        Running(server, {}, Log(server.process.stdout), "").wait()
    assert str(told.value) == "the server ended: the server is gone"
