"""What runs in the process of a deployed model: MLServer, on a port that it may take over from another.

It loads its models while nobody can reach it, says when they are ready, and only then listens on the port
that callers know. The process that had the port before goes on until it has answered what it was asked.
Whoever deploys talks to it over a Unix socket in its folder, which it alone can open.
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

from tempo_runtime.runtime import drain, error_mapping
from tempo_runtime.servers.child_pipe import detach
from tempo_runtime.servers.control_socket import CONTROL, DETACH, DONE, RETIRE, SERVE, SOCKET

_TICK = 0.02
_IDLE = 5.0  # seconds that a client's unused connection may stay open; uvicorn's own limit
_LONG = 24 * 3600.0  # seconds: a request's own time ends before


class _LoadFailed(Exception):
    """A model cannot be loaded; the log says why."""


class _Uvicorn(uvicorn.Server):
    """Leaves signals to MLServer, in uvicorn's versions old and new."""

    def install_signal_handlers(self) -> None:
        pass

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Server(MLServer):  # type: ignore[misc]  # it has no types
    """MLServer that is reached when it is told so.

    Args:
        settings: MLServer's.
        public: The listening socket that callers know.
        private: One for whoever deploys.
    """

    def __init__(self, settings: Settings, public: socket.socket, private: socket.socket) -> None:
        super().__init__(settings)
        drain.watch()
        self._public, self._private = public, private
        self._loop = asyncio.get_running_loop()
        self._told_to_serve = asyncio.Event()
        self._serving = False
        self._calls: asyncio.Future[None] | None = None
        self._rest_server.start = self._serve_rest

    async def start(self, models_settings: list[ModelSettings] = []) -> None:  # noqa: B006 - as MLServer's
        """Load the models, waits to be told, and serve them until it is stopped."""
        threading.Thread(target=self._obey, name="tempo-control", daemon=True).start()
        asked = self._uvicorn()
        asking = asyncio.create_task(asked.serve(sockets=[self._private]))
        try:
            await asyncio.gather(*map(self._model_registry.load, models_settings))
        except Exception:
            logger.exception("Some of the models failed to load during startup!")
            if self._inference_pool_registry:
                await self._inference_pool_registry.close()
            raise _LoadFailed from None
        await self._told_to_serve.wait()
        await super().start([])
        asked.should_exit = True
        await asking

    async def stop(self, sig: int | None = None) -> None:
        """End the server; what it is being asked is answered first."""
        if not self._serving:
            if self._inference_pool_registry:
                await self._inference_pool_registry.close()
            os._exit(128 + (sig or 0))  # nobody has asked it anything
        calls = self._leave()
        while self._rest_server._server.server_state.tasks:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(_TICK)
        await calls
        # MLServer's own way ends workers at once, and calls over gRPC after 5 s.
        await super().stop(sig)
        drain.begin()  # the author's threads may hang and keep the process from ending

    async def _retire(self) -> None:
        """Has the server end; returns when nobody can ask it any more."""
        self._leave()
        rest = self._rest_server._server.server_state
        end = time.monotonic() + _IDLE
        while any(map(_unused, rest.connections)) and time.monotonic() < end:  # noqa: ASYNC110
            await asyncio.sleep(_TICK)
        self._ending = asyncio.create_task(self.stop(signal.SIGTERM))

    def _leave(self) -> asyncio.Future[None]:
        """Take no more connections, and has the others end with the answer of what is asked on them.

        Returns:
            Done when all calls over gRPC are answered.
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
        self._told_to_serve.set()
        # gRPC has its port once it has a server.
        while not hasattr(self._grpc_server, "_server"):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(_TICK)
        while not self._rest_server._server.started:  # noqa: ASYNC110
            await asyncio.sleep(_TICK)
        drain.watch()  # again: each uvicorn server has put its own handler in front
        self._serving = True

    def _obey(self) -> None:
        with socket.socket(socket.AF_UNIX) as control:
            # In the working directory: the length of a socket's path is limited.
            control.bind(CONTROL)
            control.listen()
            while True:
                asker, _ = control.accept()
                with asker, contextlib.suppress(OSError):
                    self._answer(asker)

    def _answer(self, asker: socket.socket) -> None:
        asked = asker.recv(1)
        if asked == SOCKET:
            socket.send_fds(asker, [DONE], [self._public.fileno()])
            return
        if asked == SERVE:
            asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result()
        elif asked == RETIRE:
            asyncio.run_coroutine_threadsafe(self._retire(), self._loop).result()
        elif asked == DETACH:
            detach()
        asker.send(DONE)


def _unused(connection: Any) -> bool:
    """Return whether nothing is asked on a connection of uvicorn's."""
    return connection.cycle is None or connection.cycle.response_complete


def main(public: int, private: int) -> None:
    """Serve the working directory.

    Args:
        public: File descriptor of the listening socket that callers know.
        private: File descriptor of one for whoever deploys.
    """
    install_uvloop_event_loop()
    error_mapping.install()  # also if only its workers, in an environment of their own, load our runtime
    try:
        asyncio.run(_run(socket.socket(fileno=public), socket.socket(fileno=private)))
    except _LoadFailed:
        sys.exit(1)


async def _run(public: socket.socket, private: socket.socket) -> None:
    settings, models = await load_settings(".")
    _refuse_fewer(models)
    await _Server(settings, public, private).start(models)


def _refuse_fewer(models: list[ModelSettings]) -> None:
    """End what MLServer would serve without the models whose settings it cannot read."""
    if len(models) < len(list(Path().rglob(DEFAULT_MODEL_SETTINGS_FILENAME))):
        logger.error(
            "MLServer leaves out models of this folder; correct their settings, or unset "
            "MLSERVER_LOAD_MODELS_AT_STARTUP"
        )
        raise _LoadFailed
