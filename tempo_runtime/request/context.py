"""The context of the current request: its deadline, its seed, and the headers to forward.

It is a context variable, so that coroutines, and threads with a copy of the context, each see their own
request. In other threads of the author, a child uses the request in which it, or `self.models`, was
looked up (`clients/child`), or refuses the call.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from threading import Lock, current_thread, main_thread
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from tempo_runtime.errors import DeadlineExceeded, PayloadError, PipelineFailed
from tempo_runtime.protocol import headers as carried
from tempo_runtime.protocol.memo import EncodedJsonCache
from tempo_runtime.protocol.tensor import shown
from tempo_runtime.request import tracing
from tempo_runtime.request.budget import RequestBudget
from tempo_runtime.request.record import RequestRecord

if TYPE_CHECKING:
    from tempo_runtime.request.spans import Trace

# Parameters of a request.
TIMEOUT = "tempo_timeout"
SEED = "tempo_seed"
TAGGED = "tempo_tagged"  # whether the client reads tagged JSON in the answer

# Other headers are not forwarded: `host` and the entity headers describe this request only, and Seldon's
# routing headers (`seldon-model`) would send the child's call back to this pipeline.
_FORWARDED = frozenset(("x-request-id", "traceparent", "tracestate", "baggage"))
_FORWARDED_PREFIX = "x-b3-"
_LONGEST_ID = 256


class Origin(NamedTuple):
    """Where a request came from and where it goes, for `current_request`.

    Attributes:
        pipeline: Name of the pipeline that answers it.
        version: Version of that pipeline, if it has one.
        headers: All headers of the request.
        allowed: Names of the headers that the author's code may see, in lower case; `x-*` stands for all
            that begin with `x-`.
    """

    pipeline: str
    version: str | None = None
    headers: Mapping[str, str] = MappingProxyType({})
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True)
class RequestContext:
    """Deadline, headers, seed and limits of one request.

    Attributes:
        deadline: Time of its deadline on the clock of `time.monotonic`; None for no deadline.
        budget: Seconds from its start to the deadline, for messages.
        headers: Headers to send with each call to a child.
        seed: Seed that it asks for; None for the pipeline's.
        id: Id of the request.
        memo: Cache of values that several calls to children encode; None outside a request.
        allowance: Limits on its calls to children, and their count.
        waited: Seconds that the current call to a child has already waited for its turn, which count
            towards the child's `timeout`.
        origin: Where it came from; None for a call that is made for several requests.
        record: What is noted of it; None if nothing is.
        trace: The span that its calls belong to; None if it is not traced. A traced request has a record.
    """

    deadline: float | None = None
    budget: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    id: str | None = None
    memo: EncodedJsonCache | None = None
    allowance: RequestBudget = field(default_factory=RequestBudget)
    waited: float = 0.0
    origin: Origin | None = None
    record: RequestRecord | None = None
    trace: Trace | None = None

    def remaining(self) -> float | None:
        """Return the seconds until the deadline; None without a deadline.

        Raises:
            DeadlineExceeded: If the deadline has passed.
        """
        if self.deadline is None:
            return None
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise self.exceeded()
        return left

    def passed_on(self, parameters: Mapping[str, Any], left: float | None) -> dict[str, Any]:
        """Return the parameters of a call to another pipeline, with the seed and the time that is left.

        They also ask for tagged JSON in the answer.
        """
        added = {SEED: self.seed, TIMEOUT: left, TAGGED: True}
        return {**parameters, **{name: value for name, value in added.items() if value is not None}}

    def traced(self, trace: Trace) -> RequestContext:
        """Return the same request, whose calls belong to another span."""
        record = self.record or RequestRecord()
        headers = {**self.headers, **trace.headers}
        return replace(self, headers=headers, record=record, trace=trace)

    def exceeded(self) -> DeadlineExceeded:
        """Return the error of a request whose deadline has passed."""
        return DeadlineExceeded(
            f"the request's {self.budget:g} s are spent; give it more with the setting `timeout` or "
            f"the request parameter `{TIMEOUT}`, or ask for less"
        )


_NO_REQUEST = RequestContext()
_current: ContextVar[RequestContext] = ContextVar("tempo_request", default=_NO_REQUEST)


def current() -> RequestContext:
    """Return the current request; outside of requests, one without a deadline."""
    return _current.get()


def is_request() -> bool:
    """Return whether a request is being served, or a pipeline is being called without a server."""
    return _current.get() is not _NO_REQUEST


@contextmanager
def entered(request: RequestContext) -> Iterator[None]:
    """Make a running request the current one for the block, in the thread that runs the block."""
    token = _current.set(request)
    try:
        yield
    finally:
        _current.reset(token)


_NOTHING: Mapping[int, Any] = MappingProxyType({})
_held: ContextVar[Mapping[int, Any]] = ContextVar("tempo_held", default=_NOTHING)


@contextmanager
def holding(shared: Any, stand_in: Any) -> Iterator[None]:
    """Replace an object that all requests share by another one, for this request and the block."""
    token = _held.set({**_held.get(), id(shared): stand_in})
    try:
        yield
    finally:
        _held.reset(token)


def own(shared: Any) -> Any:
    """Return the object that replaces a shared one in the current request, or the shared one."""
    return _held.get().get(id(shared), shared)


_loading: ContextVar[bool] = ContextVar("tempo_loading", default=False)


@contextmanager
def loading() -> Iterator[None]:
    """Mark the block as the loading of a pipeline, whose calls to children are not part of a request."""
    token = _loading.set(True)
    try:
        yield
    finally:
        _loading.reset(token)


class Callers:
    """Decides about calls to the children of one pipeline that come from outside of a request.

    Attributes:
        served: Whether the pipeline is being served, so that only requests call it.
        timeout: Seconds that such a call may take; None for no limit.
    """

    def __init__(self, *, served: bool = False, timeout: float | None = None) -> None:
        self.served = served
        self.timeout = timeout
        self._calls = 0
        self._lock = Lock()

    @contextmanager
    def call(self, pipeline: str) -> Iterator[None]:
        """Count the block as a call of the pipeline without a server.

        Raises:
            PipelineFailed: If a pipeline in this process is being served: the call is part of a request
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
        """Return the context of a call to a child that is not part of a request.

        While the pipeline is being loaded, each call has as much time as a request. In a notebook, the
        user may call a child while the pipeline itself does not run.

        Raises:
            PipelineFailed: If the call may be part of a request that this thread does not know.
        """
        if not _loading.get() and self._may_be_lost():
            raise PipelineFailed(_lost(f"child {child!r}", self._remedy()))
        request = serving(self.timeout, {}).request
        tracer = None if request.trace is not None else tracing.tracer()
        if tracer is None:
            return request
        # Imported here, because it imports OpenTelemetry.
        from tempo_runtime.request.spans import outside

        return request.traced(outside(tracer))

    def _may_be_lost(self) -> bool:
        return bool(self.served or self._calls)

    def _remedy(self) -> str:
        return (
            "look the models up in the request's thread and use them in the other thread "
            "(`models = self.models; pool.map(lambda part: models.NAME(part), parts)`, or "
            f"`pool.map(self.models.NAME, parts)`), or {_START}"
        )


