"""Targets of calls from the command line: an artifact in this process, or a model on a server."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, Protocol

from tempo_runtime.artifact import store
from tempo_runtime.clients import watched
from tempo_runtime.clients.child import Child
from tempo_runtime.clients.model_client import ModelClient, ModelUrl
from tempo_runtime.clients.watched import OnProgress
from tempo_runtime.errors import ChildFailed, ChildNotFound, PipelineFailed
from tempo_runtime.execution.in_process import PipelineTransport
from tempo_runtime.execution.loading import LoadedPipeline
from tempo_runtime.execution.runner import LOGGED
from tempo_runtime.protocol import codec
from tempo_runtime.protocol.messages import Request, Response
from tempo_runtime.protocol.signature import Signature
from tempo_runtime.request import context
from tempo_runtime.request.budget import RequestBudget
from tempo_runtime.request.context import Origin
from tempo_runtime.request.current import new_id
from tempo_runtime.request.portal import background
from tempo_runtime.settings import Batching, PipelineSettings

_GRACE = 0.2  # seconds in which a pipeline may still end by itself, with a better error
_PIPELINE = "tempo"  # the platform in the metadata of our pipelines


class Target(Protocol):
    """A target that can be called.

    Attributes:
        name: Name of the pipeline, or model.
        signature: Its signature; None if it is unknown.
        tagged: Whether it reads tagged JSON, as our pipelines do.
        evaluations: How each scikit-learn model in this process is computed, and why.
    """

    name: str
    signature: Signature | None
    tagged: bool
    evaluations: Mapping[str, str]

    def answers(self, requests: Iterable[Request], at_once: int = 1) -> Iterator[Response]:
        """Yield the answers to requests in order; raise the error of the first that fails."""
        ...

    def infer(self, request: Request, on_progress: OnProgress | None = None) -> Response:
        """Return the answer to one request.

        Args:
            request: The request.
            on_progress: Called with how far it has come, where the target says so.
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
    """Open a target for calls until the block ends.

    Args:
        target: Folder of an artifact, or URL of a model: `http://HOST:PORT/v2/models/NAME`,
            `grpc://HOST:PORT/NAME`.
        timeout: Seconds that a request may take; None for the setting `timeout`.
        seed: Seed of each request.
        headers: Headers of each request to a server.

    Raises:
        TempoError: If it cannot be loaded, or its server does not have it.
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
    """An artifact in this process, which calls its children as the settings and environment say.

    Attributes:
        batching: How its callers put their calls together, if they do.
        timeout: Seconds that a request may take.
    """

    def __init__(self, folder: str, timeout: float | None, seed: int | None) -> None:
        opened = store.verify_folder(folder)
        pipeline, extra = store.unpickle(opened)
        settings = PipelineSettings.read(extra)
        self.name = pipeline.details.name
        self.tagged = True
        self.signature: Signature | None = pipeline.signature
        self.batching: Batching | None = pipeline.details.batching
        self._settings = settings
        self.timeout = timeout or settings.timeout
        self._seed = seed
        self._abandoned = False
        self._service = LoadedPipeline(pipeline, settings, background(), opened.folder)
        self.evaluations: Mapping[str, str] = self._service.evaluations
        self._transport = PipelineTransport(self._service.runner, settings.decoding)

    def answers(self, requests: Iterable[Request], at_once: int = 1) -> Iterator[Response]:
        """See `Target.answers`; one after the other, because they would compete for the CPU."""
        return map(self.infer, requests)

    def infer(self, request: Request, on_progress: OnProgress | None = None) -> Response:
        """See `Target.infer`."""
        settings = self._settings
        budget = RequestBudget(
            settings.max_calls, settings.max_rows, settings.allow_incomplete_anchors
        )
        if on_progress is not None:
            budget.watch = lambda: on_progress(budget.calls, budget.rows, budget.news)
        origin = Origin(self.name)
        with context.serving(
            self.timeout, {}, self._seed, request.id or new_id(), limits=budget, origin=origin
        ):
            try:
                return self._in_time(request)
            except PipelineFailed as error:
                raise PipelineFailed(str(error).removesuffix(LOGGED)) from error

    @property
    def children(self) -> Sequence[Child]:
        """Its children."""
        return self._service.children

    def close(self) -> None:
        """Unload the artifact."""
        closing = background().submit(self._service.close())
        if not self._abandoned:
            closing.result()

    def _in_time(self, request: Request) -> Response:
        """Call it in a thread, which is abandoned at the timeout, because threads cannot be stopped."""
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
            return answer.result(self.timeout + _GRACE)
        except NotInTime:
            if answer.done():
                raise  # the pipeline's own error
            self._abandoned = True
            raise current.exceeded() from None


class Remote:
    """A model on a server."""

    def __init__(
        self, url: str, timeout: float | None, seed: int | None, headers: Mapping[str, str]
    ) -> None:
        place = ModelUrl.of(url)
        self.name = place.name
        self.signature: Signature | None = None
        self.tagged = False
        self.evaluations: Mapping[str, str] = {}
        self._client = ModelClient.at(place, headers)
        self._timeout = timeout or self._client.timeout
        self._seed = seed

    def look(self) -> None:
        """Ask the server for the model's signature.

        Raises:
            ChildError: If the server or the model does not exist.
        """
        try:
            metadata = self._client.portal.run(self._client.metadata(self._timeout))
        except ChildNotFound:
            raise
        except ChildFailed:
            return  # a server need not have metadata
        inputs = metadata.get("inputs") or []
        is_pipeline = metadata.get("platform") == _PIPELINE
        if inputs or is_pipeline:  # other models may take inputs that their metadata omit
            self.signature = Signature(tuple(map(codec.spec_described, inputs)))
        self.tagged = is_pipeline
        self._client.connect(forwards_deadline=is_pipeline)

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

    def infer(self, request: Request, on_progress: OnProgress | None = None) -> Response:
        """See `Target.infer`."""
        if on_progress is None or not self.tagged:
            return next(self.answers([request]))
        with self._serving(request) as current:
            answer = watched.infer(self._client, request, current, on_progress)
            return self._client.portal.run(answer)

    def close(self) -> None:
        """Close its connections."""
        self._client.portal.run(self._client.transport.close())

    def _serving(self, request: Request) -> context.serving:
        return context.serving(self._timeout, {}, self._seed, request.id)
