"""Puts a pipeline together: chooses the way to each child, builds the instance, makes it run."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from tempo_runtime._util.private_copies import origin_of
from tempo_runtime.artifact import importing, store, trust, verification
from tempo_runtime.authoring.decorators import Model, Pipeline
from tempo_runtime.clients.child import Child, Children
from tempo_runtime.clients.connect import endpoints, limits
from tempo_runtime.clients.remote import RemoteTransport
from tempo_runtime.clients.transport import Transport
from tempo_runtime.errors import SettingsError, TempoError
from tempo_runtime.execution.in_process import PipelineTransport, RuntimeTransport
from tempo_runtime.execution.runner import Runner, failed
from tempo_runtime.request import context
from tempo_runtime.request.context import ANYONE, Callers
from tempo_runtime.request.metrics import ChildMetrics
from tempo_runtime.request.portal import Portal
from tempo_runtime.settings import ChildSettings, PipelineSettings, child_folder


class LoadedPipeline:
    """A pipeline that can be called: loaded, its children connected.

    Everything here blocks, and is done in a thread; no child is called.

    Args:
        pipeline: What to serve.
        settings: How to reach its children, and how to run it.
        portal: The loop that clients and async code live on.
        folder: Its artifact; relative paths of children start there.
        inside: Names of the pipelines this one is a child of, outermost first.
        callers: Decides about calls from outside of any request; None where there is a server, which
            makes requests of all.

    Raises:
        SettingsError: If nothing says where a child is, or pipelines call each other in a circle.
        ChildUnavailable: If a child that is to run in this process cannot be loaded.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        settings: PipelineSettings,
        portal: Portal,
        folder: str = "",
        inside: Sequence[str] = (),
        callers: Callers | None = None,
    ) -> None:
        self._settings = settings
        self._pipeline = pipeline
        names = [*inside, pipeline.details.name]
        self._serving = ExitStack()
        if callers is None:
            callers = Callers(served=True, timeout=settings.timeout)
            self._serving.enter_context(ANYONE.serving())
        # In a pipeline that was not loaded, children's folders are relative to the working directory.
        start = folder if pipeline.is_loaded else ""
        self._children = ChildResolver(settings, portal, start, names, callers)
        try:
            self.runner = importing.run(pipeline.code, self._start, portal, folder)
        except BaseException:
            portal.submit(self._children.close())
            self.release()
            raise

    @property
    def share_left(self) -> float:
        """The smallest share of threads left, among this pipeline and its children in this process."""
        return min(self.runner.share_left, self._children.share_left)

    async def close(self) -> None:
        """Let running requests finish, within `drain_timeout`, and free everything."""
        await self.runner.close(self._settings.drain_timeout)
        await self._children.close()
        self.release()

    def release(self) -> None:
        """Forget the code that the pipeline's artifact, and those of its children, brought."""
        self._serving.close()
        self._children.release()
        self._pipeline.release()

    def _start(self, portal: Portal, folder: str) -> Runner:
        pipeline, settings = self._pipeline, self._settings
        instance = pipeline.instance  # the author's own, which has its models already
        children = self._children.connect(pipeline) if instance is None else None
        with context.loading():
            if instance is None:
                with _naming_author(pipeline, "its constructor"):
                    instance = pipeline.build(children, folder)
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


@contextmanager
def _naming_author(pipeline: Pipeline, code: str) -> Iterator[None]:
    """Turn an exception of the author's code into an error that names its place."""
    try:
        yield
    except TempoError:
        raise
    except Exception as error:
        raise failed(pipeline.details.name, code, error) from error


