"""The objects through which the code of a pipeline calls its children."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Sized
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import current_thread
from typing import TYPE_CHECKING, Any

import numpy as np

from tempo_runtime.authoring import tempo_names
from tempo_runtime.authoring.details import ModelDetails
from tempo_runtime.clients.array_models import arrays_of, request_parameters, takes_arrays
from tempo_runtime.clients.transport import Transport
from tempo_runtime.clients.triton import plain
from tempo_runtime.errors import ArgumentError, ChildFailed, PayloadError, PipelineFailed
from tempo_runtime.protocol.binding import (
    ARRAY,
    INPUT_PREFIX,
    decode_results,
    encode_arguments,
    handed_over,
    results_by_name,
)
from tempo_runtime.protocol.codec import kind_of
from tempo_runtime.protocol.codec.dataframes import FRAME
from tempo_runtime.protocol.messages import Request, Response
from tempo_runtime.protocol.signature import Kind, Signature
from tempo_runtime.protocol.sizes import DecodingLimits, convert, is_large, is_large_answer
from tempo_runtime.protocol.tensor import NAMES, Tensor
from tempo_runtime.request import context
from tempo_runtime.request.context import Callers, RequestContext
from tempo_runtime.request.metrics import ChildMetrics
from tempo_runtime.request.portal import Portal
from tempo_runtime.request.record import CallRecord, RequestRecord

if TYPE_CHECKING:
    from tempo_runtime.request.spans import Trace

_MLSERVER_ARRAY = "np"  # content type of an array that MLServer's codec wrote
_NOTHING = nullcontext()


@tempo_names.explain(tempo_names.OF_CHILD)
class Child:
    """One child of a pipeline.

    In a sync pipeline a call returns the answer; in an async pipeline it returns an awaitable.

    Args:
        details: Details of the child model.
        transport: Transport that sends the calls.
        portal: Loop for calls that do not wait for their results.
        metrics: Metrics that count the calls.
        output: Output to ask for; None for the model's default.
        flatten_single_column: Whether to return an answer of shape `(N, 1)` as `(N,)`; None to do so
            if MLServer's codec encoded it.
        awaitable: Whether calls are awaited.
        callers: Decides about calls from outside of a request.
        decoding: Limits for decoding an answer.
        named: Whether to return a dict of the outputs by name.
        transport_name: What traces call the transport.
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
        flatten_single_column: bool | None = None,
        awaitable: bool = False,
        callers: Callers | None = None,
        decoding: DecodingLimits | None = None,
        named: bool = False,
        transport_name: str = "",
    ) -> None:
        self.details = details
        self._transport = transport
        self._portal = portal
        self._metrics = metrics
        self._outputs = [output] if output else []
        # Pipelines keep shapes as they are; MLServer's runtimes make every rank at least two.
        self._flatten = False if details.served_by_us else None
        if flatten_single_column is not None:
            self._flatten = flatten_single_column
        self._takes_arrays = takes_arrays(details)
        self._on_triton = details.served_by_triton
        self._plain_input = None if self._on_triton else _plain_input(details.signature)
        self._awaitable = awaitable
        self._callers = callers or Callers()
        self._decoding = decoding or DecodingLimits()
        self._named = named
        self._transport_name = transport_name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the child.

        Args:
            args: Inputs of the child, in order.
            kwargs: Inputs of the child, by name.

        Returns:
            The output: one value, or a dict by name if the child has several outputs.

        Raises:
            PayloadError: If a value does not match the signature or cannot be sent; an
                `ArgumentError` if only the author's code can have made the value.
            ChildError: If the child does not return a usable answer.
            DeadlineExceeded: If the request has no time left.
            BudgetExceeded: If the request has no calls or rows left.
            PipelineFailed: If it is called in a thread that does not belong to a request.
        """
        if context.is_request():
            return self._call(args, kwargs)
        request = self._request_elsewhere()
        with context.entered(request):
            answer = self._call(args, kwargs)
        return _await_in(request, answer) if self._awaitable else answer

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call the child from a sync pipeline without waiting for it.

        Several children can then work at the same time:

            one, two = self.models.one.submit(x), self.models.two.submit(x)
            return (one.result() + two.result()) / 2

        Returns:
            A future whose `result()` returns, or raises, what the call would have.

        Raises:
            PayloadError: If a value cannot be sent.
            DeadlineExceeded: If the request has no time left.
            BudgetExceeded: If the request has no calls or rows left.
            PipelineFailed: If it is called in a thread that does not belong to a request.
        """
        if context.is_request():
            return self._submit(args, kwargs)
        with context.entered(self._request_elsewhere()):
            return self._submit(args, kwargs)

    def looked_up_in(self, request: RequestContext) -> Child:
        """Return this child bound to a request, for calls in threads that do not belong to one."""
        bound = object.__new__(type(self))
        bound.__dict__ = {**vars(self), "_looked_up_in": request}
        return bound

    def __eq__(self, other: object) -> bool:
        """Return whether both are the same child, even if looked up in different requests."""
        return isinstance(other, Child) and self._metrics is other._metrics

    def __hash__(self) -> int:
        return hash(id(self._metrics))

    async def close(self) -> None:
        """Close the transport."""
        await self._transport.close()

    def _submit(self, args: Any, kwargs: Any) -> Future[Any]:
        record = context.current().record
        if record is None:
            return self._portal.submit(self._answer(self._sent(args, kwargs)))
        call = self._recorded(record, args, kwargs)
        try:
            request = self._sent(args, kwargs)
        except Exception as error:
            call.ended(None, error)
            raise
        return self._portal.submit(_noting(call, self._answer(request)))

    def _call(self, args: Any, kwargs: Any) -> Any:
        record = context.current().record
        if record is None:
            return self._made(args, kwargs)
        call = self._recorded(record, args, kwargs)
        try:
            with _inside(call):
                answer = self._made(args, kwargs)
        except Exception as error:
            call.ended(None, error)
            raise
        if self._awaitable:
            return _noting(call, answer)
        call.ended(answer)
        return answer

    def _recorded(self, record: RequestRecord, args: Any, kwargs: Any) -> CallRecord:
        """Note the start of a call."""
        trace = context.current().trace
        span = None
        if trace is not None and trace.is_recorded:
            rows = _rows_of_call(args, kwargs)
            span = trace.call(*self._metrics.names, self._transport_name, rows)
        if record.events is None:
            return CallRecord(record, None, span)
        declared = self.details.signature.inputs if self.details.signature is not None else ()
        names = [spec.name for spec in declared]
        names += [f"{INPUT_PREFIX}{number}" for number in range(len(names), len(args))]
        insights = self.details.insights
        redact = () if insights is None else insights.redact
        inputs = {**dict(zip(names, args)), **kwargs}
        event = record.events.child(*self._metrics.names, inputs, redact)
        return CallRecord(record, event, span)

    def _made(self, args: Any, kwargs: Any) -> Any:
        """Make the call; return the answer, or an awaitable of it."""
        request = self._array_request(args, kwargs)
        if request is None:
            if self._awaitable and is_large(args, kwargs):
                return self._encode_in_thread(args, kwargs)
            request = self._request(args, kwargs)
        if self._awaitable:
            return self._answer(_with_copies(request))
        with self._metrics.call():
            return self._decode(self._transport.infer_blocking(request))

    def _request_elsewhere(self) -> RequestContext:
        """Return the request that a call belongs to, in a thread that does not belong to one."""
        request = self._looked_up_in
        if request is None:
            return self._callers.context(self.details.name)
        request.remaining()
        if request.allowance.ended:
            raise PipelineFailed(
                f"child {self.details.name!r} was called in thread {current_thread().name!r}, but the "
                "request in which it was looked up has already been answered; wait for the thread before "
                "the predict method returns, and look the child up in each request (`self.models.NAME`)"
            )
        return request

    def _sent(self, args: Any, kwargs: Any) -> Request:
        return _with_copies(self._array_request(args, kwargs) or self._request(args, kwargs))

    def _array_request(self, args: Any, kwargs: Any) -> Request | None:
        """Return the request for one array that is sent as it is, as in most calls; None for others."""
        if self._plain_input is None or len(args) != 1 or kwargs:
            return None
        [array] = args
        datatype = NAMES.get(array.dtype) if type(array) is np.ndarray else None
        if datatype is None:
            return None
        current = self._spent(len(array) if array.ndim else 1)
        tensor = Tensor(self._plain_input, datatype, list(array.shape), array, {**ARRAY})
        parameters = request_parameters(self.details, [tensor])
        return Request([tensor], self._outputs, parameters, current.id, current.memo)

    def _spent(self, rows: int) -> RequestContext:
        """Count a call with this number of rows, and return the request that makes it."""
        current = context.current()
        current.remaining()
        current.allowance.spend(rows)
        self._metrics.sent(rows)
        return current

    def _request(self, args: Any, kwargs: Any) -> Request:
        current = self._spent(_rows_of_call(args, kwargs))
        tensors = self._encoded(args, kwargs)
        # MLServer's runtimes need this parameter to know that the columns are one DataFrame.
        frame = len(args) + len(kwargs) == 1 and kind_of(*args, *kwargs.values()) is Kind.FRAME
        parameters = {"content_type": FRAME} if frame else request_parameters(self.details, tensors)
        return Request(tensors, self._outputs, parameters, current.id, current.memo)

    async def _encode_in_thread(self, args: Any, kwargs: Any) -> Any:
        return await self._answer(await convert(True, self._request, args, kwargs))

    def _encoded(self, args: Any, kwargs: Any) -> list[Tensor]:
        try:
            if self._takes_arrays:
                args, kwargs = arrays_of(args, kwargs)
            tensors = encode_arguments(
                self.details.signature, args, kwargs, tagged=self._transport.tagged
            )
            return plain(tensors) if self._on_triton else tensors
        except PayloadError as error:
            reason = str(error)
            for number in range(len(args)):  # the author knows arguments, not names of tensors
                reason = reason.replace(f"'{INPUT_PREFIX}{number}'", f"argument {number + 1}")
            text = f"cannot send the arguments of child {self.details.name!r}: {reason}"
            category = PayloadError if self._may_be_the_clients(args, kwargs) else ArgumentError
            raise category(text) from None

    def _may_be_the_clients(self, args: Any, kwargs: Any) -> bool:
        """Return whether values that the child cannot take may have come with the request.

        Only the author chooses which arguments to pass. A value that arrived in tensors can also be sent
        in tensors, whatever the child's signature says.
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
            if is_large_answer(response.tensors):
                return await convert(True, self._decode, response)
            return self._decode(response)

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
                f"child {name!r}{place} returned an answer that cannot be used: {error}",
                model=name,
                url=url,
            ) from error
        if self._named:
            value = results_by_name(
                self.details.signature, response.tensors, response.content_type, value
            )
        flatten = self._flatten
        if flatten is None:  # servers other than MLServer return the model's own shapes
            flatten = any(tensor.content_type == _MLSERVER_ARRAY for tensor in response.tensors)
        return _flattened(value) if flatten else value

    def __repr__(self) -> str:
        return f"<Child {self.details.name!r} over {type(self._transport).__name__}>"


class Children:
    """The children of a pipeline, by the names that the pipeline uses for them."""

    _looked_up_in: RequestContext | None = None

    def __init__(self, children: dict[str, Any], callers: Callers | None = None) -> None:
        self._children = children
        self._callers = callers or Callers()
        self._replaced: dict[str, Any] = {}  # by a test; the children themselves

    def here(self) -> Children:
        """Return the same children; within a request, bound to it, for use in any thread."""
        if not context.is_request():
            return self
        bound = Children(self._children, self._callers)
        bound._looked_up_in = context.current()
        return bound

    def __getattr__(self, alias: str) -> Any:
        if alias.startswith("_") or alias not in self._children:
            raise self._unknown(alias)
        child = self._children[alias]
        if not isinstance(child, Child):  # a test's replacement
            return child
        request = context.current() if context.is_request() else self._looked_up_in
        return child if request is None else child.looked_up_in(request)

    def __setattr__(self, alias: str, replacement: Any) -> None:
        """Replace a child in a test: `pipeline.models.NAME = lambda x: ...`."""
        if alias.startswith("_"):
            super().__setattr__(alias, replacement)
            return
        if alias not in self._children:
            raise self._unknown(alias)
        if self._callers.served or self._looked_up_in is not None or context.is_request():
            raise AttributeError(
                f"model {alias!r} cannot be replaced in a request, or while the pipeline is served: "
                "other requests call it as well; replace it in a test, before the pipeline is called"
            )
        self._replaced.setdefault(alias, self._children[alias])
        self._children[alias] = replacement

    def __delattr__(self, alias: str) -> None:
        """Bring back a child that was replaced: `del pipeline.models.NAME`."""
        if alias not in self._replaced:
            raise AttributeError(f"model {alias!r} was not replaced")
        self._children[alias] = self._replaced.pop(alias)

    def _unknown(self, alias: str) -> AttributeError:
        known = ", ".join(vars(self).get("_children", {})) or "none"
        return AttributeError(f"the pipeline has no model {alias!r}; it has {known}")

    def __eq__(self, other: object) -> bool:
        """Return whether both are the same children, even if looked up in different requests."""
        return isinstance(other, Children) and self._children is other._children

    def __hash__(self) -> int:
        return id(self._children)

    def __iter__(self) -> Iterator[str]:
        return iter(self._children)

    def __len__(self) -> int:
        return len(self._children)


def _with_copies(request: Request) -> Request:
    """Copy the arrays of a request, because the author's code may change them before it is sent."""
    request.tensors = handed_over(request.tensors)
    return request


