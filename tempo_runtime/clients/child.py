"""A child, as a pipeline's code sees it: something to call with values."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Sized
from concurrent.futures import Future
from threading import current_thread
from typing import Any

import numpy as np

from tempo_runtime.authoring.details import ModelDetails
from tempo_runtime.clients.transport import Transport
from tempo_runtime.errors import ArgumentError, ChildFailed, PayloadError, PipelineFailed
from tempo_runtime.protocol.binding import INPUT_PREFIX, decode_results, encode_arguments
from tempo_runtime.protocol.codec import kind_of
from tempo_runtime.protocol.codec.dataframes import FRAME
from tempo_runtime.protocol.messages import Request, Response
from tempo_runtime.protocol.signature import Kind
from tempo_runtime.protocol.sizes import DecodingLimits, convert, is_large
from tempo_runtime.protocol.tensor import Tensor
from tempo_runtime.request import context
from tempo_runtime.request.context import Callers, RequestContext
from tempo_runtime.request.metrics import ChildMetrics
from tempo_runtime.request.portal import Portal

_MLSERVERS = "np"  # content type of an array that MLServer's codec wrote


class Child:
    """One child of a pipeline.

    In a sync pipeline calling it gives the answer; in an async one, something to await.

    Args:
        details: The model.
        transport: The way to reach it.
        portal: Loop for calls that do not wait for their results.
        metrics: Where calls are counted.
        output: Output to ask for; None for the model's default.
        squeeze: Whether an answer of shape `(N, 1)` is `(N,)`; None where MLServer's codec made it so.
        awaitable: Whether calls are awaited.
        callers: Decides about calls from outside of any request.
        decoding: Limits on what is decoded of an answer.
    """

    _looked_up_in: RequestContext | None = None

    def __init__(
        self,
        details: ModelDetails,
        transport: Transport,
        portal: Portal,
        metrics: ChildMetrics,
        *,
        output: str | None = None,
        squeeze: bool | None = None,
        awaitable: bool = False,
        callers: Callers | None = None,
        decoding: DecodingLimits | None = None,
    ) -> None:
        self.details = details
        self._transport = transport
        self._portal = portal
        self._metrics = metrics
        self._outputs = [output] if output else []
        # Our own server writes shapes as they are; MLServer's runtimes make every rank at least two.
        self._squeeze = False if details.served_by_us and squeeze is None else squeeze
        self._awaitable = awaitable
        self._callers = callers or Callers()
        self._decoding = decoding or DecodingLimits()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the child.

        Args:
            args: Its inputs, in order.
            kwargs: Its inputs, by name.

        Returns:
            Its output: one value, or a dict by name where it has several.

        Raises:
            PayloadError: If a value does not fit or cannot be sent; an `ArgumentError` if only the
                author's code can have made the value.
            ChildError: If the child gives no usable answer.
            DeadlineExceeded: If the request's time is spent.
            BudgetExceeded: If the request's calls or rows are spent.
            PipelineFailed: If it is called in a thread that does not belong to a request.
        """
        if context.is_request():
            return self._call(args, kwargs)
        request = self._request_elsewhere()
        with context.entered(request):
            answer = self._call(args, kwargs)
        return _awaited_in(request, answer) if self._awaitable else answer

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call the child from a sync pipeline without waiting for it.

        Several children then work at the same time:

            one, two = self.models.one.submit(x), self.models.two.submit(x)
            return (one.result() + two.result()) / 2

        Returns:
            A future; its `result()` gives, or raises, what the call would have.

        Raises:
            PayloadError: If a value cannot travel.
            DeadlineExceeded: If the request's time is spent.
            BudgetExceeded: If its calls or rows are.
            PipelineFailed: If it is called in a thread that belongs to no request.
        """
        if context.is_request():
            return self._portal.submit(self._answer(self._request(args, kwargs)))
        with context.entered(self._request_elsewhere()):
            return self._portal.submit(self._answer(self._request(args, kwargs)))

    def looked_up_in(self, request: RequestContext) -> Child:
        """Return the same child, bound to this request for calls in threads without one."""
        own = object.__new__(type(self))
        vars(own).update(vars(self))
        own._looked_up_in = request
        return own

    def __eq__(self, other: object) -> bool:
        """Compare children, regardless of the request that they were looked up in."""
        return isinstance(other, Child) and self._metrics is other._metrics

    def __hash__(self) -> int:
        return hash(id(self._metrics))

    async def close(self) -> None:
        """Free what the transport holds."""
        await self._transport.close()

    def _call(self, args: Any, kwargs: Any) -> Any:
        if self._awaitable and is_large(args, kwargs):
            return self._encoded_aside(args, kwargs)
        request = self._request(args, kwargs)
        if self._awaitable:
            return self._answer(request)
        with self._metrics.call():
            return self._decode(self._transport.infer_blocking(request))

    def _request_elsewhere(self) -> RequestContext:
        """Return the request that a call belongs to, in a thread without one."""
        request = self._looked_up_in
        if request is None:
            return self._callers.context(self.details.name)
        request.remaining()
        if request.allowance.ended:
            raise PipelineFailed(
                f"child {self.details.name!r} was called in thread {current_thread().name!r}, but the "
                "request it was looked up in has its answer; wait for the thread before the predict "
                "method returns, and look the child up in each request (`self.models.NAME`)"
            )
        return request

    def _request(self, args: Any, kwargs: Any) -> Request:
        current = context.current()
        current.remaining()
        rows = rows_of(args[0] if args else next(iter(kwargs.values()), None))
        current.allowance.spend(rows)
        self._metrics.sent(rows)
        tensors = self._encoded(args, kwargs)
        # Without it, MLServer's runtimes would not know that the columns are one DataFrame.
        frame = len(args) + len(kwargs) == 1 and kind_of(*args, *kwargs.values()) is Kind.FRAME
        parameters = {"content_type": FRAME} if frame else {}
        return Request(tensors, self._outputs, parameters, current.id, current.memo)

    async def _encoded_aside(self, args: Any, kwargs: Any) -> Any:
        return await self._answer(await convert(True, self._request, args, kwargs))

    def _encoded(self, args: Any, kwargs: Any) -> list[Tensor]:
        try:
            return encode_arguments(
                self.details.signature, args, kwargs, tagged=self._transport.tagged
            )
        except PayloadError as error:
            said = str(error)
            for number in range(len(args)):  # replace names that only tensors have
                said = said.replace(f"'{INPUT_PREFIX}{number}'", f"argument {number + 1}")
            text = f"child {self.details.name!r} could not be sent its arguments: {said}"
            made = PayloadError if self._may_be_the_clients(args, kwargs) else ArgumentError
            raise made(text) from None

    def _may_be_the_clients(self, args: Any, kwargs: Any) -> bool:
        """Tell whether values that do not fit the child may have come with the request.

        Only the author chooses which arguments to pass. A value that arrived in tensors can be sent on in
        tensors, whatever the child's signature says.
        """
        signature = self.details.signature
        if signature is not None and not signature.takes(len(args), kwargs):
            return False
        try:
            encode_arguments(None, args, kwargs, tagged=True)
        except PayloadError:
            return False
        return True

    async def _answer(self, request: Request) -> Any:
        with self._metrics.call():
            response = await self._transport.infer(request)
            return await convert(is_large(response.tensors), self._decode, response)

    def _decode(self, response: Response) -> Any:
        try:
            value = decode_results(
                self.details.signature,
                response.tensors,
                response.content_type,
                self._outputs,
                self._decoding,
            )
        except PayloadError as error:
            name, url = self.details.name, response.url
            place = f" at {url}" if url else ""
            raise ChildFailed(
                f"child {name!r}{place} gave an answer that cannot be used: {error}",
                model=name,
                url=url,
            ) from error
        squeeze = self._squeeze
        if squeeze is None:  # other servers than MLServer mean what they say
            squeeze = any(tensor.content_type == _MLSERVERS for tensor in response.tensors)
        return _squeezed(value) if squeeze else value

    def __repr__(self) -> str:
        return f"<Child {self.details.name!r} over {type(self._transport).__name__}>"


class Children:
    """The children of a pipeline, by the names it calls them by."""

    _looked_up_in: RequestContext | None = None

    def __init__(self, children: dict[str, Child], callers: Callers | None = None) -> None:
        self._children = children
        self._callers = callers or Callers()

    def here(self) -> Children:
        """Return the same children; within a request, in whichever thread, as those of that request."""
        if not context.is_request():
            return self
        own = Children(self._children, self._callers)
        own._looked_up_in = context.current()
        return own

    def __getattr__(self, alias: str) -> Child:
        if alias.startswith("_") or alias not in self._children:
            known = ", ".join(vars(self).get("_children", {})) or "none"
            raise AttributeError(f"the pipeline has no model {alias!r}; it has {known}")
        child = self._children[alias]
        request = context.current() if context.is_request() else self._looked_up_in
        return child if request is None else child.looked_up_in(request)

    def __eq__(self, other: object) -> bool:
        """Return whether they are the same children, in whichever request they were looked up."""
        return isinstance(other, Children) and self._children is other._children

    def __hash__(self) -> int:
        return id(self._children)

    def __iter__(self) -> Iterator[str]:
        return iter(self._children)

    def __len__(self) -> int:
        return len(self._children)


async def _awaited_in(request: RequestContext, answer: Awaitable[Any]) -> Any:
    with context.entered(request):
        return await answer


def rows_of(value: Any) -> int:
    """Return how many rows a value has: its length, if it has one."""
    if isinstance(value, np.ndarray):
        return len(value) if value.ndim else 1
    if isinstance(value, str | bytes | dict) or not isinstance(value, Sized):
        return 1
    return len(value)


def _squeezed(value: Any) -> Any:
    """Make `(N, 1)` the `(N,)` it was before MLServer's codec."""
    if isinstance(value, np.ndarray) and value.ndim == 2 and value.shape[1] == 1:
        return value[:, 0]
    if isinstance(value, dict):
        return {name: _squeezed(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_squeezed(part) for part in value)
    return value