class ChildResolver:
    """Connects the children of one pipeline, the last of those in `inside`.

    The arguments are those of `LoadedPipeline`.
    """

    def __init__(
        self,
        settings: PipelineSettings,
        portal: Portal,
        folder: str = "",
        inside: Sequence[str] = (),
        callers: Callers | None = None,
    ) -> None:
        self._settings = settings
        self._portal = portal
        self._folder = folder
        self._inside = inside
        self._callers = callers or Callers()
        self._children: list[Child] = []
        self._nested: list[LoadedPipeline] = []
        self._models: list[RuntimeTransport] = []  # in this process; other than pipelines

    def connect(self, pipeline: Pipeline) -> Children:
        """Connect every child; one in this process is loaded here."""
        awaitable = pipeline.is_async
        models = pipeline.declared.items()
        children = {alias: self.child(alias, model, awaitable) for alias, model in models}
        return Children(children, self._callers)

    def child(self, alias: str, model: Model, awaitable: bool = False) -> Child:
        """Connect one child; `awaitable` is whether its calls are awaited."""
        settings = self._settings.child(alias)
        metrics = ChildMetrics(self._inside[-1] if self._inside else "", alias)
        child = Child(
            model.details,
            self._transport(alias, model, settings, metrics),
            self._portal,
            metrics,
            output=settings.output,
            squeeze=settings.squeeze,
            awaitable=awaitable,
            callers=self._callers,
            decoding=self._settings.decoding,
        )
        self._children.append(child)
        return child

    @property
    def share_left(self) -> float:
        """See `LoadedPipeline.share_left`."""
        shares = [service.share_left for service in self._nested]
        shares += [model.share_left for model in self._models]
        return min(shares, default=1.0)

    async def close(self) -> None:
        """Close every connection, and unload what was loaded."""
        for child in self._children:
            await child.close()
        for service in self._nested:
            await service.close()

    def release(self) -> None:
        """Forget the code that the artifacts of pipelines among the children brought."""
        for service in self._nested:
            service.release()

    def _transport(
        self, alias: str, model: Model, settings: ChildSettings, metrics: ChildMetrics
    ) -> Transport:
        if settings.transport in ("http", "grpc"):
            _refuse_fast(alias, settings, f"it is called over {settings.transport}")
            servers = endpoints(settings, settings.model or model.details.name, self._portal)
            allowed = limits(settings, forwards_deadline=model.details.served_by_us)
            return RemoteTransport(servers, self._portal, allowed, metrics)
        if isinstance(model, Pipeline) and settings.uri is None:
            _refuse_fast(alias, settings, "it is a pipeline")
            return self._pipeline(model, model.details.local_folder or "", self._settings)
        return self._from_folder(alias, model, settings)

    def _from_folder(self, alias: str, model: Model, settings: ChildSettings) -> Transport:
        details = model.details
        origin = origin_of(self._folder)
        folder = child_folder(origin, alias, details.name, settings.uri or details.local_folder)
        demands = trust.TrustPolicy.of_environment() if model.demands is None else model.demands
        if details.served_by_us and not (settings.implementation or store.is_other_model(folder)):
            _refuse_fast(alias, settings, "it is a pipeline")
            opened = store.verify_folder(folder, demands)
            pipeline, extra = store.unpickle(opened)
            return self._pipeline(pipeline, opened.folder, PipelineSettings.read(extra))
        copy = verification.copy_model(folder, demands) if demands else None
        transport = RuntimeTransport(
            details,
            folder if copy is None else copy.place,
            settings.implementation,
            timeout=settings.timeout,
            fast=settings.fast,
            code=model.code,
            copy=copy,
        )
        self._models.append(transport)
        return transport

    def _pipeline(self, pipeline: Pipeline, folder: str, settings: PipelineSettings) -> Transport:
        name = pipeline.details.name
        if name in self._inside:
            circle = " -> ".join([*self._inside, name])
            raise SettingsError(f"pipelines call each other in a circle: {circle}")
        callers = None if self._callers.served else self._callers
        service = LoadedPipeline(pipeline, settings, self._portal, folder, self._inside, callers)
        self._nested.append(service)
        return PipelineTransport(service.runner, settings.decoding, child=name)


def _refuse_fast(alias: str, settings: ChildSettings, why: str) -> None:
    if settings.fast:
        raise SettingsError(
            f"child {alias!r}: `fast` is for scikit-learn models in the pipeline's process, and "
            f"{why}; remove its setting `fast`"
        )