async def _noting(call: CallRecord, answer: Awaitable[Any]) -> Any:
    """Await an answer, and note the end of the call."""
    try:
        with _inside(call):
            value = await answer
    except BaseException as error:
        call.ended(None, error)
        raise
    call.ended(value)
    return value


def _inside(call: CallRecord) -> AbstractContextManager[object]:
    """Make the span of a call, if it has one, the parent of what is done for the call in the block."""
    return _NOTHING if call.span is None else _in_span(call.span.trace)


@contextmanager
def _in_span(trace: Trace) -> Iterator[None]:
    with context.entered(context.current().traced(trace)), trace.entered():
        yield


def _plain_input(signature: Signature | None) -> str | None:
    """Return the name of a model's only input if it takes any array as it is."""
    if signature is None or not signature.inputs:
        return f"{INPUT_PREFIX}0"
    spec = signature.inputs[0]
    is_any = spec.kind in (Kind.ARRAY, Kind.ANY) and spec.dtype is None and spec.shape is None
    return spec.name if len(signature.inputs) == 1 and is_any and spec.name.isascii() else None


async def _await_in(request: RequestContext, answer: Awaitable[Any]) -> Any:
    with context.entered(request):
        return await answer


def _rows_of_call(args: Any, kwargs: Any) -> int:
    return rows_of(args[0] if args else next(iter(kwargs.values()), None))


def rows_of(value: Any) -> int:
    """Return the number of rows of a value: its length, or 1 if it does not have one."""
    if isinstance(value, np.ndarray):
        return len(value) if value.ndim else 1
    if isinstance(value, str | bytes | dict) or not isinstance(value, Sized):
        return 1
    return len(value)


def _flattened(value: Any) -> Any:
    """Return an array of shape `(N, 1)` as `(N,)`, its shape before MLServer's codec encoded it."""
    if isinstance(value, np.ndarray) and value.ndim == 2 and value.shape[1] == 1:
        return value[:, 0]
    if isinstance(value, dict):
        return {name: _flattened(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_flattened(part) for part in value)
    return value
