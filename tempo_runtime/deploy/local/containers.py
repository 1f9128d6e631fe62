"""Target `docker`: one container for each model and pipeline, as Seldon Core runs them.

Nothing is recorded on this machine: the engine has everything in the labels of containers and
networks. If others find several containers of a model by its name, the latest counts. A replaced
container is renamed.
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
        labels: The labels that describe it.
        running: Its containers, that of the main model first.
        watchdog: Ends the deployment if this process dies.
    """

    target = KIND

    def __init__(
        self, labels: Labels, running: list[Container], watchdog: Watchdog | None = None
    ) -> None:
        self._labels = labels
        self._watchdog = watchdog
        self._remember(running)

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
            raise DeploymentFailed(f"{self.name} was undeployed or has ended; deploy it again")
        return self._main

    def models(self) -> list[ModelStatus]:
        """See `Deployment.models`."""
        with engine.connected() as client:
            return [container.status() for container in self._running(client)]

    def logs(self, model: str | None = None) -> dict[str, str]:
        """See `Deployment.logs`."""
        with engine.connected() as client:
            return {
                container.model: container.text()
                for container in self._running(client)
                if model in (None, container.model)
            }

    def undeploy(self, grace: float = GRACE) -> None:
        """See `Deployment.undeploy`."""
        with engine.connected() as client:
            # Containers that nobody could call have no requests in progress.
            network = self._labels.network
            callable_ones = [
                container for container in listed(client, self.id) if container.has_alias(network)
            ]
            callers = [
                container for container in callable_ones if container.is_main or container.leaving
            ]
            if grace:
                container_removal.stop_in_order(
                    callers,
                    [container for container in callable_ones if container not in callers],
                    grace,
                )
            container_removal.remove_all(client, self._labels)
        self._remember([])
        self._stop_watchdog()

    def replace(
        self,
        models: Mapping[str, Served],
        options: DockerOptions,
        on_ready: Callable[[str], object],
    ) -> list[str]:
        """See `LocalDeployment.replace`."""
        with engine.connected() as client:
            before, began = self._clean_up(client), time.time_ns()
            plan = Plan(client, models, options, self._labels, before)
            try:
                with engine.failures():
                    started = self._start(client, plan, options, on_ready)
            except BaseException as error:
                with contextlib.suppress(DeploymentFailed), engine.failures():
                    self._undo(client, plan, began)
                if before and isinstance(error, DeploymentFailed):
                    raise DeploymentFailed(f"{error}; the previous servers still run") from error
                raise
            running = {**plan.kept, **{container.model: container for container in started}}
            self._remember([running[name] for name in plan.names])
            if options.detached:
                self._stop_watchdog()
            container_removal.retire(listed(client, self.id), running)
        return plan.new

    def _start(
        self,
        client: DockerClient,
        plan: Plan,
        options: DockerOptions,
        on_ready: Callable[[str], object],
    ) -> list[Container]:
        deadline = time.monotonic() + options.timeout
        _make_network(client, self._labels)
        if plan.blocking:
            # Only one container can have the port: its successor is first tried on other ports.
            main = plan.names[0]
            trial = plan.start(main, free_ports=True)
            _wait([trial], plan, deadline, options.user)
            container_removal.remove([trial])
            container_removal.stop(plan.blocking)
        starting = [plan.start(name) for name in plan.new]
        _wait(starting, plan, deadline, options.user, on_ready)
        network = client.networks.get(self._labels.network)
        for container in starting:
            container.join(network)
        _wait(starting, plan, deadline, options.user)  # their ports may have changed
        return starting

    def _undo(self, client: DockerClient, plan: Plan, began: int) -> None:
        # By label, because the engine may have created one without our getting the answer.
        all_ = listed(client, self.id)
        container_removal.remove([container for container in all_ if container.started >= began])
        if plan.blocking:
            for container in plan.blocking:
                container.raw.start()
            self._remember(self._running(client))

    def _stop_watchdog(self) -> None:
        if self._watchdog is not None:
            self._watchdog.stop()
            self._watchdog = None

    def _running(self, client: DockerClient) -> list[Container]:
        return _current(listed(client, self.id), self._labels)

    def _clean_up(self, client: DockerClient) -> list[Container]:
        """Return the running containers, and end those that a killed deployer has left."""
        all_ = listed(client, self.id)
        running = _current(all_, self._labels)
        leaving = [container for container in all_ if container.leaving]
        with_alias = [container for container in all_ if container.has_alias(self._labels.network)]
        container_removal.remove(
            [container for container in all_ if container not in (*leaving, *with_alias)]
        )
        container_removal.stop_in_order(leaving, [], GRACE)  # they may not have been asked to end
        container_removal.retire(
            [*leaving, *with_alias], {container.model: container for container in running}
        )
        return running

    def _remember(self, running: list[Container]) -> None:
        self._main = running[0].address if running else None
        transport = running[0].raw.labels.get(_TRANSPORT) if running else None
        self._transport = transport or "http"


def create(name: str, options: DockerOptions) -> ContainerDeployment:
    """Return a new deployment that serves nothing yet.

    Raises:
        DeploymentFailed: If no engine answers.
    """
    check_name(name)
    with engine.connected():
        labels = Labels.new(name, options.detached)
    return ContainerDeployment(labels, [], Watchdog(KIND, labels.id))


def list_deployments(patience: int | None = None) -> list[ContainerDeployment]:
    """List the deployments of containers that the engine knows, the oldest first.

    The remains of ended deployments are removed.

    Args:
        patience: See `engine.connected`.

    Raises:
        DeploymentFailed: If no engine answers.
    """
    with engine.connected(patience) as client:
        return _known(client)


def by_id(deployment: str) -> ContainerDeployment:
    """Return the deployment with an id, even if nothing of it is left.

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
    for container in listed(client):
        with contextlib.suppress(ValueError):
            containers.setdefault(Labels.read(container.raw.labels), []).append(container)
    known = []
    for labels, members in sorted(
        containers.items(), key=lambda item: (item[0].created, item[0].id)
    ):
        if members or labels.owner is None or labels.owner.alive:
            known.append(_described(labels, members))
        else:
            container_removal.remove_all(client, labels)
    return known


def _described(labels: Labels, containers: list[Container]) -> ContainerDeployment:
    return ContainerDeployment(labels, _current(containers, labels))


def _current(containers: list[Container], labels: Labels) -> list[Container]:
    """Return the latest container of each model that others find, that of the main model first."""
    latest: dict[str, Container] = {}
    for container in sorted(containers, key=lambda container: container.started):
        if container.has_alias(labels.network) and not container.leaving:
            latest[container.model] = container
    return sorted(latest.values(), key=lambda container: (not container.is_main, container.model))


def _wait(
    containers: list[Container],
    plan: Plan,
    deadline: float,
    user: str,
    on_ready: Callable[[str], object] = lambda _: None,
) -> None:
    """Wait until all containers are ready, or one has failed."""
    waiting = containers
    while waiting:
        not_ready = []
        for container in waiting:
            if container.became_ready(deadline, plan.homes[container.model], user):
                on_ready(container.model)
            else:
                not_ready.append(container)
        waiting = not_ready
        if not_ready:
            time.sleep(_POLL)


def _make_network(client: DockerClient, labels: Labels) -> None:
    if not client.networks.list(names=[labels.network]):
        client.networks.create(labels.network, driver="bridge", labels=labels.to_dict())
