"""Helpers for the tests of your own pipelines.

with serve("artifacts/explainer") as server:
answer = server.infer("income-explainer", payload=rows, parameters={"threshold": 0.95})
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from tempo_runtime.binding import decode_results, encode_arguments
from tempo_runtime.wire import Request, request_to_json, response_from_json

_SETTINGS = "settings.json"
_MODEL_SETTINGS = "model-settings.json"
_POLL = 0.05
_GRACE = 15.0


class ServerFailed(AssertionError):
    """The server ended, or a model was not ready in time; the message ends with its log."""


class Server:
    """A running MLServer.

    Attributes:
        url: Base URL over HTTP.
        grpc: Address over gRPC.
        metrics: URL of its metrics.
        models: Names of the models it serves.
        process: The process.
    """

    def __init__(
        self, ports: list[int], models: list[str], process: subprocess.Popen[bytes], log: Path
    ) -> None:
        self.url = f"http://127.0.0.1:{ports[0]}"
        self.grpc = f"127.0.0.1:{ports[1]}"
        self.metrics = f"http://127.0.0.1:{ports[2]}/metrics"
        self.models = models
        self.process = process
        self._log = log
        self.http = httpx.Client(base_url=self.url, timeout=120, trust_env=False)

    def log(self) -> str:
        """What the server has printed so far."""
        return self._log.read_text(errors="replace")

    def infer(self, model: str, /, *args: Any, **kwargs: Any) -> Any:
        """Calls a model with Python values, and gives its result as one.

        Raises:
            AssertionError: If the status is not 200; the message has the body.
        """
        body = request_to_json(Request(encode_arguments(None, args, kwargs)))
        answer = self.post(model, body)
        assert answer.status_code == 200, f"{answer.status_code}: {answer.text}"
        response = response_from_json(answer.content)
        return decode_results(None, response.tensors, response.content_type)

    def post(self, model: str, body: bytes | Mapping[str, Any]) -> httpx.Response:
        """Posts a V2 request as it stands."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        return self.http.post(f"/v2/models/{model}/infer", content=content, headers=headers)

    def wait_ready(self, timeout: float) -> None:
        """Waits until every model says that it is ready.

        Raises:
            ServerFailed: If one does not in time.
        """
        end = time.monotonic() + timeout
        waiting = list(self.models)
        while waiting:
            if self.process.poll() is not None:
                raise ServerFailed(
                    f"the server ended with {self.process.returncode}:\n{self.log()}"
                )
            if time.monotonic() > end:
                raise ServerFailed(f"not ready after {timeout:g} s: {waiting}:\n{self.log()}")
            try:
                if self.http.get(f"/v2/models/{waiting[0]}/ready").status_code == 200:
                    waiting.pop(0)
                    continue
            except httpx.TransportError:
                pass
            time.sleep(_POLL)

    def stop(self) -> None:
        """Ends the server and all it started."""
        self.http.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_GRACE)
            # Its parallel workers are in its session, and may have outlived it.
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def serve(
    *folders: str | os.PathLike[str],
    settings: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 60,
) -> Iterator[Server]:
    """Serves folders with a real `mlserver start`, on free loopback ports.

    Args:
        folders: Artefacts, or folders of folders with a model-settings.json. A settings.json in
            the first is used.
        settings: More of MLServer's settings, such as `parallel_workers` (0 by default).
        env: More environment variables.
        timeout: Seconds that all models together may take to be ready.

    Raises:
        ServerFailed: If the server ends, or a model is not ready in time.
    """
    root = Path(tempfile.mkdtemp(prefix="tempo-serve-"))
    ports = free_ports(3)
    names = ("http_port", "grpc_port", "metrics_port")
    own = Path(folders[0]) / _SETTINGS if folders else root / _SETTINGS
    merged = {"parallel_workers": 0, "debug": False, "host": "127.0.0.1"}
    merged |= json.loads(own.read_text()) if own.is_file() else {}
    merged |= dict(settings or {}) | dict(zip(names, ports))
    (root / _SETTINGS).write_text(json.dumps(merged))
    models = [_link(found, root) for folder in folders for found in _model_settings(folder)]
    # What a pipeline's children are found by, where they are siblings.
    own_ports = {"MLSERVER_HTTP_PORT": str(ports[0]), "MLSERVER_GRPC_PORT": str(ports[1])}
    environment = {**os.environ, **(env or {}), **own_ports}
    log = root / "server.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(  # noqa: S603 - this Python, and a folder made above
            [sys.executable, "-c", "from mlserver.cli import main; main()", "start", str(root)],
            cwd=root,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    server = Server(ports, models, process, log)
    try:
        server.wait_ready(timeout)
        yield server
    finally:
        server.stop()
        shutil.rmtree(root, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _model_settings(folder: str | os.PathLike[str]) -> list[str]:
    pattern = os.path.join(os.path.abspath(folder), "**", _MODEL_SETTINGS)
    return sorted(glob.glob(pattern, recursive=True))


def _link(path: str, root: Path) -> str:
    """Puts a model's settings into the server's own folder, its URI made absolute."""
    folder = os.path.dirname(path)
    settings = json.loads(Path(path).read_text())
    name = str(settings.setdefault("name", os.path.basename(folder)))
    parameters = settings.setdefault("parameters", {})
    parameters["uri"] = os.path.normpath(os.path.join(folder, parameters.get("uri", ".")))
    place = root / name
    place.mkdir()
    (place / _MODEL_SETTINGS).write_text(json.dumps(settings))
    return name
