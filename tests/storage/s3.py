"""A real S3 server, and a proxy in front of it that cuts transfers, or holds them."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tempo_runtime._util.ports import HOST, free_ports
from tempo_runtime.storage import rclone

KEYS = ("TEMPOACCESSKEY", "tempo-secret-key-0815")
BUCKET = "tempo"


@dataclass
class S3:
    """A server of `rclone serve s3`, whose content is in a folder."""

    port: int
    data: Path

    @property
    def endpoint(self) -> str:
        return f"http://{HOST}:{self.port}"

    def folder(self, uri: str) -> Path:
        return self.data / uri.removeprefix("s3://")


@contextmanager
def s3_server(data: Path, keys: tuple[str, str] = KEYS) -> Iterator[S3]:
    (data / BUCKET).mkdir(parents=True)
    (port,) = free_ports(1)
    command = [rclone.program(), "serve", "s3", "--addr", f"{HOST}:{port}", str(data)]
    command += ["--auth-key", ",".join(keys), "--config", "/dev/null"]
    log = data.parent / "s3.log"
    with log.open("wb") as told:
        process = subprocess.Popen(command, stdout=told, stderr=told)
    try:
        until(lambda: answers(port) or process.poll() is not None, "no S3 server")
        assert process.poll() is None, log.read_text()
        yield S3(port, data)
    finally:
        process.terminate()
        process.wait(60)


def put(folder: Path, uri: str) -> None:
    """Copies a folder there as it is, as anyone with rclone can."""
    command = [rclone.program(), "copy", str(folder), uri.replace("://", ":")]
    subprocess.run(command, check=True, capture_output=True)


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), 1):
        return True
    return False


def until(condition: Callable[[], object], otherwise: str, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, otherwise
        time.sleep(0.01)


class Proxy:
    """Passes connections on, until so many bytes have gone one way.

    Then it ends all of them and takes no more (`cut`), or lets nothing through (`hold`), until it is
    told to `pass_on`; or it ends all of them, and passes on what comes next (`break_once`).
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listening = socket.create_server((HOST, 0))
        self.port: int = self._listening.getsockname()[1]
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self.reached = threading.Event()
        self._gate = threading.Event()
        self.pass_on()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://{HOST}:{self.port}"

    def pass_on(self) -> None:
        self._after, self._up, self._cuts, self._once = float("inf"), True, False, False
        self._count = 0
        self.reached.clear()
        self._gate.set()

    def cut(self, after: int, *, up: bool) -> None:
        self.pass_on()
        self._after, self._up, self._cuts = after, up, True

    def break_once(self, after: int, *, up: bool) -> None:
        self.cut(after, up=up)
        self._once = True

    def hold(self, after: int, *, up: bool) -> None:
        self.pass_on()
        self._after, self._up = after, up

    def close(self) -> None:
        self._gate.set()
        self._listening.close()
        self._end_all()

    def _end_all(self) -> None:
        with self._lock:
            for each in self._open:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listening.accept()
                if self.reached.is_set() and self._cuts and not self._once:
                    client.close()
                    continue
                server = socket.create_connection((HOST, self._server_port))
                with self._lock:
                    self._open += [client, server]
                for source, sink, up in ((client, server, True), (server, client, False)):
                    passing = (source, sink, up)
                    threading.Thread(target=self._pass, args=passing, daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        with source, suppress(OSError):
            while block := source.recv(1 << 14):
                if up == self._up:
                    self._count += len(block)
                    if self._count > self._after:
                        self._gate.clear()
                        self.reached.set()
                        if self._cuts:
                            if self._once:
                                self._after = float("inf")
                                self._gate.set()
                            self._end_all()
                            return
                        self._gate.wait()
                sink.sendall(block)
            with suppress(OSError):
                sink.shutdown(socket.SHUT_WR)
