"""Target `process`: one MLServer on this machine for each model and pipeline."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from tempo_runtime.deploy.deployment import GRACE, Address, LocalDeployment, ModelStatus
from tempo_runtime.deploy.local import records
from tempo_runtime.deploy.local.process_plan import Plan
from tempo_runtime.deploy.local.records import Process, Record
from tempo_runtime.deploy.local.server import ServerProcess, StartingServer
from tempo_runtime.deploy.local.watchdog import Watchdog
from tempo_runtime.deploy.options import LocalOptions
from tempo_runtime.errors import DeploymentFailed
from tempo_runtime.servers.repository import Served

KIND = "process"
_POLL = 0.05


class ProcessDeployment(LocalDeployment):
    """A deployment of processes.

    Args:
        record: The record that describes it.
        watchdog: Ends the deployment if this process dies.
    """

    target = KIND

    def __init__(self, record: Record, watchdog: Watchdog | None = None) -> None:
        self._record = record
        self._watchdog = watchdog

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
        if not (self._record.servers and self._record.exists):
            raise DeploymentFailed(f"{self.name} was undeployed; deploy it again")
        server = ServerProcess(self._record.servers[0])
        return Address(server.record.model, server.url, server.grpc)

    def models(self) -> list[ModelStatus]:
        """See `Deployment.models`."""
        return [_status(ServerProcess(record)) for record in self._current().servers]

    def logs(self, model: str | None = None) -> dict[str, str]:
        """See `Deployment.logs`."""
        return {
            record.model: ServerProcess(record).text()
            for record in self._current().servers
            if model in (None, record.model)
        }

    def undeploy(self, grace: float = GRACE) -> None:
        """See `Deployment.undeploy`."""
        record = self._current()
        record.announce_removal()
        deadline = time.monotonic() + grace
        # Children are stopped once their callers have ended.
        for group in ((*record.servers[:1], *record.leaving), record.servers[1:]):
            servers = [ServerProcess(server_record) for server_record in group]
            for server in servers:
                server.terminate()
            for server in servers:
                server.end(deadline)
        record.remove()
        self._record = dataclasses.replace(record, servers=(), leaving=())
        self._stop_watchdog()

    def replace(
        self,
        models: Mapping[str, Served],
        options: LocalOptions,
        on_ready: Callable[[str], object],
    ) -> list[str]:
        """See `LocalDeployment.replace`."""
        before = self._current()
        before.withdraw_removal()
        deadline = time.monotonic() + options.timeout
        with contextlib.ExitStack() as stack:
            plan = Plan(before, models, options, stack)
            starting: dict[str, StartingServer] = {}
            try:
                for name in plan.new:
                    starting[name] = plan.start(name)
                    self._write(before, starting)
                _wait(starting, deadline, on_ready)
                replaced = self._commit(before, plan, starting, options)
            except BaseException as error:
                undeployed = not before.exists
                self._undo(before, starting)
                if undeployed and isinstance(error, Exception):
                    raise DeploymentFailed(f"{self.name} was undeployed in the meantime") from error
                if before.servers and isinstance(error, DeploymentFailed):
                    raise DeploymentFailed(f"{error}; the previous servers still run") from error
                raise
        _retire(replaced, plan.names)
        return list(starting)

    def _commit(
        self,
        before: Record,
        plan: Plan,
        starting: Mapping[str, StartingServer],
        options: LocalOptions,
    ) -> list[ServerProcess]:
        """Put the new servers into service, record them, and return those that they replace."""
        for server in starting.values():
            server.serve()
            if options.detached:
                server.detach()
        new = {name: server.record for name, server in starting.items()}
        kept = [new.get(name) or plan.kept[name] for name in plan.names]
        replaced = [record for record in before.servers if record not in kept]
        leaving = [record for record in before.leaving if ServerProcess(record).alive]
        for record in set(before.leaving) - set(leaving):
            _forget(ServerProcess(record))
        self._record = dataclasses.replace(
            before,
            owner=None if options.detached else before.owner,
            transport=options.transport,
            servers=tuple(kept),
            leaving=(*leaving, *replaced),
        )
        self._record.write()
        if options.detached:
            self._stop_watchdog()
        return [ServerProcess(record) for record in replaced]

    def _stop_watchdog(self) -> None:
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is not None:
            watchdog.stop()

    def _undo(self, before: Record, starting: Mapping[str, StartingServer]) -> None:
        for server in starting.values():
            _forget(server)
        if before.exists:
            self._record = before
            with contextlib.suppress(
                DeploymentFailed
            ):  # usually a full disk, which was already reported
                before.write()

    def _write(self, before: Record, starting: Mapping[str, StartingServer]) -> None:
        """Record servers that are starting, so that they are ended if this process dies."""
        new_records = tuple(server.record for server in starting.values())
        dataclasses.replace(before, leaving=(*before.leaving, *new_records)).write()

    def _current(self) -> Record:
        """Read the record again: another process may have changed the deployment or undeployed it."""
        try:
            self._record = records.read(self._record.folder)
        except OSError:
            self._record = dataclasses.replace(self._record, servers=(), leaving=())
        return self._record


def create(name: str, options: LocalOptions) -> ProcessDeployment:
    """Return a new deployment that serves nothing yet.

    Raises:
        DeploymentFailed: If its folder cannot be created.
    """
    record = records.create(name, Process.of(os.getpid()), options.transport)
    # Even a detached deployment belongs to this process until it is up.
    return ProcessDeployment(record, Watchdog(KIND, record.folder))


def list_deployments() -> Iterator[ProcessDeployment]:
    """Yield the deployments of processes on this machine, and remove the remains of ended ones."""
    for record in records.list_records():
        servers = [
            ServerProcess(server_record) for server_record in (*record.servers, *record.leaving)
        ]
        # A detached deployment still exists after its servers have died, with their logs.
        up = record.owner.alive if record.owner is not None else bool(record.servers)
        if up or any(server.alive for server in servers):
            yield ProcessDeployment(record)
        else:
            record.remove()


def _status(server: ServerProcess) -> ModelStatus:
    record = server.record
    alive = server.alive
    state = "ended" if not alive else "ready" if server.ready() else "not ready"
    return ModelStatus(
        record.model, state, server.url, server.grpc, f"process {record.process.pid}"
    )


def _wait(
    starting: Mapping[str, StartingServer], deadline: float, on_ready: Callable[[str], object]
) -> None:
    """Wait until all servers are ready.

    Raises:
        DeploymentFailed: As soon as a server has failed, or at the deadline.
    """
    waiting = dict(starting)
    while waiting:
        for server in waiting.values():
            server.check(deadline)
        for name in [name for name, server in waiting.items() if server.ready()]:
            on_ready(name)
            del waiting[name]
        time.sleep(_POLL)


def _retire(replaced: list[ServerProcess], serving: list[str]) -> None:
    """End replaced servers once they have answered their requests.

    Args:
        replaced: The servers, that of the main model first.
        serving: Names of the models that are served now.
    """
    # A model that is no longer served is still called by the leaving servers.
    dropped = [server for server in replaced[1:] if server.record.model not in serving]
    callers = [server for server in replaced if server not in dropped]
    _retire_all(callers)
    deadline = time.monotonic() + GRACE
    while dropped and any(server.alive for server in callers) and time.monotonic() < deadline:
        time.sleep(_POLL)
    _retire_all(dropped)


def _retire_all(servers: list[ServerProcess]) -> None:
    if servers:
        # All at the same time: each waits until its idle connections are closed.
        with ThreadPoolExecutor(len(servers)) as threads:
            list(threads.map(ServerProcess.retire, servers))


def _forget(server: ServerProcess) -> None:
    """Kill a server and delete its folder."""
    server.kill()
    shutil.rmtree(server.record.folder, ignore_errors=True)
