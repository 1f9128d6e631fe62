"""Target `process`: one MLServer on this machine for each model and pipeline."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from tempo_runtime.deploy import records
from tempo_runtime.deploy.deployment import GRACE, Address, Deployment, ModelStatus, addressed
from tempo_runtime.deploy.options import LocalOptions
from tempo_runtime.deploy.reaper import Reaper
from tempo_runtime.deploy.records import Process, Record, ServerRecord
from tempo_runtime.deploy.server import Server, Starting, fingerprint, start
from tempo_runtime.errors import DeploymentFailed
from tempo_runtime.layers import merge, parse_json
from tempo_runtime.ports import called, free_ports, port_of, refused
from tempo_runtime.serving.repository import Served

KIND = "process"
_MODELS = "TEMPO_RUNTIME_MODELS"


class ProcessDeployment(Deployment):
    """A deployment of processes.

    Args:
        record: What is written down of it.
        reaper: What ends it if this process cannot.
    """

    target = KIND

    def __init__(self, record: Record, reaper: Reaper | None = None) -> None:
        self._record = record
        self._reaper = reaper

    @property
    def name(self) -> str:
        """See `Deployment.name`."""
        return self._record.name

    @property
    def id(self) -> str:
        """See `Deployment.id`."""
        return os.path.basename(self._record.folder)

    @property
    def transport(self) -> str:
        """See `Deployment.transport`."""
        return self._record.transport

    @property
    def created(self) -> str:
        """See `Deployment.created`."""
        return self._record.created

    @property
    def owner(self) -> int | None:
        """See `Deployment.owner`."""
        return None if self._record.owner is None else self._record.owner.pid

    @property
    def up(self) -> bool:
        """See `Deployment.up`."""
        return bool(self._current().servers)

    def main(self) -> Address:
        """See `Deployment.main`."""
        if not (self._record.servers and self._record.there):
            raise DeploymentFailed(f"{self.name} was undeployed; deploy it again")
        server = Server(self._record.servers[0])
        return Address(server.record.model, server.url, server.grpc)

    def models(self) -> list[ModelStatus]:
        """See `Deployment.models`."""
        return [_status(Server(record)) for record in self._current().servers]

    def logs(self, model: str | None = None) -> dict[str, str]:
        """See `Deployment.logs`."""
        return {
            record.model: Server(record).text()
            for record in self._current().servers
            if model in (None, record.model)
        }

    def undeploy(self, grace: float = GRACE) -> None:
        """See `Deployment.undeploy`."""
        record = self._current()
        servers = [Server(each) for each in (*record.servers, *record.leaving)]
        for server in servers:
            server.terminate()
        deadline = time.monotonic() + grace
        for server in servers:
            server.end(deadline)
        record.remove()
        self._record = dataclasses.replace(record, servers=(), leaving=())
        self._let_go()

    def replace(
        self,
        models: Mapping[str, Served],
        options: LocalOptions,
        told: Callable[[str], object],
    ) -> list[str]:
        """See `Deployment.replace`."""
        before = self._current()
        deadline = time.monotonic() + options.timeout
        with contextlib.ExitStack() as stack:
            plan = _Plan(before, models, options, stack)
            starting: dict[str, Starting] = {}
            try:
                for name in plan.new:
                    starting[name] = plan.start(name)
                    self._write(before, starting)
                for name, server in starting.items():
                    server.wait(deadline)
                    told(name)
                self._commit(before, plan, starting, options)
            except BaseException as error:
                self._undo(before, starting)
                if before.servers and isinstance(error, DeploymentFailed):
                    raise DeploymentFailed(f"{error}; what ran before still does") from error
                raise
        return list(starting)

    def _commit(
        self,
        before: Record,
        plan: _Plan,
        starting: Mapping[str, Starting],
        options: LocalOptions,
    ) -> None:
        for server in starting.values():
            server.serve()
            if options.detached:
                server.detach()
        new = {name: server.record for name, server in starting.items()}
        kept = [new.get(name) or plan.kept[name] for name in plan.names]
        replaced = [each for each in before.servers if each not in kept]
        leaving = [each for each in before.leaving if Server(each).alive]
        for each in set(before.leaving) - set(leaving):
            shutil.rmtree(each.folder, ignore_errors=True)
        self._record = dataclasses.replace(
            before,
            owner=None if options.detached else before.owner,
            transport=options.transport,
            servers=tuple(kept),
            leaving=(*leaving, *replaced),
        )
        self._record.write()
        if options.detached:
            self._let_go()
        if replaced:
            # All at once: each waits for connections that are kept, and not used, to be closed.
            with ThreadPoolExecutor(len(replaced)) as threads:
                list(threads.map(lambda each: Server(each).retire(), replaced))

    def _let_go(self) -> None:
        reaper, self._reaper = self._reaper, None
        if reaper is not None:
            reaper.stop()

    def _undo(self, before: Record, starting: Mapping[str, Starting]) -> None:
        for server in starting.values():
            server.kill()
            shutil.rmtree(server.record.folder, ignore_errors=True)
        self._record = before
        before.write()

    def _write(self, before: Record, starting: Mapping[str, Starting]) -> None:
        """Has those be ended that nobody calls yet, if we are."""
        own = tuple(server.record for server in starting.values())
        dataclasses.replace(before, leaving=(*before.leaving, *own)).write()

    def _current(self) -> Record:
        """What is written down now: another process may have replaced it, or undeployed it."""
        try:
            self._record = records.read(self._record.folder)
        except OSError:
            self._record = dataclasses.replace(self._record, servers=(), leaving=())
        return self._record


class _Plan:
    """Which servers go on and which are started, each with its port, before any is.

    Args:
        before: What runs.
        models: What is to run.
        options: How.
        stack: Closes the sockets that servers are handed.
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
        running = {
            record.model: record
            for record in before.servers
            if record.model in models and record.host == options.host and Server(record).alive
        }
        main = self.names[0]
        if main in running and not _at(running[main], options):
            del running[main]
        # Ports first: what a pipeline is started with are those of its children.
        self._grpc = {name: record.grpc for name, record in running.items()}
        self._sockets: dict[str, socket.socket] = {}
        http = {name: record.http for name, record in running.items()}
        for name in self.names:
            if name not in running:
                first = name == main
                opened = _listening(options.host, options.port if first else 0)
                self._sockets[name] = stack.enter_context(opened)
                http[name] = port_of(opened)
                self._grpc[name] = _grpc_port(options.host, options.grpc_port if first else 0)
        place = called(options.host)
        urls = {
            name: {
                "http": f"http://{place}:{http[name]}",
                "grpc": f"grpc://{place}:{self._grpc[name]}",
            }
            for name in self.names
        }
        self._addresses = {name: addressed(served, urls) for name, served in models.items()}
        self._fingerprints = {
            name: fingerprint(served, {**options.env, _MODELS: json.dumps(self._addresses[name])})
            for name, served in models.items()
        }
        self.kept = {
            name: record
            for name, record in running.items()
            if record.fingerprint == self._fingerprints[name] and Server(record).ready()
        }
        self.new = [name for name in reversed(self.names) if name not in self.kept]
        for name in self.new:
            if name in running:
                self._sockets[name] = stack.enter_context(Server(running[name]).shared())
        self._metrics = dict(zip(self.new, free_ports(len(self.new))))

    def start(self, name: str) -> Starting:
        """Starts one of those that are new."""
        environ = {**os.environ, **self._options.env}
        known = parse_json(environ.get(_MODELS, "{}"))
        environ[_MODELS] = json.dumps(merge(known, self._addresses[name]))
        return start(
            self._models[name],
            self._before.folder,
            self._sockets[name],
            self._grpc[name],
            self._metrics[name],
            environ,
            self._fingerprints[name],
        )


