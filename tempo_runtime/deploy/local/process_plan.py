"""Plan the servers of a deployment of processes, and what each is built from."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping

from tempo_runtime._util.ports import HOST, called, port_of, reserved
from tempo_runtime.deploy.deployment import port_error, with_child_addresses
from tempo_runtime.deploy.local.fingerprint import fingerprint
from tempo_runtime.deploy.local.records import Record
from tempo_runtime.deploy.local.server import ServerProcess, StartingServer, start
from tempo_runtime.deploy.options import LocalOptions
from tempo_runtime.servers import repository
from tempo_runtime.servers.repository import Served

_SETTINGS = ("TEMPO_RUNTIME_", "MLSERVER_")


class Plan:
    """Decides which servers continue and which are started, and their ports, before any is started.

    Args:
        before: The record of the running servers.
        models: The models to run.
        options: The options.
        stack: Closes the sockets that are handed to servers, and releases the ports reserved for them.
    """

    def __init__(
        self,
        before: Record,
        models: Mapping[str, Served],
        options: LocalOptions,
        stack: contextlib.ExitStack,
    ) -> None:
        self._models = models
        self._options = options
        self._before = before
        self.names = list(models)
        # Only the pipeline calls the children.
        self._hosts = dict.fromkeys(self.names, HOST) | {self.names[0]: options.host}
        running = {
            record.model: record
            for record in before.servers
            if record.model in models
            and record.host == self._hosts[record.model]
            and ServerProcess(record).alive
        }
        # Ports first, because a pipeline is started with the ports of its children.
        http, self._grpc = {}, {}
        self._sockets: dict[str, socket.socket] = {}
        for name in self.names:
            old = running.get(name)
            first, host = name == self.names[0], self._hosts[name]
            port, grpc_port = (options.port, options.grpc_port) if first else (0, 0)
            if old is not None and port in (0, old.http):
                http[name] = old.http
            else:
                opened = stack.enter_context(_listening(host, port))
                http[name], self._sockets[name] = port_of(opened), opened
            if old is not None and grpc_port in (0, old.grpc):
                self._grpc[name] = old.grpc
            else:
                self._grpc[name] = stack.enter_context(_reserved(host, grpc_port))
        urls = {
            name: {
                "http": f"http://{called(host)}:{http[name]}",
                "grpc": f"grpc://{called(host)}:{self._grpc[name]}",
            }
            for name, host in self._hosts.items()
        }
        environ = {**os.environ, **options.env}
        self._environs = {
            name: with_child_addresses(self._environ(name, served, environ), served, urls)
            for name, served in models.items()
        }
        self._fingerprints = {
            name: fingerprint(served, self._settings(name)) for name, served in models.items()
        }
        self.kept = {
            name: record
            for name, record in running.items()
            if record.fingerprint == self._fingerprints[name]
            and (record.http, record.grpc) == (http[name], self._grpc[name])
            and ServerProcess(record).ready()
        }
        self.new = [name for name in reversed(self.names) if name not in self.kept]
        for name in self.new:
            if name not in self._sockets:
                self._sockets[name] = stack.enter_context(ServerProcess(running[name]).shared())
        self._metrics = {
            name: stack.enter_context(reserved(self._hosts[name])) for name in self.new
        }

    def start(self, name: str) -> StartingServer:
        """Start a new server."""
        return start(
            self._models[name],
            self._before.folder,
            self._hosts[name],
            self._sockets[name],
            self._grpc[name],
            self._metrics[name],
            self._environs[name],
            self._fingerprints[name],
            self._workers(name),
        )

    def _environ(self, name: str, served: Served, environ: Mapping[str, str]) -> dict[str, str]:
        environ = repository.environment([served], environ)
        return repository.with_page(environ, self._options.page, self._hosts[name])

    def _settings(self, name: str) -> dict[str, str]:
        """Return what enters a server's fingerprint: variables of settings and options, and workers."""
        workers = self._workers(name)
        variables = {
            variable: value
            for variable, value in self._environs[name].items()
            if variable in self._options.env or variable.startswith(_SETTINGS)
        }
        return variables if workers is None else {**variables, "workers": str(workers)}

    def _workers(self, name: str) -> int | None:
        return self._options.workers if name == self.names[0] else None


def _listening(host: str, port: int) -> socket.socket:
    if why := port_error(host, port):
        raise why
    return socket.create_server((host, port))


def _reserved(host: str, port: int) -> contextlib.AbstractContextManager[int]:
    if port and (why := port_error(host, port)):
        raise why
    return reserved(host, port)
