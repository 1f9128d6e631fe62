"""One MLServer of a deployment: started, asked, replaced, ended."""

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
from tempo_runtime.servers.launch import main
main(*map(int, sys.argv[1:]))
"""
_POLL = 0.05
_ANSWERS = 30.0  # seconds
_children: dict[int, subprocess.Popen[bytes]] = {}
"""Our own processes: one that has ended keeps its number until it was waited for."""


class ServerProcess:
    """A server, as its record knows it.

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
        # Polled once: the process may end between two polls, and then has no status yet.
        if child := _children.get(self.record.process.pid):
            return child.poll() is None
        return self.record.process.alive

    @property
    def log(self) -> Path:
        """What it prints."""
        return Path(self.record.folder, LOG)

    def text(self) -> str:
        """Return what it has printed."""
        try:
            return self.log.read_text(errors="replace")
        except OSError:
            return ""

    def ready(self, timeout: float = 2.0) -> bool:
        """Return whether its model says that it is ready."""
        return is_ready(self.url, self.record.model, timeout)

    def serve(self) -> None:
        """Has it listen on its port; returns when it does."""
        self._tell(SERVE)

    def detach(self) -> None:
        """Has it stay when this process ends."""
        self._tell(DETACH)
        if child := _children.get(self.record.process.pid):
            assert child.stdin is not None
            child.stdin.close()

    def retire(self) -> None:
        """Has it end once it has answered what it was asked; returns when it is asked nothing more."""
        with contextlib.suppress(DeploymentFailed):
            self._tell(RETIRE)

    def shared(self) -> socket.socket:
        """Return the socket that it listens on, for the one that replaces it.

        Raises:
            DeploymentFailed: If it does not answer.
        """
        with self._asked(SOCKET) as control:
            _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not descriptors:
            raise self._silent()
        return socket.socket(fileno=descriptors[0])

    def terminate(self) -> None:
        """Has it end; what it works on is answered first."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.record.process.pid, signal.SIGTERM)

    def end(self, deadline: float) -> None:
        """Wait for its end until a time of `time.monotonic`, then ends it and all it started."""
        while self.alive and time.monotonic() < deadline:
            time.sleep(_POLL)
        self.kill()

    def kill(self) -> None:
        """End it and all it started, at once."""
        pid = self.record.process.pid
        ours = _children.pop(pid, None)
        # Of another's process the number is only ours to use while it runs; of our own, until it is
        # somebody else's: what it started may run on.
        known = (None, self.record.process.started)
        if self.record.process.alive or (ours is not None and Process.of(pid).started in known):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        if ours is not None:
            ours.wait()
            if ours.stdin is not None:
                ours.stdin.close()

    def _tell(self, what: bytes) -> None:
        with self._asked(what) as control:
            if not control.recv(1):
                raise self._silent()

    @contextlib.contextmanager
    def _asked(self, what: bytes) -> Iterator[socket.socket]:
        try:
            with socket.socket(socket.AF_UNIX) as control, _short(self.record.folder) as folder:
                control.settimeout(_ANSWERS)
                control.connect(f"{folder}/{CONTROL}")
                control.sendall(what)
                yield control
        except OSError as error:
            raise self._silent() from error

    def _silent(self) -> DeploymentFailed:
        return DeploymentFailed(
            f"the server of {self.record.model} does not answer: {reason(self.text())}"
        )


class Starting(ServerProcess):
    """A server that has been started, and that nobody calls yet.

    Args:
        record: Its record.
        private: Port at which it alone answers.
    """

    def __init__(self, record: ServerRecord, private: int) -> None:
        super().__init__(record)
        self._private = f"http://{HOST}:{private}"

    def ready(self, timeout: float = 2.0) -> bool:
        """See `ServerProcess.ready`."""
        return is_ready(self._private, self.record.model, timeout)

    def check(self, deadline: float) -> None:
        """Nothing happens while it may still get ready.

        Args:
            deadline: A time of `time.monotonic`.

        Raises:
            DeploymentFailed: If it has ended, or was not ready in time; with the reason.
        """
        model = self.record.model
        if not self.alive:
            code = _children[self.record.process.pid].returncode
            if code < 0:
                name = signal.Signals(-code).name
                hint = "; was there memory enough?" if name == "SIGKILL" else ""
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
) -> Starting:
    """Start the server of one model.

    Args:
        served: The model.
        root: Folder of the deployment.
        host: What it listens at, as it was asked for.
        public: What it will listen on for HTTP.
        grpc: Its port for gRPC; one that it shares with the server that it replaces.
        metrics: Its port for metrics.
        environment: Its environment variables.
        fingerprint: See `ServerRecord`.
    """
    folder = tempfile.mkdtemp(prefix=f"{served.name}-", dir=root)
    address = public.getsockname()[0]
    ports = Ports(port_of(public), grpc, metrics)
    own = {"host": address, "parallel_workers": repository.workers([served], None)}
    settings = {**repository.SERVER_DEFAULTS, **own, **ports.settings()}
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
        return Starting(record, port_of(private))


@contextlib.contextmanager
def _short(folder: str) -> Iterator[str]:
    """Give a short name of a folder: the path of a socket must be short."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        short = f"/proc/self/fd/{opened}"
        yield short if os.path.isdir(short) else folder
    finally:
        os.close(opened)
