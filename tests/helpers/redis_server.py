"""A real Redis, started by the tests that need one."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tempo_runtime._util.ports import HOST, free_ports
from tests.helpers.waiting import wait_until

EXECUTABLE = shutil.which("redis-server")
needs_redis = pytest.mark.skipif(
    EXECUTABLE is None, reason="redis-server is not installed (Debian's package redis-server)"
)


class RedisServer:
    """A Redis on a free port, whose data outlives its process.

    Args:
        folder: Where it keeps its data.
        arguments: Further arguments of redis-server.
        port: Its port; 0 for a free one.
        plain: Whether it listens without TLS.
    """

    def __init__(self, folder: Path, *arguments: str, port: int = 0, plain: bool = True) -> None:
        self.port = port or free_ports(1)[0]
        self.url = f"redis{'' if plain else 's'}://{HOST}:{self.port}"
        ports = (
            ["--port", str(self.port)] if plain else ["--port", "0", "--tls-port", str(self.port)]
        )
        # Each change is in the file before it is answered, so that a killed process loses nothing.
        self._command = [
            *(EXECUTABLE or "redis-server", "--bind", HOST, *ports, "--dir", str(folder)),
            *("--appendonly", "yes", "--save", "", *arguments),
        ]
        self._log = folder / "redis.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        wait_until(self._listens)

    def kill(self) -> None:
        """End it at once."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def hang(self) -> None:
        """Stop its work, while its connections stay open."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Continue its work."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        try:
            socket.create_connection((HOST, self.port), 1).close()
        except OSError:
            return False
        return True
