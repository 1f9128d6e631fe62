"""A fake model: a V2 server on real sockets that answers by a script."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tempo_runtime._util.ports import HOST, reserved
from tempo_runtime.testing.script import Call, Script
from tempo_runtime.testing.steps import Step

if TYPE_CHECKING:
    import grpc as grpc_package

    from tempo_runtime.testing.over_grpc import GrpcSide
    from tempo_runtime.testing.over_http import HttpSide


class FakeModel:
    """A V2 server for one model, on loopback ports that stay reserved for it.

        with FakeModel("sklearn", answer=lambda x: x.sum(axis=1)) as fake:
            fake.script(Fail(503, retry_after=1), Delay(0.2))
            ...                   # code that calls the model at fake.url three times
            assert fake.calls[2].inputs["input-0"].shape == (2, 4)

    Args:
        name: Name of the model; calls of other models are answered with 404.
        answer: Its usual answer: a function of the call's values (by name if it has parameters of
            these names, else in order; it may be async), a value, or a step. A function may return
            a step, too. It runs on the fake's only thread.
        grpc: Whether it answers over gRPC as well; for TLS, the server's credentials.
        columns: Whether it writes `(N,)` as `(N, 1)`, as MLServer's own runtimes do.
        ssl_context: TLS over HTTP.

    Attributes:
        name: Name of the model.
        ready: Whether the model reports that it is ready.
        metadata: Its V2 metadata.
    """

    def __init__(
        self,
        name: str,
        answer: Any = ...,
        *,
        grpc: bool | grpc_package.ServerCredentials = False,
        columns: bool = False,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.name = name
        self.ready = True
        self.metadata: dict[str, Any] = {"name": name, "versions": [], "platform": "fake"}
        self._script = self._new_script(name, answer, columns)
        self._grpc = grpc
        self._ssl = ssl_context
        self._ports: list[int] = []
        self._reserved = contextlib.ExitStack()
        self._running: _Running | None = None

    @property
    def url(self) -> str:
        """Its base URL over HTTP."""
        return f"{'https' if self._ssl else 'http'}://{HOST}:{self._port(0)}"

    @property
    def grpc_url(self) -> str:
        """Its URL over gRPC."""
        assert self._grpc, "a fake answers over gRPC only if it is created with grpc=True"
        return f"{'grpc' if self._grpc is True else 'grpcs'}://{HOST}:{self._port(1)}"

    @property
    def answer(self) -> Any:
        """Its usual answer; may be set at any time."""
        return self._script.answer

    @answer.setter
    def answer(self, answer: Any) -> None:
        self._script.answer = answer

    @property
    def calls(self) -> list[Call]:
        """The calls so far, in order."""
        return self._script.calls

    def script(self, *steps: Step | Iterable[Step]) -> None:
        """Add steps, one for each call; after the last one, calls get `answer` again."""
        self._script.add(steps)

    def clear(self) -> None:
        """Forget the recorded calls and the remaining steps."""
        self._script.clear()

    def wait_for_calls(self, count: int, timeout: float = 10) -> list[Call]:
        """Wait until there are `count` calls, and return them.

        Raises:
            AssertionError: If there are fewer after `timeout` seconds.
        """
        return self._script.wait_for_calls(count, timeout)

    def start(self) -> FakeModel:
        """Listen; after `stop`, on the same ports as before."""
        if self._running is None:
            while len(self._ports) < 1 + bool(self._grpc):
                self._ports.append(self._reserved.enter_context(reserved()))
            self._running = _Running(self)
        return self

    def stop(self) -> None:
        """End all connections and calls and refuse new ones, as when a server's process dies."""
        if self._running is not None:
            self._running.stop()
            self._running = None

    def close(self) -> None:
        """Stop it and give up its ports."""
        self.stop()
        self._ports.clear()
        self._reserved.close()

    def __enter__(self) -> FakeModel:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @staticmethod
    def _new_script(name: str, answer: Any, columns: bool) -> Script:
        return Script(name, answer, columns=columns)

    def _http_side(self) -> HttpSide:
        from tempo_runtime.testing.over_http import HttpSide

        return HttpSide(self, self._script)

    def _grpc_side(self, loop: asyncio.AbstractEventLoop) -> GrpcSide:
        from tempo_runtime.testing.over_grpc import GrpcSide

        credentials = None if isinstance(self._grpc, bool) else self._grpc
        return GrpcSide(self, self._script, loop, self._port(1), credentials)

    def _port(self, index: int) -> int:
        assert self._ports, "the fake has not been started"
        return self._ports[index]


class _Running:
    """A fake's event loop, in its own thread, and its servers."""

    def __init__(self, fake: FakeModel) -> None:
        self._fake = fake
        self._stopping = asyncio.Event()
        self._started: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run()), name=f"fake-model-{fake.name}", daemon=True
        )
        self._thread.start()
        self._loop = self._started.result()
        self._grpc = None
        if fake._grpc:
            try:
                self._grpc = fake._grpc_side(self._loop)
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        if self._grpc is not None:
            self._grpc.stop()
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    async def _run(self) -> None:
        http = self._fake._http_side()
        try:
            await http.listen(self._fake._port(0), self._fake._ssl)
        except BaseException as error:
            self._started.set_exception(error)
            return
        self._started.set_result(asyncio.get_running_loop())
        await self._stopping.wait()
        await http.abort()
