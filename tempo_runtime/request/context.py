"""What belongs to the request being served: its deadline, seed, and the headers that travel on.

A context variable, so that each request has its own in coroutines, and in threads that are given a copy
of the context. In other threads of the author's own, a child knows the request in which it, or
`self.models`, was looked up (`children/child`), or refuses the call.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Lock, current_thread, main_thread
from types import MappingProxyType
from typing import Any

from tempo_runtime.errors import DeadlineExceeded, PayloadError, PipelineFailed
from tempo_runtime.protocol import headers as carried
from tempo_runtime.protocol.memo import EncodedJsonCache
from tempo_runtime.protocol.tensor import shown
from tempo_runtime.request.budget import RequestBudget

TIMEOUT = "tempo_timeout"  # parameters of a request
SEED = "tempo_seed"
TAGGED = "tempo_tagged"  # whether the client reads tagged JSON in the answer

# Everything else stays: `host` and the entity headers describe another request, and Seldon's
# routing headers (`seldon-model`) would send the child's call back to this pipeline.
_TRAVELS = frozenset(("x-request-id", "traceparent", "tracestate", "baggage"))
_TRAVELS_PREFIX = "x-b3-"
_LONGEST_ID = 256


@dataclass(frozen=True)
class RequestContext:
    """One request's budget, headers and seed.

    Attributes:
        deadline: When its time is spent, on `time.monotonic`'s clock; None for never.
        budget: Seconds it was given, for messages.
        headers: Headers that go with each child call.
        seed: Seed it asks for; None for its pipeline's.
        id: Its id.
        memo: What its calls to children have in common; None outside a request.
        allowance: What it may ask of its children.
    """

    deadline: float | None = None
    budget: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    id: str | None = None
    memo: EncodedJsonCache | None = None
    allowance: RequestBudget = field(default_factory=RequestBudget)

    def remaining(self) -> float | None:
        """Seconds left; None when there is no deadline.

        Raises:
            DeadlineExceeded: If none are.
        """
        if self.deadline is None:
            return None
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise self.exceeded()
        return left

    def passed_on(self, parameters: Mapping[str, Any], left: float | None) -> dict[str, Any]:
        """Parameters of a call to another pipeline, which is told what time is left and the seed.

        It may answer in tagged JSON, which only we ask for.
        """
        own = {SEED: self.seed, TIMEOUT: left, TAGGED: True}
        return {**parameters, **{name: value for name, value in own.items() if value is not None}}

    def exceeded(self) -> DeadlineExceeded:
        """Return the error for a request whose time is spent."""
        return DeadlineExceeded(
            f"the request's {self.budget:g} s are spent; give it more with the setting `timeout` or "
            f"the request parameter `{TIMEOUT}`, or ask for less"
        )


_NO_REQUEST = RequestContext()
_current: ContextVar[RequestContext] = ContextVar("tempo_request", default=_NO_REQUEST)


def current() -> RequestContext:
    """Return the request being served; one without a deadline outside a server."""
    return _current.get()


def is_request() -> bool:
    """Tell whether a request is being served, or a pipeline is being called without a server."""
    return _current.get() is not _NO_REQUEST


@contextmanager
def entered(request: RequestContext) -> Iterator[None]:
    """Make a request that has begun the current one, for the block, in whichever thread that runs."""
    token = _current.set(request)
    try:
        yield
    finally:
        _current.reset(token)


_NOTHING: Mapping[int, Any] = MappingProxyType({})
_held: ContextVar[Mapping[int, Any]] = ContextVar("tempo_held", default=_NOTHING)


@contextmanager
def holding(shared: Any, own: Any) -> Iterator[None]:
    """Let an object stand for one that all requests share, for the block."""
    token = _held.set({**_held.get(), id(shared): own})
    try:
        yield
    finally:
        _held.reset(token)


def own(shared: Any) -> Any:
    """Return the current request's stand-in for a shared object, or the object itself."""
    return _held.get().get(id(shared), shared)


_loading: ContextVar[bool] = ContextVar("tempo_loading", default=False)


@contextmanager
def loading() -> Iterator[None]:
    """Mark the block as the loading of a pipeline, whose calls to children belong to no request."""
    token = _loading.set(True)
    try:
        yield
    finally:
        _loading.reset(token)


