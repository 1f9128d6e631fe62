"""A call without a server: in a notebook, a script or a test.

It is what a request would be: the predict method gets what it would get from one, in a context of its
own, and the caller gets what a client would.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any

from tempo_runtime import context
from tempo_runtime.binding import bound_arguments, bound_result

if TYPE_CHECKING:
    from tempo_runtime.models import Pipeline


def call(pipeline: Pipeline, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Calls the predict method of an instance, or a pipeline function (`instance` is None).

    Returns:
        Its result; for a coroutine function something to await, for a generator an iterator.

    Raises:
        PayloadError: If an argument does not fit the signature, or cannot travel.
        PipelineFailed: If the result is not what the signature says, or cannot travel.
    """
    arguments = bound_arguments(pipeline.signature, args, kwargs)
    predict = pipeline.predict_of(instance)
    if inspect.isasyncgenfunction(plain := pipeline.predict_of(None)):
        return _stream_async(pipeline, predict, arguments)
    if inspect.isgeneratorfunction(plain):
        return _stream(pipeline, predict, arguments)
    if inspect.iscoroutinefunction(plain):
        return _await(pipeline, predict, arguments)
    with context.serving(None, {}):
        return _result(pipeline, predict(**arguments))


def _result(pipeline: Pipeline, value: Any) -> Any:
    return bound_result(pipeline.signature, pipeline.details.name, value)


async def _await(pipeline: Pipeline, predict: Any, arguments: dict[str, Any]) -> Any:
    with context.serving(None, {}):
        result: Awaitable[Any] = predict(**arguments)
        return _result(pipeline, await result)


def _stream(pipeline: Pipeline, predict: Any, arguments: dict[str, Any]) -> Iterator[Any]:
    with context.serving(None, {}), closing(predict(**arguments)) as items:
        for item in items:
            yield _result(pipeline, item)


async def _stream_async(
    pipeline: Pipeline, predict: Any, arguments: dict[str, Any]
) -> AsyncIterator[Any]:
    with context.serving(None, {}):
        async with aclosing(predict(**arguments)) as items:
            async for item in items:
                yield _result(pipeline, item)
