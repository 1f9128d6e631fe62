"""Call a pipeline without a server: in a notebook, a script or a test.

A call behaves like a request: the predict method receives the arguments that a request would bring, in
its own context, and the caller receives the result that a client would. Exceptions of the author's code
are passed on unchanged.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from tempo_runtime._util.progress import in_notebook
from tempo_runtime.authoring.models import Model, Pipeline
from tempo_runtime.execution import frameworks
from tempo_runtime.execution.explain.isolation import RequestIsolation, requests_of
from tempo_runtime.protocol.binding import bound_arguments, bound_result
from tempo_runtime.request import context, tracing
from tempo_runtime.request.budget import RequestBudget
from tempo_runtime.request.context import Origin
from tempo_runtime.request.current import new_id
from tempo_runtime.request.portal import background
from tempo_runtime.settings import ENV_PREFIX, PipelineSettings

if TYPE_CHECKING:
    from tempo_runtime.clients.child import Child, Children
    from tempo_runtime.execution.loading import ChildResolver
    from tempo_runtime.request.spans import Trace
    from tempo_runtime.state.state import State

T = TypeVar("T")
_END = object()
_NOTHING = nullcontext()


def call(pipeline: Pipeline, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call the predict method of an instance, or a pipeline function (`instance` is None).

    Limits of requests apply if they are set in the environment (`TEMPO_RUNTIME_MAX_CALLS` and others) or
    in the artifact that the pipeline was loaded from; each call to a child checks the timeout. By
    default there is no limit.

    Returns:
        The result; for a coroutine function an awaitable, for a generator an iterator.

    Raises:
        PayloadError: If an argument does not match the signature, or cannot be sent.
        PipelineFailed: If the result does not match the signature, or cannot be sent.
        Exception: Any exception of the predict method.
    """
    arguments = bound_arguments(pipeline.signature, args, kwargs)
    plain = pipeline.predict_of(None)
    if inspect.isasyncgenfunction(plain):
        return _stream_async(pipeline, instance, arguments)
    if inspect.isgeneratorfunction(plain):
        return _stream(pipeline, instance, arguments)
    if inspect.iscoroutinefunction(plain):
        return _await(pipeline, instance, arguments)
    with _request(pipeline, instance) as predict:
        result = predict(**arguments)
    return _result(pipeline, result)


def implementation(model: Model) -> str | None:
    """Return the class of MLServer's runtime that serves a model; None if it is unknown."""
    return frameworks.IMPLEMENTATIONS.get(model.details.platform)


def connect_children(pipeline: Pipeline) -> Children:
    """Return the children of a pipeline without a server, which are connected when first called."""
    # Imported here, because a pipeline without children does not need the clients, and a test that
    # replaces the children does not need to load them.
    from tempo_runtime.clients.child import Children
    from tempo_runtime.execution.first_call import FirstCalls

    def resolver() -> ChildResolver:
        from tempo_runtime.execution.loading import ChildResolver

        settings = PipelineSettings.read(pipeline.extra)
        folder = pipeline.details.local_folder if pipeline.is_loaded else None
        names = [pipeline.details.name]
        return ChildResolver(settings, background(), folder or "", names, callers)

    callers, calls, awaitable = pipeline.callers, FirstCalls(resolver), pipeline.is_async
    models = pipeline.declared.items()
    children = {alias: calls.child(alias, model, awaitable) for alias, model in models}
    return Children(children, callers)


def connect_state(pipeline: Pipeline) -> State:
    """Connect the state of a pipeline that is called without a server."""
    # Imported here, because few pipelines need it.
    from tempo_runtime.state.connect import connect

    details = pipeline.details
    settings = PipelineSettings.read(pipeline.extra).state_of(details.state)
    assert settings is not None  # or the pipeline refuses the look-up
    return connect(details.name, "", settings, background(), is_async=pipeline.is_async)


def connect_model(model: Model) -> Child:
    """Return a model without a server as a child, which is connected when it is first called."""
    from tempo_runtime.execution.first_call import FirstCalls

    def resolver() -> ChildResolver:
        from tempo_runtime.execution.loading import ChildResolver

        return ChildResolver(PipelineSettings(), background(), callers=context.ANYONE)

    return FirstCalls(resolver).child(model.details.name, model)


def picture(model: Model) -> str:
    """Return one HTML element that shows a model, or a pipeline and its graph, in a notebook."""
    from tempo_runtime.execution.graph import html

    return html.picture(model)


