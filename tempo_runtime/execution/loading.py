"""Load a pipeline: choose a transport to each child, build the instance, and make its runner."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tempo_runtime._util.private_copies import origin_of
from tempo_runtime.artifact import importing, store, topology, trust, verification
from tempo_runtime.authoring.decorators import Model, Pipeline
from tempo_runtime.clients.child import Child, Children
from tempo_runtime.clients.connect import endpoints, limits
from tempo_runtime.clients.failures import ChildAddress
from tempo_runtime.clients.pool import RemoteEndpoint
from tempo_runtime.clients.readiness import Readiness, ask
from tempo_runtime.clients.remote import Limits, RemoteTransport
from tempo_runtime.clients.transport import Transport
from tempo_runtime.errors import SettingsError, TempoError
from tempo_runtime.execution import frameworks
from tempo_runtime.execution.in_process import PipelineTransport, RuntimeTransport
from tempo_runtime.execution.live_state import LiveState, of_calls
from tempo_runtime.execution.runner import Runner, failed, is_enough
from tempo_runtime.request import context
from tempo_runtime.request.context import ANYONE, Callers
from tempo_runtime.request.metrics import BatchMetrics, ChildMetrics
from tempo_runtime.request.portal import Portal
from tempo_runtime.settings import Batching, ChildSettings, PipelineSettings, child_folder

if TYPE_CHECKING:
    from mlserver.handlers import DataPlane

    from tempo_runtime.execution.same_server import SameServerTransport
    from tempo_runtime.state.state import State


class LoadedPipeline:
    """A loaded pipeline with connected children, ready to be called.

    The constructor blocks, so it must run in a thread. It does not call children.

    Args:
        pipeline: The pipeline.
        settings: Settings of the pipeline and its children.
        portal: The loop of the clients and of async code.
        folder: The pipeline's artifact, to which the paths of its children are relative.
        inside: Names of the pipelines that this one is a child of, outermost first.
        callers: Decides about calls from outside of a request; None in a server, where all calls are
            requests.
        data_plane: That of the MLServer in this process, which serves the children without a URL; None
            in any other process.
        version: The version that it is served as; empty for none.

    Attributes:
        runner: Runs its requests.
        run: Answers a request of a client: `runner.run`, unless requests are put together.

    Raises:
        SettingsError: If a child cannot be located, or pipelines call each other in a circle.
        ChildUnavailable: If a child in this process cannot be loaded.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        settings: PipelineSettings,
        portal: Portal,
        folder: str = "",
        inside: Sequence[str] = (),
        callers: Callers | None = None,
        data_plane: DataPlane | None = None,
        version: str = "",
    ) -> None:
        self._settings = settings
        self._pipeline = pipeline
        self._state: State | None = None
        names = [*inside, pipeline.details.name]
        self._serving = ExitStack()
        if callers is None:
            callers = Callers(served=True, timeout=settings.timeout)
            self._serving.enter_context(ANYONE.serving())
        # In a pipeline that was not loaded, children's folders are relative to the working directory.
        start = folder if pipeline.is_loaded else ""
        self._children = ChildResolver(settings, portal, start, names, callers, data_plane)
        try:
            self._state = _connect_state(pipeline, settings, portal, version)
            self.runner = importing.run(pipeline.code, self._start, portal, folder)
            self.run = self._front(portal)
        except BaseException:
            portal.submit(self._close_connections())
            self.release()
            raise

    @property
    def share_left(self) -> float:
        """The smallest share of free threads of this pipeline and its children in this process."""
        return min(self.runner.share_left, self._children.share_left)

    @property
    def is_state_away(self) -> bool:
        """Whether the state of this pipeline, or of a child in this process, is needed and away."""
        return self._children.is_state_away or (self._state is not None and self._state.is_away)

    @property
    def live(self) -> LiveState:
        """Its state now, and that of its children."""
        problem = self._state.problem if self.is_state_away and self._state is not None else None
        problem = problem or self.runner.problem or self._children.problem
        ready = is_enough(self.share_left) and not self.is_state_away
        return LiveState(ready, None if ready else problem, children=self._children.live)

    async def ask_servers(self) -> None:
        """Ask the servers of the children whether they can be called; `live` has the answers."""
        await self._children.ask_servers()

    @property
    def children(self) -> Sequence[Child]:
        """The connected children."""
        return tuple(self._children.connected)

    @property
    def evaluations(self) -> dict[str, str]:
        """How each scikit-learn model in this process is computed, and why, by name of the child."""
        return self._children.evaluations

    async def close(self) -> None:
        """Let running requests finish within `drain_timeout`, and release everything."""
        await self.runner.close(self._settings.drain_timeout)
        await self._close_connections()
        self.release()

    def release(self) -> None:
        """Forget the code of the pipeline's artifact, and of the artifacts of its children."""
        self._serving.close()
        self._children.release()
        self._pipeline.release()

    async def _close_connections(self) -> None:
        await self._children.close()
        if self._state is not None:
            await self._state.close()

    def _front(self, portal: Portal) -> Callable[[dict[str, Any]], Awaitable[Any]]:
        """Return the function that answers requests of clients."""
        settings, details = self._settings, self._pipeline.details
        batching = settings.batching_of(details.batching)
        if batching is None:
            return self.runner.run
        # Imported here, because few pipelines need it.
        from tempo_runtime.execution.batched_requests import BatchedRequests

        turns = settings.max_concurrency or 1
        front = BatchedRequests(self.runner, portal, batching, settings.decoding, turns)
        return self.runner.run if front.transport.is_stopped else front.run

    def _start(self, portal: Portal, folder: str) -> Runner:
        pipeline, settings = self._pipeline, self._settings
        instance = pipeline.instance  # from the author, with its models
        children = self._children.connect(pipeline) if instance is None else None
        with context.loading():
            if instance is None:
                with _naming_author(pipeline, "its constructor"):
                    instance = pipeline.build(children, folder, self._state)
            load = pipeline.load_of(instance)
            with _naming_author(pipeline, pipeline.load_name or "its load method"):
                loading = load() if load is not None else None
                if inspect.iscoroutine(loading):
                    portal.run(loading)
        return Runner(
            pipeline,
            instance,
            portal,
            seed=settings.seed,
            max_concurrency=settings.max_concurrency,
            max_queue=settings.max_queue,
            spare_threads=settings.spare_threads,
            fast_explainers=settings.fast_explainers,
        )


