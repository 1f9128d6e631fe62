"""Replace a pipeline's children with fakes in this process, and record calls of its children."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tempo_runtime.authoring.decorators import Pipeline, describe
from tempo_runtime.authoring.details import ModelDetails
from tempo_runtime.clients.child import Child, Children
from tempo_runtime.clients.transport import Transport
from tempo_runtime.errors import (
    ChildFailed,
    ChildNotFound,
    ChildUnavailable,
    DeadlineExceeded,
    PayloadError,
    TempoError,
)
from tempo_runtime.execution.first_call import UnconnectedChild
from tempo_runtime.execution.loading import ChildResolver
from tempo_runtime.protocol.messages import (
    Request,
    Response,
    request_from_json,
    request_to_json,
    response_from_json,
    response_to_json,
)
from tempo_runtime.request import context
from tempo_runtime.request.context import RequestContext
from tempo_runtime.request.portal import background
from tempo_runtime.settings import PipelineSettings
from tempo_runtime.testing.script import Call, Script, values_of
from tempo_runtime.testing.steps import Fail, Reply, Step


@dataclass(frozen=True)
class ChildCall:
    """A call of a pipeline to one of its children.

    Attributes:
        alias: The child's name in the pipeline.
        inputs: The values it was called with, by name.
        output: Its result; None if it failed.
        error: Why it failed, if it did.
        seconds: How long it took.
    """

    alias: str
    inputs: dict[str, Any]
    output: Any
    error: BaseException | None
    seconds: float


@contextmanager
def record_calls(target: Any) -> Iterator[list[ChildCall]]:
    """Record the calls of a pipeline in this process to its children, during the block.

    Args:
        target: The pipeline: its class, an instance of it, or its function.

    Yields:
        The calls, in the order in which they ended.
    """
    with _recorded(_named(_shared(target).models)) as calls:
        yield calls


@contextmanager
def fake_children(target: Any, /, **fakes: Any) -> Iterator[list[ChildCall]]:
    """Replace a pipeline's children with fakes, in this process, during the block.

    Values are still encoded as V2's JSON, so that a value which cannot travel fails here, too. A fake
    stands for a child after all retries: the pipeline sees its errors. Other children are not replaced.

    Args:
        target: The pipeline: its class, an instance of it, or its function.
        fakes: The answer of each fake, by the child's name in the pipeline: a function of the call's
            values, a value, a step, or a list of steps, one for each call.

    Yields:
        The calls to the pipeline's children, in the order in which they ended.

    Raises:
        TypeError: If the pipeline has no child of such a name.

    Example:
        >>> from tempo_runtime import Model, PipelineModels, pipeline
        >>> from tempo_runtime.testing import fake_children
        >>> @pipeline("shop", models=PipelineModels(price=Model("price")))
        ... def total(item: str, count: int) -> float:
        ...     return count * total.models.price(item)
        >>> with fake_children(total, price=lambda item: len(item) / 2) as calls:
        ...     total("milk", 3)
        6.0
        >>> calls[0].output
        2.0
    """
    pipeline = _shared(target)
    declared = dict(pipeline.declared.items())
    for alias in fakes:
        if alias not in declared:
            known = ", ".join(declared) or "none"
            raise TypeError(f"the pipeline has no model {alias!r} to fake; it has {known}")
    transports = {
        alias: _FakeTransport(alias, declared[alias].details, fake) for alias, fake in fakes.items()
    }
    with _connected(pipeline, transports) as children:
        named = _named(children)
        with _replaced(named, transports.get), _recorded(named) as calls:
            yield calls


class _FakeTransport:
    """Answer calls by a script; see `Transport`."""

    def __init__(self, alias: str, details: ModelDetails, fake: Any) -> None:
        steps = isinstance(fake, list | tuple) and fake and all(isinstance(s, Step) for s in fake)
        self._details = details
        self.tagged = details.served_by_us
        answer = ... if steps else fake
        self._script = Script(alias, answer, details.signature, tagged=self.tagged)
        if steps:
            self._script.add(fake)

    async def infer(self, request: Request) -> Response:
        return await background().arun(self._infer(request, context.current()))

    def infer_blocking(self, request: Request) -> Response:
        return background().run(self._infer(request, context.current()))

    async def close(self) -> None:
        pass

    async def _infer(self, request: Request, current: RequestContext) -> Response:
        try:
            reply = await asyncio.wait_for(self._reply(request, current), current.remaining())
        except asyncio.TimeoutError:
            raise DeadlineExceeded(
                f"child {self._details.name!r} did not answer in time"
            ) from current.exceeded()
        if isinstance(reply, Response):
            return response_from_json(response_to_json(reply, ""))
        assert isinstance(reply, Fail)
        raise self._failure(reply)

    async def _reply(self, request: Request, current: RequestContext) -> Response | Reply:
        try:
            call = Call.of(
                request_from_json(request_to_json(request)),
                self._details.signature,
                headers=current.headers,
            )
        except PayloadError as error:
            return Fail(422, str(error))
        return await self._script.play(call)

    def _failure(self, reply: Fail) -> TempoError:
        message = f"child {self._details.name!r} answered {reply.status}: {reply.message}"
        if reply.status == 504:
            return DeadlineExceeded(message)
        kind = {404: ChildNotFound, 429: ChildUnavailable, 503: ChildUnavailable}
        return kind.get(reply.status, ChildFailed)(message, model=self._details.name)


class _RecordingTransport:
    """Record the calls that go through another transport."""

    def __init__(self, alias: str, child: Child, calls: list[ChildCall]) -> None:
        self._alias = alias
        self._child = child
        self._inner = child._transport
        self.tagged = self._inner.tagged
        self._calls = calls

    async def infer(self, request: Request) -> Response:
        with self._record(request) as responses:
            responses.append(await self._inner.infer(request))
        return responses[0]

    def infer_blocking(self, request: Request) -> Response:
        with self._record(request) as responses:
            responses.append(self._inner.infer_blocking(request))
        return responses[0]

    async def close(self) -> None:
        await self._inner.close()

    @contextmanager
    def _record(self, request: Request) -> Iterator[list[Response]]:
        inputs = copy.deepcopy(values_of(request, self._child.details.signature))
        responses: list[Response] = []
        output, failure = None, None
        start = time.perf_counter()
        try:
            yield responses
            output = copy.deepcopy(self._child._decode(responses[0]))
        except BaseException as error:
            failure = error
            raise
        finally:
            seconds = time.perf_counter() - start
            self._calls.append(ChildCall(self._alias, inputs, output, failure, seconds))


def _shared(target: Any) -> Pipeline:
    """Return the pipeline that holds the children; all instances of a class share that of the class."""
    pipeline = describe(target)
    return pipeline._origin or pipeline


class _FakeResolver(ChildResolver):
    """Connect a pipeline's children, except those that have a fake."""

    def __init__(self, pipeline: Pipeline, fakes: dict[str, _FakeTransport]) -> None:
        names = [pipeline.details.name]
        super().__init__(PipelineSettings.read(), background(), "", names, pipeline.callers)
        self._fakes = fakes

    def _transport(self, alias: str, *args: Any, **kwargs: Any) -> Transport:
        return self._fakes.get(alias) or super()._transport(alias, *args, **kwargs)


