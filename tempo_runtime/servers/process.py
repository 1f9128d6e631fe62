"""An MLServer in a process of its own, which ends with all it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, NamedTuple

from tempo_runtime._util.http_request import request
from tempo_runtime._util.ports import HOST, called
from tempo_runtime.errors import ServingFailed
from tempo_runtime.servers import parent_pipe

# Its standard input is our pipe.
_MLSERVER = """\
from tempo_runtime.servers.child_pipe import attach
attach()
from tempo_runtime.runtime.error_mapping import install
install()
from mlserver.cli import main
main()
"""
_POLL = 0.05


class Ports(NamedTuple):
    """What a server listens on."""

    http: int
    grpc: int
    metrics: int

    def settings(self) -> dict[str, int]:
        """Return the same in MLServer's settings.json."""
        return {f"{name}_port": port for name, port in self._asdict().items()}


class LocalServer:
    """`mlserver start` on a folder, which ends with us.

    Args:
        folder: What it serves, its settings.json with the same host and ports.
        ports: What it listens on.
        environment: Its environment variables.
        output: Where what it prints goes to: a file, or `subprocess.PIPE`.
        host: What it listens at.
        grace: Seconds that it may take to end after it was asked to.

    Attributes:
        url: Base URL over HTTP.
        grpc: Address over gRPC.
        metrics: URL of its metrics.
        process: The process.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        ports: Ports,
        environment: Mapping[str, str],
        output: int | IO[bytes],
        host: str = HOST,
        *,
        grace: float = 15.0,
    ) -> None:
        place = called(host)
        self.url = f"http://{place}:{ports.http}"
        self.grpc = f"{place}:{ports.grpc}"
        self.metrics = f"http://{place}:{ports.metrics}/metrics"
        # What a pipeline's children are found by, where they are siblings.
        own = {"MLSERVER_HOST": place}
        own |= {f"MLSERVER_{name.upper()}": str(port) for name, port in ports.settings().items()}
        self.process = parent_pipe.start(
            [sys.executable, "-c", _MLSERVER, "start", os.fspath(folder)],
            cwd=folder,
            env={**environment, **own},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        self._grace = grace
        self._ended = False

    def ready(self, models: Iterable[str], timeout: float) -> Iterator[str]:
        """Wait until each model says that it is ready, and give its name then.

        Raises:
            ServingFailed: If the server ends, or a model is not ready after `timeout` seconds.
        """
        end = time.monotonic() + timeout
        waiting = list(models)
        while waiting:
            if self.process.poll() is not None:
                raise ServingFailed("the server ended")
            if time.monotonic() > end:
                raise ServingFailed(f"not ready after {timeout:g} s: {', '.join(waiting)}")
            if is_ready(self.url, waiting[0], timeout=5):
                yield waiting.pop(0)
            else:
                time.sleep(_POLL)

    def stop(self) -> None:
        """End the server and all it started; call it works on are answered first."""
        try:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(self._grace)
        finally:
            self.kill()

    def kill(self) -> None:
        """End the server and all it started, at once, as the kernel does that is out of memory."""
        if self._ended:  # its number may be another process' by now
            return
        self._ended = True
        # Its parallel workers are in its session, and may outlive it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()


def is_ready(url: str, model: str, timeout: float) -> bool:
    """Return whether a server on this machine answers that a model is ready.

    Args:
        url: Base URL of the server.
        model: Name of the model.
        timeout: Seconds to wait for each part of the answer.
    """
    try:
        return request(f"{url}/v2/models/{model}/ready", timeout).status == 200
    except OSError:
        return False