def create(name: str, options: LocalOptions) -> ProcessDeployment:
    """A deployment that serves nothing yet.

    Raises:
        DeploymentFailed: If its folder cannot be made.
    """
    try:
        record = records.create(name, Process.of(os.getpid()), options.transport)
    except OSError as error:
        raise DeploymentFailed(
            f"{records.home()}: {error.strerror}; name a folder that can be written with "
            "XDG_STATE_HOME"
        ) from error
    # One that is to stay is ours until it is up.
    return ProcessDeployment(record, Reaper(KIND, record.folder))


def found() -> Iterator[ProcessDeployment]:
    """Every deployment of processes on this machine; what is left of those that have ended is removed."""
    for record in records.found():
        servers = [Server(each) for each in (*record.servers, *record.leaving)]
        owned = record.owner is not None and record.owner.alive
        if owned or any(server.alive for server in servers):
            yield ProcessDeployment(record)
        else:
            record.remove()


def _status(server: Server) -> ModelStatus:
    record = server.record
    alive = server.alive
    state = "ended" if not alive else "ready" if server.ready() else "not ready"
    return ModelStatus(
        record.model, state, server.url, server.grpc, f"process {record.process.pid}"
    )


def _at(record: ServerRecord, options: LocalOptions) -> bool:
    """Whether a server has the ports that it is to have."""
    return options.port in (0, record.http) and options.grpc_port in (0, record.grpc)


def _listening(host: str, port: int) -> socket.socket:
    if port and (why := refused(host, port)):
        raise DeploymentFailed(f"port {port} of {host} {why}; choose another")
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
    except OSError as error:
        raise DeploymentFailed(
            f"{host} cannot be listened at ({error.strerror or error}); is it one of this machine's?"
        ) from error


def _grpc_port(host: str, port: int) -> int:
    if port and (why := refused(host, port)):
        raise DeploymentFailed(f"port {port} of {host} {why}; choose another")
    return port or free_ports(1)[0]
