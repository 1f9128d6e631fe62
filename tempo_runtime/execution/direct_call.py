"""A call without a server: in a notebook, a script or a test.

It behaves as a request does: the predict method gets the arguments that a request would bring, in a
context of its own, and the caller gets the result that a client would. Exceptions that the author's own
code raises are passed on unchanged.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from tempo_runtime.authoring.models import Model, Pipeline
from tempo_runtime.execution.explain.isolation import requests_of
from tempo_runtime.protocol.binding import bound_arguments, bound_result
from tempo_runtime.request import context
from tempo_runtime.request.budget import RequestBudget
from tempo_runtime.request.portal import background
from tempo_runtime.settings import ENV_PREFIX, PipelineSettings

if TYPE_CHECKING:
    from tempo_runtime.clients.child import Child, Children

T = TypeVar("T")
_END = object()


def call(pipeline: Pipeline, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call the predict method of an instance, or a pipeline function (`instance` is None).

    The settings of a request hold where the environment (`TEMPO_RUNTIME_MAX_CALLS` and the like), or
    the artifact that it was loaded from, states them; its time, too, is looked at by each call to a
    child. Without that there is no limit.

    Returns:
        Its result; for a coroutine function something to await, for a generator an iterator.

    Raises:
        PayloadError: If an argument does not fit the signature, or cannot travel.
        PipelineFailed: If the result is not what the signature says, or cannot travel.
        Exception: Whatever the predict method raises.
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


def connect_children(pipeline: Pipeline) -> Children:
    """Connect the children of a pipeline that is called without a server."""
    # A pipeline that calls no model needs none of the clients.
    from tempo_runtime.execution.loading import ChildResolver

    names = [pipeline.details.name]
    folder = pipeline.details.local_folder if pipeline.is_loaded else None
    settings = PipelineSettings.read(pipeline.extra)
    connector = ChildResolver(settings, background(), folder or "", names, pipeline.callers)
    return connector.connect(pipeline)


def connect_model(model: Model) -> Child:
    """Connect a model that is called without a server."""
    from tempo_runtime.execution.loading import ChildResolver

    connector = ChildResolver(PipelineSettings(), background(), callers=context.ANYONE)
    return connector.child(model.details.name, model)


def _result(pipeline: Pipeline, value: Any) -> Any:
    return bound_result(pipeline.signature, pipeline.details.name, value)


@contextmanager
def _request(pipeline: Pipeline, instance: Any) -> Iterator[Callable[..., Any]]:
    """Open the request of one direct call and yield the predict method to call in it."""
    settings = _settings(pipeline)
    requests = requests_of(pipeline, instance, seed=settings.seed, fast=settings.fast_explainers)
    limits = RequestBudget(settings.max_calls, settings.max_rows, settings.best_so_far)
    callers = pipeline.callers
    timeout = settings.timeout if "timeout" in settings.model_fields_set else callers.timeout
    with (
        callers.call(pipeline.details.name),
        context.serving(timeout, {}, limits=limits),
        requests.request() as predict,
    ):
        yield predict


def _settings(pipeline: Pipeline) -> PipelineSettings:
    # The values of all variables would cost several times what the rest of the call does.
    names = [name for name in os.environ if name.startswith(ENV_PREFIX)]
    variables = tuple((name, os.environ[name]) for name in names)
    known = pipeline.direct_settings
    if known is None or known[0] != variables:
        found = PipelineSettings.read(pipeline.extra, dict(variables))
        known = pipeline.direct_settings = variables, found
    return known[1]


async def _await(pipeline: Pipeline, instance: Any, arguments: dict[str, Any]) -> Any:
    with _request(pipeline, instance) as predict:
        awaitable: Awaitable[Any] = predict(**arguments)
        result = await awaitable
    return _result(pipeline, result)


def _stream(pipeline: Pipeline, instance: Any, arguments: dict[str, Any]) -> Iterator[Any]:
    # A generator shares its caller's context, and what the caller does between two items is not part of
    # the call: each step runs in a context that belongs to it.
    own = copy_context()

    def iterate() -> Generator[Any, None, None]:
        with _request(pipeline, instance) as predict:
            yield from predict(**arguments)

    items = iterate()
    try:
        while (item := own.run(next, items, _END)) is not _END:
            yield _result(pipeline, item)
    finally:
        own.run(items.close)


async def _stream_async(
    pipeline: Pipeline, instance: Any, arguments: dict[str, Any]
) -> AsyncIterator[Any]:
    own = copy_context()

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
        while (item := await _InContext(own, anext(items, _END))) is not _END:
            yield _result(pipeline, item)
    finally:
        await _InContext(own, items.aclose())


class _InContext:
    """Await something, and run each of its steps in a context other than the task's."""

    def __init__(self, own: Context, awaitable: Awaitable[T]) -> None:
        self._own = own
        self._awaitable = awaitable

    def __await__(self) -> Generator[Any, Any, Any]:
        run, steps = self._own.run, self._awaitable.__await__()
        # `await` drives a coroutine by these methods, too.
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
