"""Target `docker`: one container for each model and pipeline, as Seldon Core would run them.

Nothing is written down on this machine: the engine knows all there is by the labels of containers and
networks. Of two containers of one model the later one counts that the others find by the model's name; the
other is leaving.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tempo_runtime.deploy import container, engine
from tempo_runtime.deploy.container import GRPC, HTTP, Container
from tempo_runtime.deploy.deployment import GRACE, Address, Deployment, ModelStatus
from tempo_runtime.deploy.labels import DEPLOYMENT, PREFIX, Labels
from tempo_runtime.deploy.options import DockerOptions
from tempo_runtime.deploy.reaper import Reaper
from tempo_runtime.deploy.server import fingerprint
from tempo_runtime.details import check_name
from tempo_runtime.errors import DeploymentFailed
from tempo_runtime.ports import refused
from tempo_runtime.serving.repository import Served

if TYPE_CHECKING:
    from docker import DockerClient

KIND = "docker"
_TRANSPORT = f"{PREFIX}transport"
_SETTLE = 1.0  # seconds in which a caller that read an address connects to it
_POLL = 0.05
_GONE = 10.0  # seconds in which an engine removes what it was told to
_logger = logging.getLogger(__name__)


class ContainerDeployment(Deployment):
    """A deployment of containers.

    Args:
        labels: What is known of it.
        running: Its containers, the one that people call first.
        reaper: What ends it if this process cannot.
    """

    target = KIND

    def __init__(
        self, labels: Labels, running: list[Container], reaper: Reaper | None = None
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
            if grace and (running := _containers(client, self.id)):
                container.terminate(running)
                container.ended(running, time.monotonic() + grace)
            _remove_all(client, self._labels)
        self._know([])
        self._let_go()

    def replace(
        self,
        models: Mapping[str, Served],
        options: DockerOptions,
        told: Callable[[str], object],
    ) -> list[str]:
        """See `Deployment.replace`."""
        with engine.connected() as client:
            before = self._running(client)
            plan = _Plan(client, models, options, self._labels, before)
            deadline = time.monotonic() + options.timeout
            stopped: list[Container] = []
            try:
                _make_network(client, self._labels)
                stopped = _stopped(plan.in_the_way)
                starting = [plan.start(name) for name in plan.new]
                for each in starting:
                    each.wait(deadline, plan.folders[each.model], options.user)
                    told(each.model)
                plan.name_all(starting)
            except BaseException as error:
                with contextlib.suppress(DeploymentFailed):
                    self._undo(client, before, stopped)
                if before and isinstance(error, DeploymentFailed):
                    raise DeploymentFailed(f"{error}; what ran before still does") from error
                raise
            kept = [*starting, *plan.kept.values()]
            self._know(sorted(kept, key=lambda each: plan.names.index(each.model)))
            if options.detached:
                self._let_go()
            ids = {each.raw.id for each in kept}
            leaving = [each for each in _containers(client, self.id) if each.raw.id not in ids]
            _leave(leaving)
        return plan.new

    def _undo(
        self, client: DockerClient, before: list[Container], stopped: list[Container]
    ) -> None:
        # By label: one may have been made whose making was not told us any more.
        known = {each.raw.id for each in before}
        new = [each for each in _containers(client, self.id) if each.raw.id not in known]
        container.remove([each for each in new if not each.named(self._labels.network)])
        for each in stopped:
            each.raw.start()

    def _let_go(self) -> None:
        if self._reaper is not None:
            self._reaper.stop()
            self._reaper = None

    def _running(self, client: DockerClient) -> list[Container]:
        return _counted(_containers(client, self.id), self._labels)

    def _know(self, running: list[Container]) -> None:
        self._main = running[0].address if running else None
        said = running[0].raw.labels.get(_TRANSPORT) if running else None
        self._transport = said or "http"


class _Plan:
    """Which containers go on and which are started, each with what it is made from, before any is.

    Args:
        client: The engine.
        models: What is to run.
        options: How.
        labels: The deployment's.
        before: What runs.
    """

    def __init__(
        self,
        client: DockerClient,
        models: Mapping[str, Served],
        options: DockerOptions,
        labels: Labels,
        before: list[Container],
    ) -> None:
        self._client = client
        self._labels = labels
        self._transport = options.transport
        self.names = list(models)
        main = self.names[0]
        self.folders = {name: container.home(served) for name, served in models.items()}
        info = client.info()
        has_init = bool(info.get("InitBinary"))
        urls = {
            name: {"http": f"http://{name}:{HTTP}", "grpc": f"grpc://{name}:{GRPC}"}
            for name in models
        }
        self._configs: dict[str, dict[str, Any]] = {}
        self._own: dict[str, dict[str, str]] = {}
        for name, served in models.items():
            image = engine.image(
                client, options.images.get(name) or options.image or engine.IMAGE, info
            )
            config = container.configured(
                served, self.folders[name], image, options, urls, main, has_init
            )
            first = name == main
            self._configs[name] = config
            self._own[name] = {
                "model": name,
                "main": "true" if first else "false",
                "transport": options.transport if first else "",
            }
            made_of = {"config": json.dumps([config, self._own[name]], sort_keys=True)}
            self._own[name]["fingerprint"] = fingerprint(served, made_of)
        self.kept = {
            each.model: each
            for each in before
            if each.model in models
            and each.fingerprint == self._own[each.model]["fingerprint"]
            and each.alive
            and each.ready()
        }
        self.new = [name for name in reversed(self.names) if name not in self.kept]
        self.in_the_way: list[Container] = []
        if main in self.new:
            self._check_ports(options, before)

    def _check_ports(self, options: DockerOptions, before: list[Container]) -> None:
        """Finds which container has a port that the engine cannot give to two."""
        for port in (options.port, options.grpc_port):
            holding = [each for each in before if port and _has(each, port)]
            if holding:
                self.in_the_way = holding
            elif why := refused(options.host, port):
                raise DeploymentFailed(
                    f"port {port} of {options.host} {why}; choose another"
                    if port
                    else f"{options.host} {why}"
                )

    def start(self, name: str) -> Container:
        """Starts one of those that are new; the others cannot find it yet."""
        made = self._client.containers.create(
            **self._configs[name],
            name=f"{self._labels.network}-{name}-{uuid.uuid4().hex[:8]}",
            network=self._labels.network,
            labels=self._labels.written(**self._own[name], started=str(time.time_ns())),
        )
        made.start()
        return Container(made)

    def name_all(self, containers: list[Container]) -> None:
        """Has the others find them by the names of their models."""
        network = self._client.networks.get(self._labels.network)
        for each in containers:
            network.disconnect(each.raw)
            network.connect(each.raw, aliases=[each.model])
            each.raw.reload()  # an engine may have given it other ports


def create(name: str, options: DockerOptions) -> ContainerDeployment:
    """A deployment that serves nothing yet.

    Raises:
        DeploymentFailed: If no engine answers.
    """
    check_name(name)
    with engine.connected():
        labels = Labels.new(name, options.detached)
    return ContainerDeployment(labels, [], Reaper(KIND, labels.id))


def found() -> Iterator[ContainerDeployment]:
    """Every deployment of containers that the engine knows, the oldest first.

    What is left of those that have ended is removed. Where no engine answers there is none; that is said
    where one is expected.
    """
    try:
        with engine.connected() as client:
            known = _known(client)
    except DeploymentFailed as error:
        if engine.expected():
            _logger.warning("Deployments of containers are not known: %s", error)
        return
    yield from known


def of(deployment: str) -> ContainerDeployment:
    """The deployment of an id, of which nothing need be left.

    Raises:
        DeploymentFailed: If no engine answers.
    """
    with engine.connected() as client:
        return _described(Labels(deployment, deployment), _containers(client, deployment))


def _known(client: DockerClient) -> list[ContainerDeployment]:
    containers: dict[Labels, list[Container]] = {}
    for network in client.networks.list(filters={"label": DEPLOYMENT}):
        with contextlib.suppress(ValueError):
            containers[Labels.read(network.attrs.get("Labels") or {})] = []
    for each in _containers(client):
        with contextlib.suppress(ValueError):
            containers.setdefault(Labels.read(each.raw.labels), []).append(each)
    known = []
    for labels, own in sorted(containers.items(), key=lambda item: (item[0].created, item[0].id)):
        if own or labels.owner is None or labels.owner.alive:
            known.append(_described(labels, own))
        else:
            _remove_all(client, labels)
    return known


def _described(labels: Labels, containers: list[Container]) -> ContainerDeployment:
    return ContainerDeployment(labels, _counted(containers, labels))


def _containers(client: DockerClient, deployment: str | None = None) -> list[Container]:
    """All of a deployment, or of every one."""
    label = DEPLOYMENT if deployment is None else f"{DEPLOYMENT}={deployment}"
    found = client.containers.list(all=True, filters={"label": label}, ignore_removed=True)
    return [Container(each) for each in found]


def _counted(containers: list[Container], labels: Labels) -> list[Container]:
    """The latest of each model that the others find, the one that people call first."""
    latest: dict[str, Container] = {}
    for each in sorted(containers, key=lambda each: each.started):
        if each.named(labels.network):
            latest[each.model] = each
    return sorted(latest.values(), key=lambda each: (not each.is_main, each.model))


def _stopped(containers: list[Container]) -> list[Container]:
    container.terminate(containers)
    gone = container.ended(containers, time.monotonic() + GRACE)
    for each in containers:
        if each not in gone:
            each.raw.kill()
    return containers


def _leave(containers: list[Container]) -> None:
    """Ends those that others have replaced; one that still works goes on until it has answered."""
    if not containers:
        return
    time.sleep(_SETTLE)
    container.terminate(containers)
    container.remove(container.ended(containers, time.monotonic() + GRACE))


def _has(each: Container, port: int) -> bool:
    address = each.address
    return (
        each.alive
        and address is not None
        and f":{port}"
        in (
            address.url[-len(f":{port}") :],
            address.grpc[-len(f":{port}") :],
        )
    )


def _make_network(client: DockerClient, labels: Labels) -> None:
    if not client.networks.list(names=[labels.network]):
        client.networks.create(labels.network, driver="bridge", labels=labels.written())


def _remove_all(client: DockerClient, labels: Labels) -> None:
    """Removes the containers and the network of a deployment.

    More than once: what its deployer asked for last may come about while this runs.
    """
    from docker.errors import APIError, NotFound

    deadline = time.monotonic() + _GONE
    while True:
        container.remove(_containers(client, labels.id))
        try:
            client.networks.get(labels.network).remove()
        except NotFound:
            if not _containers(client, labels.id):
                return
        except APIError:  # a container has come that uses it
            if time.monotonic() > deadline:
                raise
        time.sleep(_POLL)
