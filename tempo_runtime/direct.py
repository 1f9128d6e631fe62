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

if TYPE_CHECKING:
    from tempo_runtime.models import Pipeline


def call(pipeline: Pipeline, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Calls the predict method of an instance, or a pipeline function (`instance` is None).

    Returns:
        Its result; for a coroutine function something to await, for a generator an iterator.
    """
    predict = pipeline.predict_of(instance)
    if inspect.isasyncgenfunction(plain := pipeline.predict_of(None)):
        return _stream_async(pipeline, predict, args, kwargs)
    if inspect.isgeneratorfunction(plain):
        return _stream(pipeline, predict, args, kwargs)
    if inspect.iscoroutinefunction(plain):
        return _await(pipeline, predict, args, kwargs)
    with context.serving(None, {}):
        return predict(*args, **kwargs)


async def _await(pipeline: Pipeline, predict: Any, args: Any, kwargs: Any) -> Any:
    with context.serving(None, {}):
        result: Awaitable[Any] = predict(*args, **kwargs)
        return await result


def _stream(pipeline: Pipeline, predict: Any, args: Any, kwargs: Any) -> Iterator[Any]:
    with context.serving(None, {}), closing(predict(*args, **kwargs)) as items:
        yield from items


async def _stream_async(
    pipeline: Pipeline, predict: Any, args: Any, kwargs: Any
) -> AsyncIterator[Any]:
    with context.serving(None, {}):
        async with aclosing(predict(*args, **kwargs)) as items:
            async for item in items:
                yield item
