"""Start, command and stop one MLServer of a deployment."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tempo_runtime._util.ports import HOST, called, port_of
from tempo_runtime.deploy.local.records import Process, ServerRecord
from tempo_runtime.errors import DeploymentFailed
from tempo_runtime.servers import parent_pipe, repository
from tempo_runtime.servers.control_socket import CONTROL, DETACH, RETIRE, SERVE, SOCKET
from tempo_runtime.servers.log import reason
from tempo_runtime.servers.process import Ports, is_ready
from tempo_runtime.servers.repository import Served

LOG = "server.log"
_LAUNCH = """\
from tempo_runtime.servers.child_pipe import attach
attach()
import sys
from tempo_runtime.servers.uncollected import imports
with imports():
    from tempo_runtime.servers.launch import main
main(*map(int, sys.argv[1:]))
"""
_POLL = 0.05
_ANSWERS = 30.0  # seconds
_children: dict[int, subprocess.Popen[bytes]] = {}
"""Processes that this one has started: an ended child keeps its id until it is waited for."""


class ServerProcess:
    """The process of a server, known by its record.

    Args:
        record: The record.
    """

    def __init__(self, record: ServerRecord) -> None:
        self.record = record

    @property
    def url(self) -> str:
        """Base URL over HTTP."""
        return f"http://{called(self.record.host)}:{self.record.http}"

    @property
    def grpc(self) -> str:
        """URL over gRPC."""
        return f"grpc://{called(self.record.host)}:{self.record.grpc}"

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        # Poll only once: the process may end between two polls, and then has no status yet.
        if child := _children.get(self.record.process.pid):
            return child.poll() is None
        return self.record.process.alive

    @property
    def log(self) -> Path:
        """The file of its log."""
        return Path(self.record.folder, LOG)

    def text(self) -> str:
        """Return its log."""
        try:
            return self.log.read_text(errors="replace")
        except OSError:
            return ""

    def ready(self, timeout: float = 2.0) -> bool:
        """Return whether its model reports that it is ready."""
        return is_ready(self.url, self.record.model, timeout)

    def serve(self) -> None:
        """Make it listen on its port, and return once it does."""
        self._command(SERVE)

    def detach(self) -> None:
        """Make it stay when this process ends."""
        self._command(DETACH)
        if child := _children.get(self.record.process.pid):
            assert child.stdin is not None
            child.stdin.close()

    def retire(self) -> None:
        """Make it end once it has answered its requests; return when it gets no more of them."""
        with contextlib.suppress(DeploymentFailed):
            self._command(RETIRE)

    def shared(self) -> socket.socket:
        """Return the socket that it listens on, for its successor.

        Raises:
            DeploymentFailed: If it does not answer.
        """
        with self._connected(SOCKET) as control:
            _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not descriptors:
            raise self._no_answer()
        return socket.socket(fileno=descriptors[0])

    def terminate(self) -> None:
        """Ask it to end once the requests in progress are answered."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.record.process.pid, signal.SIGTERM)

    def end(self, deadline: float) -> None:
        """Wait until it ends, at most until a time of `time.monotonic`, then kill it and its children."""
        while self.alive and time.monotonic() < deadline:
            time.sleep(_POLL)
        self.kill()

    def kill(self) -> None:
        """Kill it and everything it started."""
        pid = self.record.process.pid
        child = _children.pop(pid, None)
        # The id of another's process may only be used while that runs. That of our own child may also be
        # used afterwards, until another process has it: processes that it started may still run.
        known = (None, self.record.process.started)
        if self.record.process.alive or (child is not None and Process.of(pid).started in known):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        if child is not None:
            child.wait()
            if child.stdin is not None:
                child.stdin.close()

    def _command(self, command: bytes) -> None:
        with self._connected(command) as control:
            if not control.recv(1):
                raise self._no_answer()

    @contextlib.contextmanager
    def _connected(self, command: bytes) -> Iterator[socket.socket]:
        try:
            with socket.socket(socket.AF_UNIX) as control, _short(self.record.folder) as folder:
                control.settimeout(_ANSWERS)
                control.connect(f"{folder}/{CONTROL}")
                control.sendall(command)
                yield control
        except OSError as error:
            raise self._no_answer() from error

    def _no_answer(self) -> DeploymentFailed:
        return DeploymentFailed(
            f"the server of {self.record.model} does not answer: {reason(self.text())}"
        )


class StartingServer(ServerProcess):
    """A server that has been started, but is not called yet.

    Args:
        record: Its record.
        private: Its private port, which only this process knows.
    """

    def __init__(self, record: ServerRecord, private: int) -> None:
        super().__init__(record)
        self._private = f"http://{HOST}:{private}"

    def ready(self, timeout: float = 2.0) -> bool:
        """See `ServerProcess.ready`."""
        return is_ready(self._private, self.record.model, timeout)

    def check(self, deadline: float) -> None:
        """Fail if the server cannot become ready any more.

        Args:
            deadline: A time of `time.monotonic`.

        Raises:
            DeploymentFailed: If it has ended or was not ready in time; the message says why.
        """
        model = self.record.model
        if not self.alive:
            code = _children[self.record.process.pid].returncode
            if code < 0:
                name = signal.Signals(-code).name
                hint = "; was there enough memory?" if name == "SIGKILL" else ""
                raise DeploymentFailed(f"{model} failed: its server was killed by {name}{hint}")
            why = reason(self.text()).removeprefix(f"{model}: ")
            raise DeploymentFailed(f"{model} failed: {why}")
        if time.monotonic() >= deadline:
            raise DeploymentFailed(
                f"{model} was not ready in time; its log ends with:\n{reason(self.text())}"
            )


def start(
    served: Served,
    root: str,
    host: str,
    public: socket.socket,
    grpc: int,
    metrics: int,
    environment: Mapping[str, str],
    fingerprint: str,
    workers: int | None = None,
) -> StartingServer:
    """Start the server of one model.

    Args:
        served: The model.
        root: Folder of the deployment.
        host: The address to listen on, as requested.
        public: The socket on which it will listen for HTTP.
        grpc: Its port for gRPC, which it may share with its predecessor.
        metrics: Its port for metrics.
        environment: Its environment variables.
        fingerprint: See `ServerRecord`.
        workers: Its parallel workers; None for as many as the model needs.
    """
    folder = tempfile.mkdtemp(prefix=f"{served.name}-", dir=root)
    address = public.getsockname()[0]
    ports = Ports(port_of(public), grpc, metrics)
    address_settings = {"host": address, "parallel_workers": repository.workers([served], workers)}
    settings = {**repository.SERVER_DEFAULTS, **address_settings, **ports.settings()}
    repository.write(folder, [served], settings)
    at = {f"MLSERVER_{name.upper()}": str(port) for name, port in ports.settings().items()}
    with socket.create_server((HOST, 0)) as private, open(Path(folder, LOG), "wb") as log:
        sockets = [public.fileno(), private.fileno()]
        process = parent_pipe.start(
            [sys.executable, "-c", _LAUNCH, *map(str, sockets)],
            cwd=folder,
            env={**environment, **at, "MLSERVER_HOST": called(address)},
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=sockets,
        )
        _children[process.pid] = process
        record = ServerRecord(
            served.name, Process.of(process.pid), folder, host, *ports, fingerprint=fingerprint
        )
        return StartingServer(record, port_of(private))


@contextlib.contextmanager
def _short(folder: str) -> Iterator[str]:
    """Provide a short path of a folder, because the path of a socket must be short."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        short = f"/proc/self/fd/{opened}"
        yield short if os.path.isdir(short) else folder
    finally:
        os.close(opened)