class _Anyone(Callers):
    """Decides about calls to models and pipelines that are not children of a pipeline being served.

    Any pipeline that this process serves may have started the current thread, except the main thread, in
    which a test may serve one pipeline and call another.
    """

    def __init__(self) -> None:
        super().__init__()
        self._services = 0

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Count a pipeline as being served during the block."""
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
            f"declare it in the pipeline's `models` and call it as `self.models.NAME`, or {_START}"
        )


ANYONE = _Anyone()
_START = "start the thread's function with `contextvars.copy_context().run`"


def _lost(callee: str, remedy: str) -> str:
    return (
        f"{callee} was called in thread {current_thread().name!r}, which does not belong to a request, "
        f"so the request's deadline, limits and trace would be lost; {remedy}"
    )


class serving:  # noqa: N801 - used like a function, in `with serving(...)`
    """Makes a request the current one for the block.

    Attributes:
        request: The request.

    Args:
        budget: Seconds that it may take; within another request, not more than that one has left.
        headers: Headers of the request; only those to forward are kept.
        seed: Seed that it asks for.
        id: Id of the request.
        forward: Further headers to forward, in lower case.
        limits: Limits on its calls to children.
        origin: Where it came from.
        record: What is noted of it.
        trace: The span that its calls belong to.

    Raises:
        PayloadError: If its id, or a header to forward, cannot be sent to a child.
    """

    def __init__(
        self,
        budget: float | None,
        headers: Mapping[str, str],
        seed: int | None = None,
        id: str | None = None,  # noqa: A002 - V2's name for it
        forward: Collection[str] = (),
        limits: RequestBudget | None = None,
        origin: Origin | None = None,
        record: RequestRecord | None = None,
        trace: Trace | None = None,
    ) -> None:
        _check_id(id)
        outer = _current.get()
        deadline = None if budget is None else time.monotonic() + budget
        if outer.deadline is not None and (deadline is None or outer.deadline < deadline):
            deadline, budget = outer.deadline, outer.budget
        kept = _to_forward(headers, forward)
        headers = {**outer.headers, **kept} if kept else outer.headers
        self.request = RequestContext(
            deadline,
            budget,
            headers,
            seed,
            id,
            EncodedJsonCache(),
            limits or RequestBudget(),
            origin=origin or outer.origin,
            record=record or outer.record,
            trace=outer.trace,
        )
        if trace is not None:
            self.request = self.request.traced(trace)

    def __enter__(self) -> RequestContext:
        self._token = _current.set(self.request)
        return self.request

    def __exit__(self, *_: object) -> None:
        self.request.allowance.ended = True
        _current.reset(self._token)


def _to_forward(headers: Mapping[str, str], forward: Collection[str]) -> dict[str, str]:
    # Most requests have nothing to forward, which is seen faster in all names together.
    names = "\n".join(headers).lower()
    listed = names.split("\n")
    if (
        _FORWARDED.isdisjoint(listed)
        and _FORWARDED_PREFIX not in names
        and not any(name in listed for name in forward)
    ):
        return {}
    kept = {
        lower: value
        for name, value in headers.items()
        if (
            (lower := name.lower()) in _FORWARDED
            or lower.startswith(_FORWARDED_PREFIX)
            or lower in forward
        )
        and not carried.is_binary(lower)
    }
    carried.check(kept)
    return kept


def _check_id(text: str | None) -> None:
    """Refuse an id that cannot be sent over every transport, or in MLServer's response headers."""
    if text is None or (len(text) <= _LONGEST_ID and text.isascii() and text.isprintable()):
        return
    raise PayloadError(
        f"the request's id {shown(text, 60)} cannot be sent to children; an id must have at most "
        f"{_LONGEST_ID} printable ASCII characters"
    )
