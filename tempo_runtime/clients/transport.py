"""The interface of all transports to children."""

from __future__ import annotations

from typing import Protocol

from tempo_runtime.protocol.messages import Request, Response


class Transport(Protocol):
    """A transport to a child. The deadline and headers of a call come from `context.current()`.

    Attributes:
        tagged: Whether the child is a pipeline of this package, which reads and writes tagged JSON.
    """

    tagged: bool

    async def infer(self, request: Request) -> Response:
        """Call the child from a coroutine.

        Raises:
            ChildError: If the child does not return a usable answer.
            DeadlineExceeded: If the request has no time left.
        """
        ...

    def infer_blocking(self, request: Request) -> Response:
        """Call the child from a thread that has no event loop; raise as `infer` does."""
        ...

    async def close(self) -> None:
        """Close the transport; safe to call twice."""
        ...
