"""What belongs to the request being served: its deadline, seed, and the headers that travel on.

Context variables, so that each request has its own in coroutines and in the threads they start.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from tempo_runtime.allowance import Allowance
from tempo_runtime.errors import DeadlineExceeded
from tempo_runtime.memo import Memo

TIMEOUT = "tempo_timeout"  # parameters of a request
SEED = "tempo_seed"
TAGGED = "tempo_tagged"  # whether the client reads tagged JSON in the answer

# Everything else stays: `host` and the entity headers describe another request, and Seldon's
# routing headers (`seldon-model`) would send the child's call back to this pipeline.
_TRAVELS = frozenset(("x-request-id", "traceparent", "tracestate", "baggage"))
_TRAVELS_PREFIX = "x-b3-"


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
    memo: Memo | None = None
    allowance: Allowance = field(default_factory=Allowance)

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
        """The error for a request whose time is spent."""
        return DeadlineExceeded(
            f"the request's {self.budget:g} s are spent; give it more with the setting `timeout` or "
            f"the request parameter `{TIMEOUT}`, or ask for less"
        )


_NO_REQUEST = RequestContext()
_current: ContextVar[RequestContext] = ContextVar("tempo_request", default=_NO_REQUEST)


def current() -> RequestContext:
    """The request being served; one without a deadline outside a server."""
    return _current.get()


def is_request() -> bool:
    """Whether a request is being served, or a pipeline is called without a server."""
    return _current.get() is not _NO_REQUEST


class serving:  # noqa: N801 - used as a function is, in `with serving(...)`
    """Makes a request the current one, for the block.

    Args:
        budget: Seconds it may take. Inside another request, what that has left is the limit.
        headers: Its headers; those that may travel are kept.
        seed: Seed it asks for.
        id: Its id.
        forward: Further headers that may travel, in lower case.
        limits: What it may ask of its children.
    """

    def __init__(
        self,
        budget: float | None,
        headers: Mapping[str, str],
        seed: int | None = None,
        id: str | None = None,  # noqa: A002 - V2's name for it
        forward: Collection[str] = (),
        limits: Allowance | None = None,
    ) -> None:
        outer = _current.get()
        deadline = None if budget is None else time.monotonic() + budget
        if outer.deadline is not None and (deadline is None or outer.deadline < deadline):
            deadline, budget = outer.deadline, outer.budget
        kept = {
            lower: value
            for name, value in headers.items()
            if (lower := name.lower()) in _TRAVELS
            or lower.startswith(_TRAVELS_PREFIX)
            or lower in forward
        }
        headers = {**outer.headers, **kept}
        self._context = RequestContext(
            deadline, budget, headers, seed, id, Memo(), limits or Allowance()
        )

    def __enter__(self) -> RequestContext:
        self._token = _current.set(self._context)
        return self._context

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
