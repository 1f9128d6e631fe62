"""Run MLServer in the process of a deployed model, on a port that it may take over from another process.

It loads its models while nobody can reach it, reports that they are ready, and only then listens on the
public port. The previous process on that port continues until it has answered its requests. The
deploying process sends commands through a Unix socket in the server's folder, which no other user can
open.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn
from mlserver import MLServer, ModelSettings, Settings
from mlserver.cli.serve import load_settings
from mlserver.logging import logger
from mlserver.repository.repository import DEFAULT_MODEL_SETTINGS_FILENAME
from mlserver.utils import install_uvloop_event_loop

from tempo_runtime.runtime import dispatch, drain, error_mapping, rest_server
from tempo_runtime.servers.child_pipe import detach
from tempo_runtime.servers.control_socket import CONTROL, DETACH, DONE, RETIRE, SERVE, SOCKET

_TICK = 0.02
_IDLE = 5.0  # seconds that a client's unused connection may stay open; uvicorn's own limit
_LONG = 24 * 3600.0  # seconds; the requests themselves time out earlier


class _LoadFailed(Exception):
    """A model cannot be loaded; the log says why."""


class _Uvicorn(uvicorn.Server):
    """Leaves signals to MLServer, in old and new versions of uvicorn."""

    def install_signal_handlers(self) -> None:
        pass

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Server(MLServer):  # type: ignore[misc]  # it has no types
    """MLServer that serves its public port only on command.

    Args:
        settings: MLServer's.
        public: The listening socket for callers.
        private: A listening socket for the deploying process.
    """

    def __init__(self, settings: Settings, public: socket.socket, private: socket.socket) -> None:
        super().__init__(settings)
        drain.watch()
        self._public, self._private = public, private
        self._loop = asyncio.get_running_loop()
        self._may_serve = asyncio.Event()
        self._serving = False
        self._calls: asyncio.Future[None] | None = None
        self._rest_server.start = self._serve_rest

    async def start(self, models_settings: list[ModelSettings] = []) -> None:  # noqa: B006 - as MLServer's
        """Load the models, wait for the command to serve them, and serve them until stopped."""
        threading.Thread(target=self._run_commands, name="tempo-control", daemon=True).start()
        private_server = self._uvicorn()
        serving = asyncio.create_task(private_server.serve(sockets=[self._private]))
        try:
            await asyncio.gather(*map(self._model_registry.load, models_settings))
        except Exception:
            logger.exception("Some of the models failed to load during startup!")
            if self._inference_pool_registry:
                await self._inference_pool_registry.close()
            raise _LoadFailed from None
        await self._may_serve.wait()
        await super().start([])
        private_server.should_exit = True
        await serving

    async def stop(self, sig: int | None = None) -> None:
        """Stop the server once the requests in progress are answered."""
        if not self._serving:
            if self._inference_pool_registry:
                await self._inference_pool_registry.close()
            os._exit(128 + (sig or 0))  # it has no requests
        calls = self._close_connections()
        while self._rest_server._server.server_state.tasks:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(_TICK)
        await calls
        # MLServer itself would end workers at once, and calls over gRPC after 5 s.
        await super().stop(sig)
        drain.begin()  # the author's threads may hang and keep the process from ending

    async def _retire(self) -> None:
        """Start to stop the server; return when it can get no more requests."""
        self._close_connections()
        rest = self._rest_server._server.server_state
        end = time.monotonic() + _IDLE
        while any(map(_unused, rest.connections)) and time.monotonic() < end:  # noqa: ASYNC110
            await asyncio.sleep(_TICK)
        self._ending = asyncio.create_task(self.stop(signal.SIGTERM))

    def _close_connections(self) -> asyncio.Future[None]:
        """Accept no more connections, and close each open one after its current answer.

        Returns:
            A future that is done when all calls over gRPC are answered.
        """
        if self._calls is None:
            rest = self._rest_server._server
            for server in rest.servers:
                server.close()
            rest.config.encoded_headers.append((b"connection", b"close"))
            state = rest.server_state
            state.default_headers = [*state.default_headers, (b"connection", b"close")]
            self._calls = asyncio.ensure_future(self._grpc_server._server.stop(_LONG))
        return self._calls

    def _uvicorn(self) -> uvicorn.Server:
        return _Uvicorn(self._rest_server._get_config())

    async def _serve_rest(self) -> None:
        self._rest_server._server = server = self._uvicorn()
        logger.info("HTTP server running on port %s", self._public.getsockname()[1])
        await server.serve(sockets=[self._public])

    async def _serve(self) -> None:
        self._may_serve.set()
        # gRPC has a port once it has a server.
        while not hasattr(self._grpc_server, "_server"):  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(_TICK)
        while not self._rest_server._server.started:  # noqa: ASYNC110
            await asyncio.sleep(_TICK)
        drain.watch()  # again, because each uvicorn server has installed its own handler
        self._serving = True

    def _run_commands(self) -> None:
        with socket.socket(socket.AF_UNIX) as control:
            # In the working directory, because the length of a socket's path is limited.
            control.bind(CONTROL)
            control.listen()
            while True:
                client, _ = control.accept()
                with client, contextlib.suppress(OSError):
                    self._answer(client)

    def _answer(self, client: socket.socket) -> None:
        command = client.recv(1)
        if command == SOCKET:
            socket.send_fds(client, [DONE], [self._public.fileno()])
            return
        if command == SERVE:
            asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result()
        elif command == RETIRE:
            asyncio.run_coroutine_threadsafe(self._retire(), self._loop).result()
        elif command == DETACH:
            detach()
        client.send(DONE)


def _unused(connection: Any) -> bool:
    """Return whether a connection of uvicorn has no request in progress."""
    return connection.cycle is None or connection.cycle.response_complete


def main(public: int, private: int) -> None:
    """Serve the working directory.

    Args:
        public: File descriptor of the listening socket for callers.
        private: File descriptor of the listening socket for the deploying process.
    """
    install_uvloop_event_loop()
    # Also needed if only workers in another environment load our runtime, or none does.
    dispatch.install()
    error_mapping.install()
    rest_server.install()
    try:
        asyncio.run(_run(socket.socket(fileno=public), socket.socket(fileno=private)))
    except _LoadFailed:
        sys.exit(1)


async def _run(public: socket.socket, private: socket.socket) -> None:
    settings, models = await load_settings(".")
    _refuse_fewer(models)
    await _Server(settings, public, private).start(models)


def _refuse_fewer(models: list[ModelSettings]) -> None:
    """Stop a server that would start without the models whose settings it cannot read."""
    if len(models) < len(list(Path().rglob(DEFAULT_MODEL_SETTINGS_FILENAME))):
        logger.error(
            "MLServer leaves out models of this folder; correct their settings, or unset "
            "MLSERVER_LOAD_MODELS_AT_STARTUP"
        )
        raise _LoadFailed
