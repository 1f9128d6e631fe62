"""Run a real MLServer on free ports, for a test."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempo_runtime._util import extras
from tempo_runtime._util.http_request import request
from tempo_runtime._util.ports import reserved
from tempo_runtime.errors import ServingFailed
from tempo_runtime.protocol.binding import decode_results, encode_arguments
from tempo_runtime.protocol.messages import Request, request_to_json, response_from_json
from tempo_runtime.request.context import TAGGED
from tempo_runtime.servers import repository
from tempo_runtime.servers.process import LocalServer, Ports

if TYPE_CHECKING:
    import httpx

_JSON = {"content-type": "application/json"}
_TIMEOUT = 120  # seconds


class ServerFailed(AssertionError):
    """The server ended, or a model was not ready in time. The message ends with the server's log."""


class Server:
    """An MLServer that serves a folder, on loopback ports that stay reserved for it; see `serve`.

    Attributes:
        models: Names of the models it serves.
    """

    def __init__(
        self,
        folder: Path,
        ports: Ports,
        models: list[str],
        environment: Mapping[str, str],
        grace: float,
    ) -> None:
        self.models = models
        self._grace = grace
        self._folder = folder
        self._ports = ports
        self._log = folder / "server.log"
        self._environment = environment
        self._http: httpx.Client | None = None
        self._opening = threading.Lock()
        self._start()

    @property
    def url(self) -> str:
        """Base URL over HTTP."""
        return self._server.url

    @property
    def grpc(self) -> str:
        """Address for gRPC."""
        return self._server.grpc

    @property
    def metrics(self) -> str:
        """URL of its metrics."""
        return self._server.metrics

    @property
    def http(self) -> httpx.Client:
        """An HTTP client of the server. It needs the package httpx."""
        with self._opening:
            if self._http is None:
                self._http = self._open_client()
            return self._http

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process."""
        return self._server.process

    def log(self) -> str:
        """Return what the server has printed so far."""
        return self._log.read_text(errors="replace")

    def infer(self, model: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a model with Python values, and return its result as a Python value.

        Raises:
            AssertionError: If the status is not 200; the message includes the body.
        """
        tensors = encode_arguments(None, args, kwargs, tagged=True)
        body = request_to_json(Request(tensors, parameters={TAGGED: True}))
        url = f"{self.url}/v2/models/{model}/infer"
        answer = request(url, _TIMEOUT, body=body, headers=_JSON)
        assert answer.status == 200, f"{answer.status}: {answer.body.decode(errors='replace')}"
        response = response_from_json(answer.body)
        return decode_results(None, response.tensors, response.content_type)

    def post(self, model: str, body: bytes | Mapping[str, Any]) -> httpx.Response:
        """Post a V2 request without changes."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http.post(f"/v2/models/{model}/infer", content=content, headers=_JSON)

    def wait_ready(self, timeout: float) -> None:
        """Wait until every model reports that it is ready.

        Raises:
            ServerFailed: If a model is not ready in time.
        """
        try:
            for _ in self._server.ready(self.models, timeout):
                pass
        except ServingFailed as error:
            raise ServerFailed(f"{error}:\n{self.log()}") from error

    def stop(self) -> None:
        """End the server and the processes it started; it answers current calls first."""
        self._server.stop()
        self._close_client()

    def kill(self) -> None:
        """Kill the server and the processes it started, as the kernel does when memory is short."""
        self._server.kill()
        self._close_client()

    def restart(self, timeout: float = 60) -> None:
        """Serve the same folder on the same ports again; a running server is killed first.

        Raises:
            ServerFailed: If a model is not ready after `timeout` seconds.
        """
        self.kill()
        self._start()
        self.wait_ready(timeout)

    def _start(self) -> None:
        with open(self._log, "ab") as output:
            self._server = LocalServer(
                self._folder, self._ports, self._environment, output, grace=self._grace
            )

    def _open_client(self) -> httpx.Client:
        try:
            import httpx
        except ImportError as error:
            raise ImportError(
                f"Server.http and Server.post need the package httpx: {extras.command('testing')}"
            ) from error
        limits = httpx.Limits(keepalive_expiry=2)  # below the 5 s after which the server closes
        return httpx.Client(base_url=self.url, timeout=_TIMEOUT, trust_env=False, limits=limits)

    def _close_client(self) -> None:
        if self._http is not None:
            self._http.close()
            self._http = None


@contextlib.contextmanager
def serve(
    *folders: str | os.PathLike[str],
    settings: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 60,
) -> Iterator[Server]:
    """Serve folders with a real `mlserver start`, on free loopback ports.

    Args:
        folders: Artifacts, or folders of folders with a model-settings.json. A settings.json in
            the first one is used.
        settings: Additional settings of MLServer, such as `parallel_workers` (0 by default).
        env: Additional environment variables.
        timeout: Seconds in which all models must be ready.

    Raises:
        ServerFailed: If the server ends, or a model is not ready in time.
    """
    with contextlib.ExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(prefix="tempo-serve-", ignore_cleanup_errors=True)
        root = Path(stack.enter_context(temporary))
        ports = Ports(*(stack.enter_context(reserved()) for _ in Ports._fields))
        stated = repository.server_settings(folders[0] if folders else None)
        server = {**repository.SERVER_DEFAULTS, **stated, **(settings or {}), **ports.settings()}
        paths = [path for folder in folders for path in repository.settings_files(folder)]
        models = list(map(_served, paths))
        repository.write(root, models, server)
        names = [model.name for model in models]
        environment = {**os.environ, **(env or {})}
        grace = repository.seconds_to_end(models, environment)
        running = Server(root, ports, names, environment, grace)
        stack.callback(running.stop)
        running.wait_ready(timeout)
        yield running


def _served(path: str) -> repository.Served:
    folder = os.path.dirname(path)
    settings = repository.located(repository.read(path), folder)
    name = str(settings.setdefault("name", os.path.basename(folder)))
    return repository.Served(name, settings, folder)
