"""What the command line calls: an artifact in this process, or a model on a server."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from contextlib import aclosing, contextmanager
from contextvars import copy_context
from typing import Any, Protocol

import orjson

from tempo_runtime.artifact import store
from tempo_runtime.clients.deadline import CallDeadline
from tempo_runtime.clients.model_client import ModelClient
from tempo_runtime.errors import ChildFailed, ChildNotFound, PayloadError, PipelineFailed
from tempo_runtime.execution.in_process import PipelineTransport
from tempo_runtime.execution.loading import LoadedPipeline
from tempo_runtime.execution.runner import LOGGED, Progress
from tempo_runtime.protocol import codec
from tempo_runtime.protocol.messages import Request, Response
from tempo_runtime.protocol.signature import Signature
from tempo_runtime.request import context
from tempo_runtime.request.budget import RequestBudget
from tempo_runtime.request.portal import background
from tempo_runtime.request.timing import Elapsed, within
from tempo_runtime.settings import PipelineSettings

Told = Callable[[Progress], None]
_GRACE = 0.2  # seconds: a pipeline that ends by itself in this time has a better error
_OURS = "tempo"  # the platform that our pipelines say in their metadata
_URL = re.compile(
    r"(?P<server>(?:https?|grpcs?)://[^/?#]+(?:/[^?#]*?)??)/(?:v2/models/)?(?P<name>[^/?#]+)"
    r"(?:/versions/(?P<version>[^/?#]+))?(?:/infer)?/?"
)


class Target(Protocol):
    """Something to call.

    Attributes:
        name: Name of the pipeline, or model.
        signature: What it takes; None where that is not known.
        tagged: Whether it reads tagged JSON, as our pipelines do.
    """

    name: str
    signature: Signature | None
    tagged: bool

    def answers(self, requests: Iterable[Request], at_once: int = 1) -> Iterator[Response]:
        """Return the answers to requests, in their order; raises what the first that fails did."""
        ...

    def infer(self, request: Request, told: Told | None = None) -> Response:
        """Return the answer to one request.

        Args:
            request: What to ask.
            told: Called with how far it has come, where the target says so.
        """
        ...


@contextmanager
def opened(
    target: str,
    *,
    timeout: float | None = None,
    seed: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Iterator[Target]:
    """Make a target ready to be called, until the block ends.

    Args:
        target: Folder of an artifact, or URL of a model: `http://HOST:PORT/v2/models/NAME`,
            `grpc://HOST:PORT/NAME`.
        timeout: Seconds a request may take; None for the setting `timeout`.
        seed: Seed of each request.
        headers: Headers of each request to a server.

    Raises:
        TempoError: If it cannot be loaded, or its server does not know it.
    """
    if "://" in target:
        remote = Remote(target, timeout, seed, headers or {})
        try:
            remote.look()
            yield remote
        finally:
            remote.close()
    else:
        local = Local(target, timeout, seed)
        try:
            yield local
        finally:
            local.close()


class Local:
    """An artifact in this process, its children reached as its settings and the environment say."""

    def __init__(self, folder: str, timeout: float | None, seed: int | None) -> None:
        opened = store.verify_folder(folder)
        pipeline, extra = store.unpickle(opened)
        settings = PipelineSettings.read(extra)
        self.name = pipeline.details.name
        self.tagged = True
        self.signature: Signature | None = pipeline.signature
        self._settings = settings
        self._timeout = timeout or settings.timeout
        self._seed = seed
        self._abandoned = False
        self._service = LoadedPipeline(pipeline, settings, background(), opened.folder)
        self._transport = PipelineTransport(self._service.runner, settings.decoding)

    def answers(self, requests: Iterable[Request], at_once: int = 1) -> Iterator[Response]:
        """See `Target.answers`. One after the other: they would compete for the processor."""
        return map(self.infer, requests)

    def infer(self, request: Request, told: Told | None = None) -> Response:
        """See `Target.infer`."""
        settings = self._settings
        asked = RequestBudget(
            settings.max_calls, settings.max_rows, settings.allow_incomplete_anchors
        )
        if told is not None:
            asked.watch = lambda: told(Progress(asked.calls, asked.rows, asked.news))
        with context.serving(self._timeout, {}, self._seed, request.id, limits=asked):
            try:
                return self._in_time(request)
            except PipelineFailed as error:
                raise PipelineFailed(str(error).removesuffix(LOGGED)) from error

    def close(self) -> None:
        """Unload it."""
        closing = background().submit(self._service.close())
        if not self._abandoned:
            closing.result()

    def _in_time(self, request: Request) -> Response:
        """Call it in a thread, which is abandoned when the time is up: a thread cannot be ended."""
        current = context.current()
        answer: Future[Response] = Future()
        run = copy_context().run

        def call() -> None:
            try:
                answer.set_result(run(self._transport.infer_blocking, request))
            except BaseException as error:
                answer.set_exception(error)

        threading.Thread(target=call, name=f"tempo-{self.name}", daemon=True).start()
        try:
            return answer.result(self._timeout + _GRACE)
        except NotInTime:
            if answer.done():
                raise  # the pipeline's own
            self._abandoned = True
            raise current.exceeded() from None


class Remote:
    """A model on a server."""

    def __init__(
        self, url: str, timeout: float | None, seed: int | None, headers: Mapping[str, str]
    ) -> None:
        found = _URL.fullmatch(url)
        if found is None:
            raise PayloadError(
                "the target's URL names no model; write http://HOST:PORT/v2/models/NAME, or "
                "grpc://HOST:PORT/NAME"
            )
        self.name = found["name"]
        self.signature: Signature | None = None
        self.tagged = False
        self._client = _client(found, headers)
        self._timeout = timeout or self._client.timeout
        self._seed = seed

    def look(self) -> None:
        """Ask the server what the model takes.

        Raises:
            ChildError: If there is no such server or model.
        """
        try:
            said = self._client.portal.run(self._client.metadata(self._timeout))
        except ChildNotFound:
            raise
        except ChildFailed:
            return  # a server need not have metadata
        inputs = said.get("inputs") or []
        ours = said.get("platform") == _OURS
        if inputs or ours:  # others may take what they do not say
            self.signature = Signature(tuple(map(codec.spec_described, inputs)))
        self.tagged = ours
        self._client.connect(forwards_deadline=ours)

    def answers(self, requests: Iterable[Request], at_once: int = 1) -> Iterator[Response]:
        """See `Target.answers`."""
        waiting: deque[Any] = deque()
        portal = self._client.portal
        try:
            for request in requests:
                with self._serving(request):
                    waiting.append(portal.submit(self._client.transport.infer(request)))
                if len(waiting) >= at_once:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def infer(self, request: Request, told: Told | None = None) -> Response:
        """See `Target.infer`."""
        if told is None or not self.tagged:
            return next(self.answers([request]))
        with self._serving(request) as current:
            return self._client.portal.run(self._stream(request, current, told))

    def close(self) -> None:
        """Close its connections."""
        self._client.portal.run(self._client.transport.close())

    def _serving(self, request: Request) -> context.serving:
        return context.serving(self._timeout, {}, self._seed, request.id)

    async def _stream(
        self, request: Request, current: context.RequestContext, told: Told
    ) -> Response:
        clock = CallDeadline(current, None)
        try:
            return await within(clock.left(), self._last(request, current, clock.left(), told))
        except Elapsed:
            raise clock.ended(self._client.endpoint.place) from None

    async def _last(
        self, request: Request, current: context.RequestContext, left: float | None, told: Told
    ) -> Response:
        last = None
        async with aclosing(self._client.stream(request, current, left)) as responses:
            async for response in responses:
                if response.parameters.get("progress") is True:
                    told(_progress(response.parameters))
                else:
                    last = response
        if last is None:
            place = self._client.endpoint.place
            raise place.unusable(PayloadError("its stream ended without an answer"))
        return last


def _client(found: re.Match[str], headers: Mapping[str, str]) -> ModelClient:
    """Return a client of what a URL names, which does not wait for a server that is down."""
    from pydantic import ValidationError

    given = {"url": found["server"], "version": found["version"]}
    try:
        return ModelClient(
            found["name"], {**given, "headers": dict(headers), "unavailable_timeout": 0}
        )
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise PayloadError(f"the target cannot be called: {reason}") from error


def _progress(parameters: Mapping[str, Any]) -> Progress:
    """Return the progress in a message of a stream; over gRPC anything but a number is JSON text."""
    told = {
        name: orjson.loads(value) if isinstance(value, str) else value
        for name, value in parameters.items()
    }
    known = ("progress", "calls", "rows")
    news = {name: value for name, value in told.items() if name not in known}
    return Progress(told.get("calls", 0), told.get("rows", 0), news)
