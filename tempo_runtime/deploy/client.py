"""Call a deployed pipeline or model."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping
from contextlib import aclosing
from functools import partial
from keyword import iskeyword
from types import TracebackType
from typing import Any, Generic, Literal, NoReturn, overload

from typing_extensions import ParamSpec, Self, TypeVar

from tempo_runtime._util import html
from tempo_runtime._util.progress import in_cell, in_notebook
from tempo_runtime.authoring import tempo_names
from tempo_runtime.authoring.details import ModelDetails
from tempo_runtime.clients import watched
from tempo_runtime.clients.child import Child
from tempo_runtime.clients.model_client import ModelClient
from tempo_runtime.clients.remote import RemoteTransport
from tempo_runtime.deploy.deployment import Deployment, ModelStatus
from tempo_runtime.deploy.recalled import RecalledDeployment
from tempo_runtime.errors import DeploymentFailed
from tempo_runtime.execution.explain import progress
from tempo_runtime.protocol.binding import decode_results, encode_arguments
from tempo_runtime.protocol.messages import Request, Response
from tempo_runtime.protocol.signature import Signature
from tempo_runtime.request import context
from tempo_runtime.request.portal import Portal, background
from tempo_runtime.settings import transport_of

R = TypeVar("R", default=Any)
P = ParamSpec("P", default=...)
_DONE = object()
_LOCAL = ("process", "docker")  # targets on this machine


@tempo_names.explain(tempo_names.OF_REMOTE)
class RemoteModel(Generic[R, P]):
    """A deployed model. A `with` block undeploys it at its end.

    Made by `deploy_local` and `deploy_remote`. To a type checker that of a pipeline function has the
    function's parameters and result. Which method of a class answers is not in its type; say what that
    returns: `remote: RemoteModel[float] = deploy_local(Shop)`.

    It can be pickled and copied. A pickle holds the model's signature and address, and no connections and
    no secrets: credentials for a cluster are read again where it is unpickled. A copy belongs to the same
    deployment.

    Args:
        details: The main model, which users call.
        deployment: The deployment that it runs in.
        changes: See the attribute.
        connected: Whether something else has deployed it; a `with` block then only closes connections.

    Attributes:
        details: As given.
        deployment: As given.
        changes: The change of each model: `started`, `replaced` or `unchanged`.
    """

    def __init__(
        self,
        details: ModelDetails,
        deployment: Deployment,
        changes: Mapping[str, str] | None = None,
        *,
        connected: bool = False,
    ) -> None:
        self.details = details
        self.deployment = deployment
        self.changes = dict(changes or {})
        self._connection: _Connection | None = None
        self._connected_only = connected
        shown = _python_signature(details.signature)
        if shown is not None:  # which `help` and completion read
            self.__signature__ = shown

    @property
    def aio(self) -> _Awaited[R, P]:
        """The same calls as coroutines."""
        return _Awaited(self)  # created each time, because keeping it would create a cycle

    @property
    def endpoint(self) -> str:
        """URL of the model. Calls to it need the headers in `headers`.

        Raises:
            DeploymentFailed: If it was undeployed.
        """
        return _Url(self.deployment.endpoint)

    @property
    def headers(self) -> dict[str, str]:
        """Headers that every call to `endpoint` needs. They are secret, and often empty.

        Raises:
            DeploymentFailed: If it was undeployed.
        """
        return dict(self.deployment.main().headers)

    @overload
    def predict(self, *args: Any, named: Literal[True], **kwargs: Any) -> dict[str, Any]: ...

    @overload
    def predict(self, *args: P.args, **kwargs: P.kwargs) -> R: ...

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Call the model.

        Args:
            args: Its inputs, in order.
            kwargs: Its inputs, by name; and `named=True` for a dict of the results by the names of its
                outputs, unless an input of the model has the name `named`.

        Returns:
            What its predict method returns, or that dict.

        Raises:
            PayloadError: If a value cannot be sent.
            ChildError: If it does not give a usable answer.
            DeploymentFailed: If it was undeployed.
        """
        connection = self._connected()  # referenced until the call ends
        call = connection.call_by_name if self._by_name(kwargs) else connection.call
        return call(*args, **kwargs)

    __call__ = predict

    def stream(self, *args: P.args, **kwargs: P.kwargs) -> Iterator[Any]:
        """Call the model, and yield each value that its predict method yields.

        The arguments and errors are those of `predict`.
        """
        portal = background()
        connection = self._connected()
        values = connection.stream(*args, **kwargs)
        try:
            while (value := portal.run(_next(values))) is not _DONE:
                yield value
        finally:
            portal.run(values.aclose())

    def logs(self, model: str | None = None) -> str:
        """Return the logs of its servers, or of one model's server."""
        logs = self.deployment.logs(model)
        if model is not None:
            return logs.get(model, "")
        return "\n".join(f"== {name}\n{text}" for name, text in logs.items())

    def status(self) -> list[ModelStatus]:
        """Return the status of the model and of those it calls; empty after `undeploy`."""
        return self.deployment.models()

    def undeploy(self) -> None:
        """Undeploy it and the models that were deployed with it."""
        try:
            self.deployment.undeploy()
        finally:
            self.close()  # last, because other threads may still wait for answers

    def close(self) -> None:
        """Close the connections to it; it stays deployed, and another call connects again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._connected_only:
            self.close()
            self.deployment.close()
        else:
            self.undeploy()

    def __reduce__(self) -> tuple[Any, ...]:
        # A class with type arguments is not a different one.
        made: Any = RemoteModel
        if self._connected_only:
            made = partial(made, connected=True)
        return made, (self.details, RecalledDeployment(self.deployment), self.changes)

    def __copy__(self) -> RemoteModel[R, P]:
        return RemoteModel(
            self.details, self.deployment, self.changes, connected=self._connected_only
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> RemoteModel[R, P]:
        return self.__copy__()

    def __repr__(self) -> str:
        with contextlib.suppress(DeploymentFailed):
            inputs = str(_python_signature(self.details.signature) or "")
            return f"<RemoteModel {self.details.name!r}{inputs} at {self.endpoint}>"
        return f"<RemoteModel {self.details.name!r}, undeployed>"

    def _repr_html_(self) -> str:
        """Return the deployment's models and their state, as a notebook shows them."""
        rows = [
            html.row(
                html.heading(model.name),
                html.cell(model.state, "good" if model.state == "ready" else "bad"),
                html.cell(model.url),
                html.cell(model.place),
                html.cell(model.reason),
            )
            for model in self.status()
        ]
        headings = ("model", "state", "URL", "runs as", "")
        table = html.table("", headings, rows) if rows else ""
        return html.element(self.details.name, "deployed model", html.code(repr(self)), table)

    def _by_name(self, kwargs: dict[str, Any]) -> bool:
        """Take the option `named` out of the arguments of a call, and return it."""
        signature = self.details.signature
        if signature is not None and signature.input("named") is not None:
            return False
        return bool(kwargs.pop("named", False))

    def _connected(self) -> _Connection:
        main = self.deployment.main()
        url = main.grpc if self.deployment.transport == "grpc" else main.url
        connection = self._connection
        if connection is None or connection.where != (url, main.headers):
            # The old connection is closed with the last call that uses it.
            connection = self._connection = _Connection(
                self.details,
                url,
                main.headers,
                main.version,
                self.deployment.target in _LOCAL,
            )
        return connection


