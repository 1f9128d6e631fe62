"""Connect a child of a pipeline without a server when it is first called.

So a test can replace a child before anything is trained, and before its framework is installed. A server
connects all children when it loads the pipeline (`loading`), because it must know whether it is ready.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context
from threading import RLock
from typing import TYPE_CHECKING, Any

from tempo_runtime.authoring.models import Model
from tempo_runtime.clients.child import Child

if TYPE_CHECKING:
    from tempo_runtime.clients.transport import Transport
    from tempo_runtime.execution.loading import ChildResolver


class FirstCalls:
    """Children of one pipeline, which are connected one at a time.

    Args:
        make: Makes what connects them, at the first call of any of them.
    """

    def __init__(self, make: Callable[[], ChildResolver]) -> None:
        self._make = make
        self._resolver: ChildResolver | None = None
        # A pipeline that is being connected may call another child in its constructor.
        self._lock = RLock()

    def child(self, alias: str, model: Model, awaitable: bool = False) -> UnconnectedChild:
        """Return a child that is connected when it is first called.

        Args:
            alias: The pipeline's name for it.
            model: The model.
            awaitable: Whether calls are awaited.
        """
        connected: list[Child] = []

        def connect() -> Child:
            if not connected:
                with self._lock:
                    if not connected:
                        # It is there for every request, so nothing of the current one gets into it.
                        connected.append(Context().run(self._connect, alias, model, awaitable))
            return connected[0]

        return UnconnectedChild(model, awaitable, connect, connected)

    def _connect(self, alias: str, model: Model, awaitable: bool) -> Child:
        if self._resolver is None:
            self._resolver = self._make()
        return self._resolver.child(alias, model, awaitable)


class UnconnectedChild(Child):
    """A child that is connected when it is first called. After a failure, the next call tries again.

    Args:
        model: The model.
        awaitable: Whether calls are awaited; then the event loop does not wait for the connection.
        connect: Returns the connected child, which it makes once.
        connected: The connected child, once there is one.
    """

    def __init__(
        self, model: Model, awaitable: bool, connect: Callable[[], Child], connected: list[Child]
    ) -> None:
        self.details = model.details
        self._awaitable = awaitable
        self._connect = connect
        self._connected = connected

    @property
    def is_connected(self) -> bool:
        """Whether it has been called, and is connected."""
        return bool(self._connected)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """See `Child.__call__`; the first call also raises what connecting the child raises."""
        if self._awaitable and not self._connected:
            return self._first_call(args, kwargs)
        return self._here()(*args, **kwargs)

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        """See `Child.submit`."""
        return self._here().submit(*args, **kwargs)

    async def close(self) -> None:
        """Close the transport, if the child is connected."""
        for child in self._connected:
            await child.close()

    async def _first_call(self, args: Any, kwargs: Any) -> Any:
        await asyncio.to_thread(self._connect)  # it may import libraries, and load the model
        return await self._here()(*args, **kwargs)

    def _here(self) -> Child:
        """Return the connected child, bound to the same request as this one."""
        child, request = self._connect(), self._looked_up_in
        return child if request is None else child.looked_up_in(request)

    def __eq__(self, other: object) -> bool:
        """Return whether both are the same child, even if looked up in different requests."""
        return isinstance(other, UnconnectedChild) and self._connected is other._connected

    def __hash__(self) -> int:
        return id(self._connected)

    def __repr__(self) -> str:
        if self._connected:
            return repr(self._connected[0])
        return f"<Child {self.details.name!r}, not connected yet>"

    # Tools for tests replace the transport, and read what the child decodes.

    @property
    def _transport(self) -> Transport:
        return self._connect()._transport

    @_transport.setter
    def _transport(self, transport: Transport) -> None:
        self._connect()._transport = transport

    def _decode(self, response: Any) -> Any:
        return self._connect()._decode(response)