def _result(pipeline: Pipeline, value: Any) -> Any:
    return bound_result(pipeline.signature, pipeline.details.name, value)


@contextmanager
def _request(pipeline: Pipeline, instance: Any) -> Iterator[Callable[..., Any]]:
    """Open the request of one direct call, and yield the predict method to call in it."""
    settings = _settings(pipeline)
    requests = requests_of(pipeline, instance, seed=settings.seed, fast=settings.fast_explainers)
    limits = RequestBudget(settings.max_calls, settings.max_rows, settings.allow_incomplete_anchors)
    callers = pipeline.callers
    timeout = settings.timeout if "timeout" in settings.model_fields_set else callers.timeout
    trace = _trace(pipeline.details.name, settings)
    with (
        callers.call(pipeline.details.name),
        _NOTHING if trace is None else trace.running(),
        context.serving(
            timeout,
            {},
            id=new_id(),
            limits=limits,
            origin=Origin(pipeline.details.name),
            trace=trace,
        ),
        _shown(pipeline, limits, requests),
        requests.request() as predict,
    ):
        yield predict


def _trace(pipeline: str, settings: PipelineSettings) -> Trace | None:
    """Start the span of a call, if it is traced."""
    name, attributes = f"pipeline {pipeline}", {"tempo.pipeline": pipeline}
    outer = context.current().trace
    if outer is not None:
        return outer.below(name, attributes)
    tracer = tracing.tracer()
    if tracer is None:
        return None
    # Imported here, because it imports OpenTelemetry.
    from tempo_runtime.request.spans import begin

    return begin(tracer, name, attributes, settings.max_traced_calls, {})


def _shown(
    pipeline: Pipeline, limits: RequestBudget, requests: RequestIsolation
) -> AbstractContextManager[None]:
    if not (in_notebook() and requests.explains):
        return _NOTHING
    from tempo_runtime.execution.explain import progress

    return progress.shown(pipeline.details.name, limits)


def _settings(pipeline: Pipeline) -> PipelineSettings:
    # To compare the values of all variables would take several times as long as the rest of the call.
    names = [name for name in os.environ if name.startswith(ENV_PREFIX)]
    variables = tuple((name, os.environ[name]) for name in names)
    known = pipeline.direct_settings
    if known is None or known[0] != variables:
        settings = PipelineSettings.read(pipeline.extra, dict(variables))
        known = pipeline.direct_settings = variables, settings
    return known[1]


async def _await(pipeline: Pipeline, instance: Any, arguments: dict[str, Any]) -> Any:
    with _request(pipeline, instance) as predict:
        awaitable: Awaitable[Any] = predict(**arguments)
        result = await awaitable
    return _result(pipeline, result)


def _stream(pipeline: Pipeline, instance: Any, arguments: dict[str, Any]) -> Iterator[Any]:
    # A generator shares its caller's context, but the caller's work between two items is not part of the
    # call. So each step runs in a separate context.
    steps = copy_context()

    def iterate() -> Generator[Any, None, None]:
        with _request(pipeline, instance) as predict:
            yield from predict(**arguments)

    items = iterate()
    try:
        while (item := steps.run(next, items, _END)) is not _END:
            yield _result(pipeline, item)
    finally:
        steps.run(items.close)


async def _stream_async(
    pipeline: Pipeline, instance: Any, arguments: dict[str, Any]
) -> AsyncIterator[Any]:
    steps = copy_context()

    async def iterate() -> AsyncIterator[Any]:
        with _request(pipeline, instance) as predict:
            items = predict(**arguments)
            try:
                async for item in items:
                    yield item
            finally:
                await items.aclose()

    items: Any = iterate()
    try:
        while (item := await _InContext(steps, anext(items, _END))) is not _END:
            yield _result(pipeline, item)
    finally:
        await _InContext(steps, items.aclose())


class _InContext:
    """Awaits something, and runs each of its steps in a context other than the task's."""

    def __init__(self, context: Context, awaitable: Awaitable[T]) -> None:
        self._context = context
        self._awaitable = awaitable

    def __await__(self) -> Generator[Any, Any, Any]:
        run, steps = self._context.run, self._awaitable.__await__()
        # `await` drives a coroutine through the same methods.
        step, argument = steps.send, None
        while True:
            try:
                waited_for = run(step, argument)
            except StopIteration as end:
                return end.value
            try:
                step, argument = steps.send, (yield waited_for)
            except BaseException as error:
                step, argument = steps.throw, error
