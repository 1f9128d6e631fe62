"""A fake's script: what it has been asked, and what it does next. The same for every transport."""

from __future__ import annotations

import inspect
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from tempo_runtime.errors import TempoError
from tempo_runtime.protocol import codec
from tempo_runtime.protocol.binding import decode_arguments, encode_results
from tempo_runtime.protocol.messages import Request, Response
from tempo_runtime.protocol.signature import Signature, TensorSpec
from tempo_runtime.protocol.tensor import Tensor
from tempo_runtime.request.context import TAGGED
from tempo_runtime.testing.steps import Answer, Delivery, Fail, Raw, Reply, Step, Way

_DYNAMIC = Signature(())  # any values, as what they are


@dataclass(frozen=True)
class Call:
    """A call that a fake was asked.

    Attributes:
        inputs: Its values, by name.
        parameters: Its own V2 parameters.
        outputs: Names of the outputs it asks for.
        id: Its id.
        headers: Its HTTP headers, or gRPC metadata, by lower-case name.
        transport: `http`, `grpc` or `in_process`.
        path: Where it was sent to.
        version: Version of the model that it asks for.
        connection: Number of its HTTP connection: calls with the same number shared one.
    """

    inputs: dict[str, Any]
    parameters: dict[str, Any] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    id: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    transport: str = "in_process"
    path: str = ""
    version: str | None = None
    connection: int | None = None

    @classmethod
    def of(cls, request: Request, signature: Signature | None = None, **details: Any) -> Call:
        """Read a request.

        Raises:
            PayloadError: If its tensors are no values.
        """
        inputs = values_of(request, signature)
        return cls(inputs, request.parameters, request.outputs, request.id, **details)


class Model(Protocol):
    """What a fake says of itself, over any transport."""

    name: str
    ready: bool
    metadata: dict[str, Any]


class Script:
    """What a fake does with its calls. Safe to use from several threads.

    Args:
        name: The fake's name, for messages.
        answer: What it usually answers: a function of the call's values (it may be a coroutine
            function), a step, or a value. A function may give a step, too.
        signature: What it takes and gives; None for whatever comes.
        columns: Whether it writes `(N,)` as `(N, 1)`, as MLServer's own runtimes do.
        tagged: Whether whoever asks reads tagged JSON; None where a call's own parameters say so.
    """

    def __init__(
        self,
        name: str,
        answer: Any = ...,
        signature: Signature | None = None,
        columns: bool = False,
        tagged: bool | None = None,
    ) -> None:
        self.name = name
        self._tagged = tagged
        self.answer = answer
        self._signature = signature
        self._columns = columns
        self._steps: deque[Step] = deque()
        self._calls: list[Call] = []
        self._changed = threading.Condition()

    @property
    def calls(self) -> list[Call]:
        """The calls so far, in order."""
        with self._changed:
            return list(self._calls)

    def add(self, steps: Iterable[Step | Iterable[Step]]) -> None:
        """Add steps, one a call."""
        with self._changed:
            for step in steps:
                self._steps.extend([step] if isinstance(step, Step) else step)

    def clear(self) -> None:
        """Forget calls, and steps that are left."""
        with self._changed:
            self._steps.clear()
            self._calls.clear()

    def wait_for_calls(self, count: int, timeout: float) -> list[Call]:
        """Return the calls, once there are so many.

        Raises:
            AssertionError: If there are not, in time.
        """
        with self._changed:
            came = self._changed.wait_for(lambda: len(self._calls) >= count, timeout)
            assert came, f"{self.name}: {len(self._calls)} of {count} calls after {timeout:g} s"
            return list(self._calls)

    async def play(self, call: Call) -> tuple[Response | Fail | Raw, Delivery | None]:
        """Record a call and do what comes before its reply.

        Returns:
            The reply, and how it is delivered if not at once.
        """
        with self._changed:
            self._calls.append(call)
            self._changed.notify_all()
            step = self._steps.popleft() if self._steps else None
        delivery = None
        asked_usual = False
        while not isinstance(step, Reply):
            if isinstance(step, Way):
                await step.wait()
                delivery = step if isinstance(step, Delivery) else delivery
                step = step.then
            else:  # a usual answer that is a way may lead to no reply of its own
                step = self._none_left() if asked_usual else await self._usual(call)
                asked_usual = True
        if not isinstance(step, Answer):
            assert isinstance(step, Fail | Raw)
            return step, delivery
        try:
            tagged = call.parameters.get(TAGGED) is True if self._tagged is None else self._tagged
            return self._response(step.value, tagged), delivery
        except TempoError as error:
            return Fail(500, f"the fake's answer cannot travel: {error}"), delivery

    async def _usual(self, call: Call) -> Step:
        if self.answer is ...:
            return self._none_left()
        if not callable(self.answer):
            return self.answer if isinstance(self.answer, Step) else Answer(self.answer)
        try:
            value = _apply(self.answer, call.inputs)
            if inspect.isawaitable(value):
                value = await value
        except TempoError as error:
            return Fail(error.status, str(error))
        except Exception as error:
            return Fail(500, f"{type(error).__name__}: {error}")
        return value if isinstance(value, Step) else Answer(value)

    def _none_left(self) -> Fail:
        return Fail(500, f"the fake {self.name!r} has no answer left; script one, or give it one")

    def _response(self, value: Any, tagged: bool) -> Response:
        signature = self._signature or _DYNAMIC
        tensors, content_type = encode_results(signature, value, tagged=tagged)
        if self._columns:
            tensors = [_column(tensor) for tensor in tensors]
        return Response(tensors, {} if content_type is None else {"content_type": content_type})


def values_of(request: Request, signature: Signature | None) -> dict[str, Any]:
    """Return the values of a request, by name.

    Raises:
        PayloadError: If its tensors are none.
    """
    if signature is None or not signature.inputs:
        return {each.name: codec.decode(TensorSpec(each.name), each) for each in request.tensors}
    return decode_arguments(signature, request.tensors, request.parameters)


def _apply(function: Any, inputs: dict[str, Any]) -> Any:
    """Call a function by its inputs' names where it has them, else in their order."""
    try:
        inspect.signature(function).bind(**inputs)
    except (TypeError, ValueError):  # other names, or a builtin that does not tell them
        return function(*inputs.values())
    return function(**inputs)


def _column(tensor: Tensor) -> Tensor:
    if len(tensor.shape) != 1:
        return tensor
    data = tensor.data[:, None] if isinstance(tensor.data, np.ndarray) else tensor.data
    return replace(tensor, shape=[*tensor.shape, 1], data=data)