@contextmanager
def _connected(pipeline: Pipeline, fakes: dict[str, _FakeTransport]) -> Iterator[Children]:
    """Connect the pipeline's children during the block, unless they are connected."""
    known = pipeline._children
    if known is not None and not any(map(_is_unconnected, vars(known)["_children"].values())):
        assert isinstance(known, Children)
        yield known
        return
    # Closing the children also closes those of function pipelines among them, which get theirs back.
    before = [(nested, dict(vars(nested))) for nested in _nested(pipeline)]
    # A function that the test itself put in the place of a child stays, and that child is not connected.
    put = {} if known is None else dict(vars(known)["_children"])
    put = {alias: child for alias, child in put.items() if not isinstance(child, Child)}
    declared = dict(pipeline.declared.items())
    unused = {alias: _FakeTransport(alias, declared[alias].details, None) for alias in put}
    resolver = _FakeResolver(pipeline, {**unused, **fakes})
    try:
        children = pipeline._children = resolver.connect(pipeline)
        vars(children)["_children"].update(put)
        yield children
    finally:
        pipeline._children = known
        background().run(resolver.close())
        for nested, state in before:
            vars(nested).update(state)


def _named(children: Any) -> dict[str, Child]:
    """Return the children by their names, without those that the test itself has replaced."""
    named = {alias: getattr(children, alias) for alias in children}
    return {alias: child for alias, child in named.items() if isinstance(child, Child)}


def _is_unconnected(child: Any) -> bool:
    return isinstance(child, UnconnectedChild) and not child.is_connected


def _nested(pipeline: Pipeline) -> Iterator[Pipeline]:
    for _, model in pipeline.declared.items():
        if isinstance(model, Pipeline):
            yield model
            yield from _nested(model)


@contextmanager
def _recorded(children: dict[str, Child]) -> Iterator[list[ChildCall]]:
    calls: list[ChildCall] = []
    with _replaced(children, lambda alias: _RecordingTransport(alias, children[alias], calls)):
        yield calls


@contextmanager
def _replaced(
    children: dict[str, Child], transport: Callable[[str], Transport | None]
) -> Iterator[None]:
    before = {alias: child._transport for alias, child in children.items()}
    for alias, child in children.items():
        child._transport = transport(alias) or child._transport
    try:
        yield
    finally:
        for alias, child in children.items():
            child._transport = before[alias]
