"""What every transport does."""

from __future__ import annotations

from typing import Protocol

from tempo_runtime.protocol.messages import Request, Response


class Transport(Protocol):
    """A way to a child. Each call is given its deadline and headers by `context.current()`.

    Attributes:
        tagged: Whether the other end reads, and writes, what only we do: it is a pipeline of ours.
    """

    tagged: bool

    async def infer(self, request: Request) -> Response:
        """Call the child from a coroutine.

        Raises:
            ChildError: If it gives no usable answer.
            DeadlineExceeded: If the request's time is spent first.
        """
        ...

    def infer_blocking(self, request: Request) -> Response:
        """Call the child from a thread that has no event loop; raise as `infer` does."""
        ...

    async def close(self) -> None:
        """Free what the transport holds. Safe to call twice."""
        ...
