"""A real MLServer on free ports, for a test."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from tempo_runtime.binding import decode_results, encode_arguments
from tempo_runtime.testing.ports import HOST, port_of, reserve
from tempo_runtime.wire import Request, request_to_json, response_from_json

_SETTINGS = "settings.json"
_MODEL_SETTINGS = "model-settings.json"
_PORTS = ("http_port", "grpc_port", "metrics_port")
_MLSERVER = "from mlserver.cli import main; main()"
_POLL = 0.05
_GRACE = 15.0


class ServerFailed(AssertionError):
    """The server ended, or a model was not ready in time; the message ends with its log."""


class Server:
    """An MLServer that serves a folder, on loopback ports that stay its own.

    Made by `serve`.

    Attributes:
        url: Base URL over HTTP.
        grpc: Address over gRPC.
        metrics: URL of its metrics.
        models: Names of the models it serves.
        process: The process.
        http: A client of it.
    """

    process: subprocess.Popen[bytes]
    http: httpx.Client

    def __init__(
        self, folder: Path, ports: list[int], models: list[str], environment: Mapping[str, str]
    ) -> None:
        self.url = f"http://{HOST}:{ports[0]}"
        self.grpc = f"{HOST}:{ports[1]}"
        self.metrics = f"http://{HOST}:{ports[2]}/metrics"
        self.models = models
        self._folder = folder
        self._log = folder / "server.log"
        self._environment = environment
        self._start()

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
        """Ends the server and all it started; calls it works on are answered first."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_GRACE)
        self.kill()

    def kill(self) -> None:
        """Ends the server and all it started, at once, as the kernel does that is out of memory."""
        if self.http.is_closed:  # ended before: its number may be another process' by now
            return
        self.http.close()
        # Its parallel workers are in its session, and may outlive it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def restart(self, timeout: float = 60) -> None:
        """Serves the same folder again, on the same ports; a server that is up is killed first.

        Raises:
            ServerFailed: If a model is not ready after `timeout` seconds.
        """
        self.kill()
        self._start()
        self.wait_ready(timeout)

    def _start(self) -> None:
        limits = httpx.Limits(keepalive_expiry=2)  # below the 5 s after which the server closes
        self.http = httpx.Client(base_url=self.url, timeout=120, trust_env=False, limits=limits)
        with open(self._log, "ab") as output:
            self.process = subprocess.Popen(  # noqa: S603 - this Python, and a folder of `serve`
                [sys.executable, "-c", _MLSERVER, "start", str(self._folder)],
                cwd=self._folder,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )


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
    with contextlib.ExitStack() as stack:
        folder = tempfile.TemporaryDirectory(prefix="tempo-serve-", ignore_cleanup_errors=True)
        root = Path(stack.enter_context(folder))
        ports = [port_of(stack.enter_context(reserve())) for _ in _PORTS]
        own = Path(folders[0]) / _SETTINGS if folders else root / _SETTINGS
        merged = {"parallel_workers": 0, "debug": False, "host": HOST}
        merged |= json.loads(own.read_text()) if own.is_file() else {}
        merged |= dict(settings or {}) | dict(zip(_PORTS, ports))
        (root / _SETTINGS).write_text(json.dumps(merged))
        models = [_link(found, root) for each in folders for found in _model_settings(each)]
        # What a pipeline's children are found by, where they are siblings.
        own_ports = {"MLSERVER_HTTP_PORT": str(ports[0]), "MLSERVER_GRPC_PORT": str(ports[1])}
        server = Server(root, ports, models, {**os.environ, **(env or {}), **own_ports})
        stack.callback(server.stop)
        server.wait_ready(timeout)
        yield server


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
    if tarball := parameters.get("environment_tarball"):
        parameters["environment_tarball"] = os.path.normpath(os.path.join(folder, tarball))
    place = root / name
    place.mkdir()
    (place / _MODEL_SETTINGS).write_text(json.dumps(settings))
    return name
