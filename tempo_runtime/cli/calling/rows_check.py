"""Compare a model's answer to rows together with its answers to each of them alone, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice

from tempo_runtime.clients.batching import BatchingTransport
from tempo_runtime.clients.child import Child
from tempo_runtime.clients.transport import Transport
from tempo_runtime.errors import PayloadError, TempoError
from tempo_runtime.protocol.messages import Request, Response
from tempo_runtime.protocol.rows import NotRowWise, have_rows, join, rows_of, single_rows, split
from tempo_runtime.protocol.signature import Signature
from tempo_runtime.protocol.tensor import BYTES, Tensor

_MOST = 16  # rows that are asked for alone
Infer = Callable[[Request], Response]


@dataclass
class Recorder:
    """Stands between a child and its transport, and keeps the first request that has rows.

    Args:
        batched: The transport.
    """

    batched: BatchingTransport
    request: Request | None = None
    tagged: bool = field(init=False)

    def __post_init__(self) -> None:
        self.tagged = self.batched.tagged

    @classmethod
    def of(cls, child: Child) -> Recorder | None:
        """Record the calls of a child from now on; None if they are not put together with others."""
        transport: Transport = child._transport
        if not isinstance(transport, BatchingTransport):
            return None
        recorder = child._transport = cls(transport)
        return recorder

    async def infer(self, request: Request) -> Response:
        """See `Transport.infer`."""
        self._keep(request)
        return await self.batched.infer(request)

    def infer_blocking(self, request: Request) -> Response:
        """See `Transport.infer_blocking`."""
        self._keep(request)
        return self.batched.infer_blocking(request)

    async def close(self) -> None:
        """See `Transport.close`."""
        await self.batched.close()

    def compare(self) -> str | None:
        """Return how the answers differ; None if they are equal, or if no request was made."""
        if self.request is None:
            return None
        return difference(self.batched.inner.infer_blocking, self.request, self.batched.known)

    def _keep(self, request: Request) -> None:
        if self.request is None and rows_of(request, self.batched.known) is not None:
            self.request = request


def of_model(infer: Infer, request: Request, signature: Signature | None) -> str | None:
    """Return how the answers of a model differ; None if they do not, or the request has no rows."""
    known = have_rows(signature)
    tensors = [
        tensor if tensor.datatype == BYTES else replace(tensor, data=tensor.numbers())
        for tensor in request.tensors
    ]
    request = replace(request, tensors=tensors)
    return None if rows_of(request, known) is None else difference(infer, request, known)


def difference(infer: Infer, request: Request, known: Mapping[str, bool]) -> str | None:
    """Describe the first difference between rows that are asked for together and alone.

    Args:
        infer: Calls the model.
        request: A request with rows; a single row is asked for twice.
        known: Which inputs have rows: see `have_rows`.
    """
    rows = rows_of(request, known)
    assert rows is not None
    parts = list(islice(single_rows(request, rows), _MOST))
    parts = parts if len(parts) > 1 else parts * 2
    try:
        together = split(infer(join(parts, rows.inputs)), [1] * len(parts))
    except NotRowWise as error:
        return str(error)
    except TempoError as error:
        return f"rows together are an error: {error}"
    for number, (row, part) in enumerate(zip(parts, together)):
        found = _difference(infer(row), part)
        if found is not None:
            return f"row {number}: {found}"
    return None


def _difference(alone: Response, together: Response) -> str | None:
    named = {tensor.name: tensor for tensor in together.tensors}
    if list(named) != [tensor.name for tensor in alone.tensors]:
        return "it has other outputs"
    for tensor in alone.tensors:
        other = named[tensor.name]
        if (tensor.datatype, tensor.shape) != (other.datatype, other.shape):
            return (
                f"{tensor.name!r} is {other.datatype} {other.shape} together, and "
                f"{tensor.datatype} {tensor.shape} alone"
            )
        if _bits(tensor) != _bits(other):
            return f"{tensor.name!r} is {_shown(other)} together, and {_shown(tensor)} alone"
    return None


def _bits(tensor: Tensor) -> object:
    if tensor.datatype == BYTES:
        return [e.encode() if isinstance(e, str) else e for e in tensor.elements()]
    return tensor.numbers().tobytes()


def _shown(tensor: Tensor) -> str:
    try:
        values = (
            tensor.elements() if tensor.datatype == BYTES else tensor.numbers().ravel().tolist()
        )
    except PayloadError as error:
        return str(error)
    return f"{values!r:.80}"