def _connect_state(
    pipeline: Pipeline, settings: PipelineSettings, portal: Portal, version: str
) -> State | None:
    state_settings = settings.state_of(pipeline.details.state)
    # An instance from the author has its state, as it has its models.
    if state_settings is None or pipeline.instance is not None:
        return None
    # Imported here, because few pipelines need it.
    from tempo_runtime.state.connect import connect

    name = pipeline.details.name
    return connect(name, version, state_settings, portal, is_async=pipeline.is_async)


@contextmanager
def _naming_author(pipeline: Pipeline, code: str) -> Iterator[None]:
    """Turn an exception of the author's code into an error that names the line."""
    try:
        yield
    except TempoError:
        raise
    except Exception as error:
        raise failed(pipeline.details.name, code, error) from error


class ChildResolver:
    """Connects the children of one pipeline, which is the last in `inside`.

    The arguments are those of `LoadedPipeline`.

    Attributes:
        connected: The children that are connected so far.
    """

    def __init__(
        self,
        settings: PipelineSettings,
        portal: Portal,
        folder: str = "",
        inside: Sequence[str] = (),
        callers: Callers | None = None,
        data_plane: DataPlane | None = None,
    ) -> None:
        self._settings = settings
        self._portal = portal
        self._folder = folder
        self._inside = inside
        self._callers = callers or Callers()
        self._data_plane = data_plane
        self.connected: list[Child] = []
        # By alias: pipelines in this process, models that are called over a network, and models in this
        # process.
        self._nested: dict[str, LoadedPipeline] = {}
        self._remote: dict[str, RemoteTransport] = {}
        self._servers: dict[str, tuple[Sequence[RemoteEndpoint], Mapping[str, str]]] = {}
        self._readiness: dict[str, Readiness] = {}
        self._served_as: dict[str, tuple[str, str | None]] = {}
        self._models: dict[str, RuntimeTransport | SameServerTransport] = {}

    def connect(self, pipeline: Pipeline) -> Children:
        """Connect all children, and load those in this process."""
        awaitable = pipeline.is_async
        models = pipeline.declared.items()
        children = {alias: self.child(alias, model, awaitable) for alias, model in models}
        return Children(children, self._callers)

    def child(self, alias: str, model: Model, awaitable: bool = False) -> Child:
        """Connect one child; with `awaitable`, its calls are awaited."""
        settings = self._settings.child(alias)
        metrics = ChildMetrics(self._inside[-1] if self._inside else "", alias)
        transport = self._transport(alias, model, settings, metrics)
        batching = settings.batching_of(model.details.batching)
        if batching is not None:
            transport = self._batched(alias, model, settings, transport, batching)
        child = Child(
            model.details,
            transport,
            self._portal,
            metrics,
            output=settings.output_of(model.details.output),
            flatten_single_column=settings.flatten_single_column,
            awaitable=awaitable,
            callers=self._callers,
            decoding=self._settings.decoding,
            transport_name=self._transport_name(settings),
        )
        self.connected.append(child)
        return child

    @property
    def share_left(self) -> float:
        """See `LoadedPipeline.share_left`."""
        shares = [service.share_left for service in self._nested.values()]
        shares += [model.share_left for model in self._models.values()]
        return min(shares, default=1.0)

    @property
    def is_state_away(self) -> bool:
        """See `LoadedPipeline.is_state_away`; of the children only."""
        return any(service.is_state_away for service in self._nested.values())

    @property
    def live(self) -> dict[str, LiveState]:
        """The state of each child now, by alias."""
        owners = (*self._nested.items(), *self._models.items())
        states = {alias: owner.live for alias, owner in owners}
        for alias, transport in self._remote.items():
            states[alias] = of_calls(transport)
            if states[alias].ready is None and alias in self._readiness:
                answer = self._readiness[alias]
                states[alias] = replace(states[alias], ready=answer.ready, problem=answer.problem)
        for alias, served in self._served_as.items():
            states[alias] = replace(states[alias], served_as=served)
        return states

    async def ask_servers(self) -> None:
        """See `LoadedPipeline.ask_servers`."""
        nested = asyncio.gather(*(service.ask_servers() for service in self._nested.values()))
        asked = (self._portal.arun(ask(*servers)) for servers in self._servers.values())
        answers = await asyncio.gather(*asked)
        await nested
        self._readiness = dict(zip(self._servers, answers))

    @property
    def problem(self) -> str | None:
        """Why a child in this process keeps its pipeline from being ready; None if none does."""
        for alias, owner in (*self._nested.items(), *self._models.items()):
            is_away = isinstance(owner, LoadedPipeline) and owner.is_state_away
            if is_away or not is_enough(owner.share_left):
                return f"child {alias!r}: {owner.live.problem}"
        return None

    @property
    def evaluations(self) -> dict[str, str]:
        """See `LoadedPipeline.evaluations`."""
        models = self._models.items()
        own = {alias: m.evaluation for alias, m in models if isinstance(m, RuntimeTransport)}
        nested = [service.evaluations for service in self._nested.values()]
        return {alias: how for each in (*nested, own) for alias, how in each.items() if how}

    async def close(self) -> None:
        """Close all connections, and unload the models and pipelines in this process."""
        for child in self.connected:
            await child.close()
        for service in self._nested.values():
            await service.close()

    def release(self) -> None:
        """Forget the code of the artifacts of child pipelines."""
        for service in self._nested.values():
            service.release()

    def _transport(
        self, alias: str, model: Model, settings: ChildSettings, metrics: ChildMetrics
    ) -> Transport:
        if settings.transport in ("http", "grpc"):
            _refuse_fast(alias, settings, f"it is called over {settings.transport}")
            name = settings.model or model.details.name
            if not settings.url:
                self._served_as[alias] = (name, settings.version)
            allowed = limits(settings, forwards_deadline=model.details.served_by_us)
            if self._data_plane is None or settings.url:
                is_triton = model.details.served_by_triton
                servers = endpoints(settings, name, self._portal, is_triton=is_triton)
                remote = RemoteTransport(servers, self._portal, allowed, metrics)
                self._remote[alias] = remote
                self._servers[alias] = servers, allowed.headers
                return remote
            return self._on_this_server(alias, name, settings, allowed, metrics)
        if isinstance(model, Pipeline) and settings.uri is None:
            _refuse_fast(alias, settings, "it is a pipeline")
            return self._pipeline(alias, model, model.details.local_folder or "", self._settings)
        return self._from_folder(alias, model, settings)

    def _transport_name(self, settings: ChildSettings) -> str:
        if settings.transport not in ("http", "grpc"):
            return "in_process"
        is_here = self._data_plane is not None and not settings.url
        return "same_server" if is_here else settings.transport

    def _batched(
        self,
        alias: str,
        model: Model,
        settings: ChildSettings,
        transport: Transport,
        batching: Batching,
    ) -> Transport:
        # Imported here, because few pipelines need it.
        from tempo_runtime.clients.batching import BatchingTransport

        name = model.details.name
        place = settings.url[0] if settings.url else model.details.home or "this process"
        is_inside = isinstance(transport, PipelineTransport)
        return BatchingTransport(
            transport,
            self._portal,
            batching,
            ChildAddress(name, place),
            BatchMetrics(self._inside[-1] if self._inside else "", alias),
            signature=model.details.signature,
            # Servers that take turns can each work on a call.
            turns=settings.max_concurrency or len(settings.url or "1"),
            timeout=None if is_inside else settings.timeout,
            shares_budget=is_inside,
        )

    def _on_this_server(
        self,
        alias: str,
        name: str,
        settings: ChildSettings,
        allowed: Limits,
        metrics: ChildMetrics,
    ) -> Transport:
        from tempo_runtime.execution.same_server import SameServerTransport  # imports MLServer

        assert self._data_plane is not None
        transport = SameServerTransport(
            self._data_plane, name, settings, self._portal, allowed, metrics
        )
        self._models[alias] = transport
        return transport

    def _from_folder(self, alias: str, model: Model, settings: ChildSettings) -> Transport:
        details = model.details
        origin = origin_of(self._folder)
        place = settings.uri or details.local_folder
        if not settings.implementation:
            path = os.path.join(origin, place) if place else None
            frameworks.refuse_without_triton(alias, details.name, details.platform, path)
        folder = child_folder(origin, alias, details.name, place)
        demands = trust.TrustPolicy.of_environment() if model.demands is None else model.demands
        if not settings.implementation and topology.is_artifact(details.platform, folder):
            _refuse_fast(alias, settings, "it is a pipeline")
            opened = store.verify_folder(folder, demands)
            pipeline, extra = store.unpickle(opened)
            return self._pipeline(alias, pipeline, opened.folder, PipelineSettings.read(extra))
        copy = verification.copy_model(folder, demands) if demands else None
        transport = RuntimeTransport(
            details,
            folder if copy is None else copy.place,
            settings.implementation,
            timeout=settings.timeout,
            fast=settings.fast_sklearn,
            code=model.code,
            copy=copy,
        )
        self._models[alias] = transport
        return transport

    def _pipeline(
        self, alias: str, pipeline: Pipeline, folder: str, settings: PipelineSettings
    ) -> Transport:
        name = pipeline.details.name
        if name in self._inside:
            circle = " -> ".join([*self._inside, name])
            raise SettingsError(f"pipelines call each other in a circle: {circle}")
        callers = None if self._callers.served else self._callers
        service = LoadedPipeline(
            pipeline, settings, self._portal, folder, self._inside, callers, self._data_plane
        )
        self._nested[alias] = service
        return PipelineTransport(
            service.runner,
            settings.decoding,
            child=name,
            request_headers=settings.request_headers,
        )


def _refuse_fast(alias: str, settings: ChildSettings, reason: str) -> None:
    if settings.fast_sklearn:
        raise SettingsError(
            f"child {alias!r}: the setting `fast_sklearn` requires a scikit-learn model in the "
            f"pipeline's process, but {reason}; remove the setting"
        )
