"""The script of a fake model: the calls it has received, and what it does with the next one."""

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
from tempo_runtime.testing.steps import Answer, Fail, Pause, Reply, Step

_DYNAMIC = Signature(())  # any values, with their own types


@dataclass(frozen=True)
class Call:
    """A call that a fake model received.

    Attributes:
        inputs: Its values, by name.
        parameters: Its own V2 parameters.
        outputs: Names of the requested outputs.
        id: Its id.
        headers: Its HTTP headers, or gRPC metadata, by lower-case name.
        transport: `http`, `grpc` or `in_process`.
        path: Path of the request.
        version: Requested version of the model.
        connection: Number of its HTTP connection; calls over the same connection have the same number.
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
            PayloadError: If its tensors cannot be decoded.
        """
        inputs = values_of(request, signature)
        return cls(inputs, request.parameters, request.outputs, request.id, **details)


class Model(Protocol):
    """The properties of a fake model that each transport needs."""

    name: str
    ready: bool
    metadata: dict[str, Any]


class Script:
    """The behaviour of a fake model with its calls. Safe to use from several threads.

    Args:
        name: The fake's name, for messages.
        answer: Its usual answer: a function of the call's values (which may be async), a step, or a
            value. A function may return a step, too.
        signature: Its inputs and outputs; None to accept any.
        columns: Whether it writes `(N,)` as `(N, 1)`, as MLServer's own runtimes do.
        tagged: Whether callers read tagged JSON; None if the parameters of each call say so.
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
        """Add steps, one for each call."""
        with self._changed:
            for step in steps:
                self._steps.extend([step] if isinstance(step, Step) else step)

    def clear(self) -> None:
        """Forget the recorded calls and the remaining steps."""
        with self._changed:
            self._steps.clear()
            self._calls.clear()

    def wait_for_calls(self, count: int, timeout: float) -> list[Call]:
        """Wait until there are `count` calls, and return them.

        Raises:
            AssertionError: If there are fewer after `timeout` seconds.
        """
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self._calls) >= count, timeout)
            assert arrived, f"{self.name}: {len(self._calls)} of {count} calls after {timeout:g} s"
            return list(self._calls)

    async def play(self, call: Call) -> Response | Reply:
        """Record a call, and do what its step says.

        Returns:
            The reply: a response, or a `Fail`.
        """
        with self._changed:
            self._calls.append(call)
            self._changed.notify_all()
            step = self._steps.popleft() if self._steps else None
        return await self._rendered(await self._reply(step, call), call)

    async def _reply(self, step: Step | None, call: Call) -> Reply:
        """Go through the pauses of a step to its reply; None stands for the usual answer."""
        took_usual = False
        while not isinstance(step, Reply):
            if isinstance(step, Pause):
                await step.wait()
                step = step.then
            else:  # the usual answer may be a pause without a reply of its own
                step = self._no_answer_left() if took_usual else await self._usual(call)
                took_usual = True
        return step

    async def _rendered(self, reply: Reply, call: Call) -> Response | Reply:
        if not isinstance(reply, Answer):
            return reply
        tagged = call.parameters.get(TAGGED) is True if self._tagged is None else self._tagged
        try:
            return self._response(reply.value, tagged)
        except TempoError as error:
            return Fail(500, f"the fake's answer cannot travel: {error}")

    async def _usual(self, call: Call) -> Step:
        if self.answer is ...:
            return self._no_answer_left()
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

    def _no_answer_left(self) -> Fail:
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
        PayloadError: If its tensors cannot be decoded.
    """
    if signature is None or not signature.inputs:
        tensors = request.tensors
        return {tensor.name: codec.decode(TensorSpec(tensor.name), tensor) for tensor in tensors}
    return decode_arguments(signature, request.tensors, request.parameters)


def _apply(function: Any, inputs: dict[str, Any]) -> Any:
    """Call a function with the inputs by name if it has parameters of these names, else in order."""
    try:
        inspect.signature(function).bind(**inputs)
    except (TypeError, ValueError):  # other names, or a builtin without a signature
        return function(*inputs.values())
    return function(**inputs)


def _column(tensor: Tensor) -> Tensor:
    if len(tensor.shape) != 1:
        return tensor
    data = tensor.data[:, None] if isinstance(tensor.data, np.ndarray) else tensor.data
    return replace(tensor, shape=[*tensor.shape, 1], data=data)
