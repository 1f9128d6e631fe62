"""Target `docker`: one container for each model and pipeline, as Seldon Core would run them.

Nothing is written down on this machine: the engine knows all there is by the labels of containers and
networks. Of the containers of a model that others find by its name the latest counts; one that was
replaced has a name that says so.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tempo_runtime.authoring.details import check_name
from tempo_runtime.deploy.deployment import GRACE, Address, LocalDeployment, ModelStatus
from tempo_runtime.deploy.local import container_removal, engine
from tempo_runtime.deploy.local.container import Container, listed
from tempo_runtime.deploy.local.container_plan import Plan
from tempo_runtime.deploy.local.labels import DEPLOYMENT, PREFIX, Labels
from tempo_runtime.deploy.local.watchdog import Watchdog
from tempo_runtime.deploy.options import DockerOptions
from tempo_runtime.errors import DeploymentFailed
from tempo_runtime.servers.repository import Served

if TYPE_CHECKING:
    from docker import DockerClient

KIND = "docker"
_TRANSPORT = f"{PREFIX}transport"
_POLL = 0.05


class ContainerDeployment(LocalDeployment):
    """A deployment of containers.

    Args:
        labels: What is known of it.
        running: Its containers, the one that people call first.
        reaper: What ends it if this process cannot.
    """

    target = KIND

    def __init__(
        self, labels: Labels, running: list[Container], reaper: Watchdog | None = None
    ) -> None:
        self._labels = labels
        self._reaper = reaper
        self._know(running)

    @property
    def name(self) -> str:
        """See `Deployment.name`."""
        return self._labels.name

    @property
    def id(self) -> str:
        """See `Deployment.id`."""
        return self._labels.id

    @property
    def transport(self) -> str:
        """See `Deployment.transport`."""
        return self._transport

    @property
    def created(self) -> str:
        """See `Deployment.created`."""
        return self._labels.created

    @property
    def owner(self) -> int | None:
        """See `Deployment.owner`."""
        return None if self._labels.owner is None else self._labels.owner.process.pid

    @property
    def up(self) -> bool:
        """See `Deployment.up`."""
        with engine.connected() as client:
            return bool(self._running(client))

    def main(self) -> Address:
        """See `Deployment.main`."""
        if self._main is None:
            raise DeploymentFailed(f"{self.name} was undeployed, or has ended; deploy it again")
        return self._main

    def models(self) -> list[ModelStatus]:
        """See `Deployment.models`."""
        with engine.connected() as client:
            return [each.status() for each in self._running(client)]

    def logs(self, model: str | None = None) -> dict[str, str]:
        """See `Deployment.logs`."""
        with engine.connected() as client:
            return {
                each.model: each.text()
                for each in self._running(client)
                if model in (None, each.model)
            }

    def undeploy(self, grace: float = GRACE) -> None:
        """See `Deployment.undeploy`."""
        with engine.connected() as client:
            # Of those that nobody could call none has anything to answer.
            network = self._labels.network
            asked = [each for each in listed(client, self.id) if each.named(network)]
            callers = [each for each in asked if each.is_main or each.leaving]
            if grace:
                container_removal.stop_in_order(
                    callers, [each for each in asked if each not in callers], grace
                )
            container_removal.remove_all(client, self._labels)
        self._know([])
        self._let_go()

    def replace(
        self,
        models: Mapping[str, Served],
        options: DockerOptions,
        told: Callable[[str], object],
    ) -> list[str]:
        """See `LocalDeployment.replace`."""
        with engine.connected() as client:
            before, begun = self._tidied(client), time.time_ns()
            plan = Plan(client, models, options, self._labels, before)
            try:
                with engine.failures():
                    started = self._start(client, plan, options, told)
            except BaseException as error:
                with contextlib.suppress(DeploymentFailed), engine.failures():
                    self._undo(client, plan, begun)
                if before and isinstance(error, DeploymentFailed):
                    raise DeploymentFailed(f"{error}; what ran before still does") from error
                raise
            running = {**plan.kept, **{each.model: each for each in started}}
            self._know([running[name] for name in plan.names])
            if options.detached:
                self._let_go()
            container_removal.retire(listed(client, self.id), running)
        return plan.new

    def _start(
        self,
        client: DockerClient,
        plan: Plan,
        options: DockerOptions,
        told: Callable[[str], object],
    ) -> list[Container]:
        deadline = time.monotonic() + options.timeout
        _make_network(client, self._labels)
        if plan.in_the_way:
            # Its port can be had once only: what is to take it is tried before.
            main = plan.names[0]
            trial = plan.start(main, free_ports=True)
            _wait([trial], plan, deadline, options.user)
            container_removal.remove([trial])
            container_removal.stop(plan.in_the_way)
        starting = [plan.start(name) for name in plan.new]
        _wait(starting, plan, deadline, options.user, told)
        network = client.networks.get(self._labels.network)
        for each in starting:
            each.join(network)
        _wait(starting, plan, deadline, options.user)  # their ports may be others now
        return starting

    def _undo(self, client: DockerClient, plan: Plan, begun: int) -> None:
        # By label: one may have been made whose making was not told us any more.
        all_ = listed(client, self.id)
        container_removal.remove([each for each in all_ if each.started >= begun])
        if plan.in_the_way:
            for each in plan.in_the_way:
                each.raw.start()
            self._know(self._running(client))

    def _let_go(self) -> None:
        if self._reaper is not None:
            self._reaper.stop()
            self._reaper = None

    def _running(self, client: DockerClient) -> list[Container]:
        return _counted(listed(client, self.id), self._labels)

    def _tidied(self, client: DockerClient) -> list[Container]:
        """Return what runs; what a deployer that was killed has left besides is ended."""
        all_ = listed(client, self.id)
        running = _counted(all_, self._labels)
        leaving = [each for each in all_ if each.leaving]
        named = [each for each in all_ if each.named(self._labels.network)]
        container_removal.remove([each for each in all_ if each not in (*leaving, *named)])
        container_removal.stop_in_order(leaving, [], GRACE)  # they may not have been told
        container_removal.retire([*leaving, *named], {each.model: each for each in running})
        return running

    def _know(self, running: list[Container]) -> None:
        self._main = running[0].address if running else None
        said = running[0].raw.labels.get(_TRANSPORT) if running else None
        self._transport = said or "http"


def create(name: str, options: DockerOptions) -> ContainerDeployment:
    """Return a deployment that serves nothing yet.

    Raises:
        DeploymentFailed: If no engine answers.
    """
    check_name(name)
    with engine.connected():
        labels = Labels.new(name, options.detached)
    return ContainerDeployment(labels, [], Watchdog(KIND, labels.id))


def found(patience: int | None = None) -> list[ContainerDeployment]:
    """Return every deployment of containers that the engine knows, the oldest first.

    What is left of those that have ended is removed.

    Args:
        patience: See `engine.connected`.

    Raises:
        DeploymentFailed: If no engine answers.
    """
    with engine.connected(patience) as client:
        return _known(client)


def of(deployment: str) -> ContainerDeployment:
    """Return the deployment of an id, of which nothing need be left.

    Raises:
        DeploymentFailed: If no engine answers.
    """
    with engine.connected() as client:
        return _described(Labels(deployment, deployment), listed(client, deployment))


def _known(client: DockerClient) -> list[ContainerDeployment]:
    containers: dict[Labels, list[Container]] = {}
    for network in client.networks.list(filters={"label": DEPLOYMENT}):
        with contextlib.suppress(ValueError):
            containers[Labels.read(network.attrs.get("Labels") or {})] = []
    for each in listed(client):
        with contextlib.suppress(ValueError):
            containers.setdefault(Labels.read(each.raw.labels), []).append(each)
    known = []
    for labels, own in sorted(containers.items(), key=lambda item: (item[0].created, item[0].id)):
        if own or labels.owner is None or labels.owner.alive:
            known.append(_described(labels, own))
        else:
            container_removal.remove_all(client, labels)
    return known


def _described(labels: Labels, containers: list[Container]) -> ContainerDeployment:
    return ContainerDeployment(labels, _counted(containers, labels))


def _counted(containers: list[Container], labels: Labels) -> list[Container]:
    """Return the latest of each model that the others find, the one that people call first."""
    latest: dict[str, Container] = {}
    for each in sorted(containers, key=lambda each: each.started):
        if each.named(labels.network) and not each.leaving:
            latest[each.model] = each
    return sorted(latest.values(), key=lambda each: (not each.is_main, each.model))


def _wait(
    containers: list[Container],
    plan: Plan,
    deadline: float,
    user: str,
    told: Callable[[str], object] = lambda _: None,
) -> None:
    """Wait until all are ready, or one has failed."""
    waited_for = containers
    while waited_for:
        late = []
        for each in waited_for:
            if each.came_up(deadline, plan.homes[each.model], user):
                told(each.model)
            else:
                late.append(each)
        waited_for = late
        if late:
            time.sleep(_POLL)


def _make_network(client: DockerClient, labels: Labels) -> None:
    if not client.networks.list(names=[labels.network]):
        client.networks.create(labels.network, driver="bridge", labels=labels.written())