class _Awaited(Generic[R, P]):
    """The calls of a `RemoteModel` as coroutines."""

    def __init__(self, remote: RemoteModel[R, P]) -> None:
        self._remote = remote

    @overload
    async def predict(self, *args: Any, named: Literal[True], **kwargs: Any) -> dict[str, Any]: ...

    @overload
    async def predict(self, *args: P.args, **kwargs: P.kwargs) -> R: ...

    async def predict(self, *args: Any, **kwargs: Any) -> Any:
        """See `RemoteModel.predict`."""
        connection = self._remote._connected()
        by_name = self._remote._by_name(kwargs)
        call = connection.awaited_by_name if by_name else connection.awaited
        return await call(*args, **kwargs)

    __call__ = predict

    async def stream(self, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Any, None]:
        """See `RemoteModel.stream`."""
        portal = background()  # the connection belongs to its event loop
        connection = self._remote._connected()
        values = connection.stream(*args, **kwargs)
        try:
            while (value := await portal.arun(_next(values))) is not _DONE:
                yield value
        finally:
            await portal.arun(values.aclose())


class _Url(str):
    """A URL, as a property gives it; tempo 0.5 has a method in the property's place."""

    __slots__ = ()

    def __call__(self) -> NoReturn:
        raise TypeError("endpoint is a property, and in tempo 0.5 a method; write remote.endpoint")

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)  # a pickle does not name this class