class Callers:
    """Decides about calls to one pipeline's children that come from outside of any request.

    Attributes:
        served: Whether the pipeline is being served, and so is called by requests only.
        timeout: Seconds that such a call may take; None for no limit.
    """

    def __init__(self, *, served: bool = False, timeout: float | None = None) -> None:
        self.served = served
        self.timeout = timeout
        self._calls = 0
        self._lock = Lock()

    @contextmanager
    def call(self, pipeline: str) -> Iterator[None]:
        """Count a call of the pipeline without a server, for the block.

        Raises:
            PipelineFailed: If it, or another in this process, is served: the call is part of a request
                that this thread does not know.
        """
        if (self.served or ANYONE.serves_here()) and not _loading.get():
            raise PipelineFailed(_lost(f"pipeline {pipeline!r}", _START))
        with self._lock:
            self._calls += 1
        try:
            yield
        finally:
            with self._lock:
                self._calls -= 1

    def context(self, child: str) -> RequestContext:
        """Return the context of a call to a child that belongs to no request.

        While the pipeline is loaded, each call has the time that a request would have. In a notebook
        a child may be called by hand, while the pipeline itself does not run.

        Raises:
            PipelineFailed: If the call may be part of a request that this thread does not know.
        """
        if not _loading.get() and self._may_be_lost():
            raise PipelineFailed(_lost(f"child {child!r}", self._remedy()))
        return serving(self.timeout, {}).request

    def _may_be_lost(self) -> bool:
        return bool(self.served or self._calls)

    def _remedy(self) -> str:
        return (
            "look its models up in the request's own thread and use them in the other one "
            "(`models = self.models; pool.map(lambda part: models.NAME(part), parts)`, or "
            f"`pool.map(self.models.NAME, parts)`), or {_START}"
        )


class _Anyone(Callers):
    """Decides likewise for models and pipelines that are not among the children of what is served.

    Any pipeline that this process serves may have started the thread, but for the main thread, in which
    a test may serve one and call another.
    """

    def __init__(self) -> None:
        super().__init__()
        self._services = 0

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Count a pipeline that is being served, for the block."""
        with self._lock:
            self._services += 1
        try:
            yield
        finally:
            with self._lock:
                self._services -= 1

    def serves_here(self) -> bool:
        """Return whether this thread may belong to a pipeline that is being served."""
        return self._services > 0 and current_thread() is not main_thread()

    def _may_be_lost(self) -> bool:
        return self.serves_here()

    def _remedy(self) -> str:
        return (
            f"make it one of the pipeline's `models` and use it as `self.models.NAME`, or {_START}"
        )


ANYONE = _Anyone()
_START = "start the function there with `contextvars.copy_context().run`"


def _lost(what: str, remedy: str) -> str:
    return (
        f"{what} was called in thread {current_thread().name!r}, which belongs to no request, so the "
        f"request's time, limits and trace would be lost; {remedy}"
    )


class serving:  # noqa: N801 - used as a function is, in `with serving(...)`
    """Makes a request the current one, for the block.

    Attributes:
        request: The request.

    Args:
        budget: Seconds it may take. Inside another request, that request's remaining time is the limit.
        headers: Its headers; those that may travel are kept.
        seed: Seed it asks for.
        id: Its id.
        forward: Further headers that may travel, in lower case.
        limits: Limits on the calls to its children.

    Raises:
        PayloadError: If its id, or a header that may travel, could not be sent to a child.
    """

    def __init__(
        self,
        budget: float | None,
        headers: Mapping[str, str],
        seed: int | None = None,
        id: str | None = None,  # noqa: A002 - V2's name for it
        forward: Collection[str] = (),
        limits: RequestBudget | None = None,
    ) -> None:
        _check_id(id)
        outer = _current.get()
        deadline = None if budget is None else time.monotonic() + budget
        if outer.deadline is not None and (deadline is None or outer.deadline < deadline):
            deadline, budget = outer.deadline, outer.budget
        kept = {
            lower: value
            for name, value in headers.items()
            if _travels(lower := name.lower(), forward)
        }
        if kept:
            carried.check(kept)
        headers = {**outer.headers, **kept}
        self.request = RequestContext(
            deadline, budget, headers, seed, id, EncodedJsonCache(), limits or RequestBudget()
        )

    def __enter__(self) -> RequestContext:
        self._token = _current.set(self.request)
        return self.request

    def __exit__(self, *_: object) -> None:
        self.request.allowance.ended = True
        _current.reset(self._token)


def _travels(name: str, forward: Collection[str]) -> bool:
    if carried.is_binary(name):
        return False
    return name in _TRAVELS or name.startswith(_TRAVELS_PREFIX) or name in forward


def _check_id(text: str | None) -> None:
    """Refuse an id that some transport cannot carry: MLServer also copies it into response headers."""
    if text is None or (len(text) <= _LONGEST_ID and text.isascii() and text.isprintable()):
        return
    raise PayloadError(
        f"the request's id {shown(text, 60)} cannot be sent on; an id has at most {_LONGEST_ID} "
        "printable ASCII characters"
    )
