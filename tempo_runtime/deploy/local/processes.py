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
from tempo_runtime.deploy.local.server import ServerProcess, Starting
from tempo_runtime.deploy.local.watchdog import Watchdog
from tempo_runtime.deploy.options import LocalOptions
from tempo_runtime.errors import DeploymentFailed
from tempo_runtime.servers.repository import Served

KIND = "process"
_POLL = 0.05


class ProcessDeployment(LocalDeployment):
    """A deployment of processes.

    Args:
        record: What is written down of it.
        reaper: What ends it if this process cannot.
    """

    target = KIND

    def __init__(self, record: Record, reaper: Watchdog | None = None) -> None:
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
        # The others once nobody is left who may be calling them.
        for group in ((*record.servers[:1], *record.leaving), record.servers[1:]):
            servers = [ServerProcess(each) for each in group]
            for server in servers:
                server.terminate()
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
        """See `LocalDeployment.replace`."""
        before = self._current()
        before.withdraw_removal()
        deadline = time.monotonic() + options.timeout
        with contextlib.ExitStack() as stack:
            plan = Plan(before, models, options, stack)
            starting: dict[str, Starting] = {}
            try:
                for name in plan.new:
                    starting[name] = plan.start(name)
                    self._write(before, starting)
                _wait(starting, deadline, told)
                replaced = self._commit(before, plan, starting, options)
            except BaseException as error:
                undeployed = not before.there
                self._undo(before, starting)
                if undeployed and isinstance(error, Exception):
                    raise DeploymentFailed(f"{self.name} was undeployed meanwhile") from error
                if before.servers and isinstance(error, DeploymentFailed):
                    raise DeploymentFailed(f"{error}; what ran before still does") from error
                raise
        _retire(replaced, plan.names)
        return list(starting)

    def _commit(
        self,
        before: Record,
        plan: Plan,
        starting: Mapping[str, Starting],
        options: LocalOptions,
    ) -> list[ServerProcess]:
        """Has the new servers be called, and writes them down; gives those that they replace."""
        for server in starting.values():
            server.serve()
            if options.detached:
                server.detach()
        new = {name: server.record for name, server in starting.items()}
        kept = [new.get(name) or plan.kept[name] for name in plan.names]
        replaced = [each for each in before.servers if each not in kept]
        leaving = [each for each in before.leaving if ServerProcess(each).alive]
        for each in set(before.leaving) - set(leaving):
            _forget(ServerProcess(each))
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
        return [ServerProcess(each) for each in replaced]

    def _let_go(self) -> None:
        reaper, self._reaper = self._reaper, None
        if reaper is not None:
            reaper.stop()

    def _undo(self, before: Record, starting: Mapping[str, Starting]) -> None:
        for server in starting.values():
            _forget(server)
        if before.there:
            self._record = before
            with contextlib.suppress(
                DeploymentFailed
            ):  # usually a full disk, which has been reported already
                before.write()

    def _write(self, before: Record, starting: Mapping[str, Starting]) -> None:
        """Has those be ended that nobody calls yet, if we are."""
        own = tuple(server.record for server in starting.values())
        dataclasses.replace(before, leaving=(*before.leaving, *own)).write()

    def _current(self) -> Record:
        """Return what is written down now: another process may have replaced it, or undeployed it."""
        try:
            self._record = records.read(self._record.folder)
        except OSError:
            self._record = dataclasses.replace(self._record, servers=(), leaving=())
        return self._record


def create(name: str, options: LocalOptions) -> ProcessDeployment:
    """Return a deployment that serves nothing yet.

    Raises:
        DeploymentFailed: If its folder cannot be made.
    """
    record = records.create(name, Process.of(os.getpid()), options.transport)
    # One that is to stay is ours until it is up.
    return ProcessDeployment(record, Watchdog(KIND, record.folder))


def found() -> Iterator[ProcessDeployment]:
    """Yield each deployment of processes on this machine, and remove the remains of ended ones."""
    for record in records.found():
        servers = [ServerProcess(each) for each in (*record.servers, *record.leaving)]
        # One that is to stay is there also when its servers have died, with what they have said.
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


def _wait(starting: Mapping[str, Starting], deadline: float, told: Callable[[str], object]) -> None:
    """Wait until all are ready.

    Raises:
        DeploymentFailed: As soon as one has failed, or at the deadline.
    """
    waiting = dict(starting)
    while waiting:
        for server in waiting.values():
            server.check(deadline)
        for name in [name for name, server in waiting.items() if server.ready()]:
            told(name)
            del waiting[name]
        time.sleep(_POLL)


def _retire(replaced: list[ServerProcess], serving: list[str]) -> None:
    """End servers that others have replaced, once they have answered what they were asked.

    Args:
        replaced: They, the one that people called first.
        serving: Models that are served now.
    """
    # One that nobody serves any more is still called by those that leave.
    dropped = [each for each in replaced[1:] if each.record.model not in serving]
    callers = [each for each in replaced if each not in dropped]
    _retire_all(callers)
    deadline = time.monotonic() + GRACE
    while dropped and any(each.alive for each in callers) and time.monotonic() < deadline:
        time.sleep(_POLL)
    _retire_all(dropped)


def _retire_all(servers: list[ServerProcess]) -> None:
    if servers:
        # All at once: each waits for connections that are kept, and not used, to be closed.
        with ThreadPoolExecutor(len(servers)) as threads:
            list(threads.map(ServerProcess.retire, servers))


def _forget(server: ServerProcess) -> None:
    """End a server at once, and delete its folder."""
    server.kill()
    shutil.rmtree(server.record.folder, ignore_errors=True)