class _Shown:
    """A pipeline's transport that shows the progress of long calls below the cell of a notebook."""

    def __init__(self, client: ModelClient, name: str) -> None:
        self.tagged = client.transport.tagged
        self._client = client
        self._text = f"{name} works"

    async def infer(self, request: Request) -> Response:
        """See `Transport.infer`."""
        if not in_notebook():
            return await self._client.transport.infer(request)
        with in_cell(self._text, progress.DELAY) as tell:
            return await self._client.portal.arun(self._watched(request, tell))

    def infer_blocking(self, request: Request) -> Response:
        """See `Transport.infer_blocking`."""
        if not in_notebook():
            return self._client.transport.infer_blocking(request)
        with in_cell(self._text, progress.DELAY) as tell:
            return self._client.portal.run(self._watched(request, tell))

    async def close(self) -> None:
        """See `Transport.close`."""
        await self._client.transport.close()

    def _watched(
        self, request: Request, tell: Callable[[str], None]
    ) -> Coroutine[Any, Any, Response]:
        return watched.infer(
            self._client, request, context.current(), lambda *news: tell(progress.in_words(*news))
        )


class _Connection:
    """A client of a deployed model.

    Args:
        details: The model.
        url: URL of its server.
        headers: Headers of each call.
        version: Its version.
        is_local: Whether its server is on this machine, and not behind a gateway, which may not know
            streams.
    """

    def __init__(
        self,
        details: ModelDetails,
        url: str,
        headers: Mapping[str, str],
        version: str | None,
        is_local: bool,
    ) -> None:
        self.where = (url, headers)
        self._details = details
        given = {"url": url, "headers": dict(headers), "version": version}
        client = ModelClient(
            details.name,
            given,
            forwards_deadline=details.served_by_us,
            is_triton=details.served_by_triton,
        )
        self._client = client
        streams = details.signature is None or details.signature.streams
        shown = is_local and details.served_by_us and not streams
        child = partial(
            Child,
            details,
            _Shown(client, details.name) if shown else client.transport,
            client.portal,
            client.metrics,
            output=details.output,
            decoding=client.decoding,
            transport_name=transport_of(url),
        )
        self.call, self.awaited = child(), child(awaitable=True)
        self.call_by_name = child(named=True)
        self.awaited_by_name = child(awaitable=True, named=True)
        # Also when it is garbage-collected, and when the process ends.
        self.close = weakref.finalize(self, _close, client.portal, client.transport)

    async def stream(self, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        """Yield the values of a stream."""
        current = context.current()
        signature, tagged = self._details.signature, self._client.transport.tagged
        request = Request(
            encode_arguments(signature, args, kwargs, tagged=tagged), [], {}, current.id
        )
        stream = self._client.stream(request, current, current.remaining())
        async with aclosing(stream) as responses:
            async for response in responses:
                if response.parameters.get("progress") is not True:
                    yield decode_results(
                        signature,
                        response.tensors,
                        response.content_type,
                        limits=self._client.decoding,
                    )


def _python_signature(signature: Signature | None) -> inspect.Signature | None:
    """Return the signature of a call, for people and for completion; None if Python cannot spell it."""
    names = [] if signature is None else [spec.name for spec in signature.inputs]
    if signature is None or not all(name.isidentifier() and not iskeyword(name) for name in names):
        return None
    parameters = []
    for spec in signature.inputs:
        default = inspect.Parameter.empty if spec.required else None
        parameters.append(
            inspect.Parameter(
                spec.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=default,
                annotation=spec.hint,
            )
        )
    return inspect.Signature(parameters)


def _close(portal: Portal, transport: RemoteTransport) -> None:
    closing = portal.submit(transport.close())
    try:
        asyncio.get_running_loop()  # this may be the loop that must close it
    except RuntimeError:
        closing.result()


async def _next(values: AsyncGenerator[Any, None]) -> Any:
    return await anext(values, _DONE)
