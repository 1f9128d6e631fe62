"""Run an MLServer in a separate process, which ends together with everything it started."""

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

# Its standard input is our pipe; see `child_pipe`.
_MLSERVER = """\
from tempo_runtime.servers.child_pipe import attach
attach()
from tempo_runtime.servers.uncollected import imports
with imports():
    from mlserver.cli import main
    from tempo_runtime.runtime import error_mapping, rest_server
error_mapping.install()
rest_server.install()
main()
"""
_POLL = 0.05


class Ports(NamedTuple):
    """The ports of a server."""

    http: int
    grpc: int
    metrics: int

    def settings(self) -> dict[str, int]:
        """Return the ports as settings for MLServer's settings.json."""
        return {f"{name}_port": port for name, port in self._asdict().items()}


class LocalServer:
    """`mlserver start` on a folder, in a process that ends with this one.

    Args:
        folder: The folder to serve; its settings.json has the same host and ports.
        ports: The ports to listen on.
        environment: Its environment variables.
        output: Where its output goes: a file, or `subprocess.PIPE`.
        host: The address to listen on.
        grace: Seconds that it may take to end when it is stopped.

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
        # By these variables a pipeline finds its children on the same server.
        variables = {"MLSERVER_HOST": place}
        variables |= {
            f"MLSERVER_{name.upper()}": str(port) for name, port in ports.settings().items()
        }
        self.process = parent_pipe.start(
            [sys.executable, "-c", _MLSERVER, "start", os.fspath(folder)],
            cwd=folder,
            env={**environment, **variables},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        self._grace = grace
        self._ended = False

    def ready(self, models: Iterable[str], timeout: float) -> Iterator[str]:
        """Wait for the models, and yield the name of each when it is ready.

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
        """Stop the server and everything it started; requests in progress are answered first."""
        try:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(self._grace)
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill the server and everything it started at once, as the kernel does when memory runs out."""
        if self._ended:  # another process may have its id by now
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
