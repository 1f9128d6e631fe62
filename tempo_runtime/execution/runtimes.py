"""MLServer runtimes in this process: each loaded once, and run where it keeps nobody else waiting."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import weakref
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tempo_runtime.execution.sklearn_fast import Shortcut
from tempo_runtime.protocol.tensor import datatype_of

if TYPE_CHECKING:
    from mlserver import MLModel, ModelSettings
    from mlserver.types import InferenceRequest, InferenceResponse, RequestOutput, ResponseOutput

T = TypeVar("T")
logger = logging.getLogger(__name__)
# Their `async def predict` awaits nothing, so the thread that calls can run it to its end.
_NEVER_AWAIT = frozenset(
    (
        "mlserver_sklearn.SKLearnModel",
        "mlserver_xgboost.XGBoostModel",
        "mlserver_lightgbm.LightGBMModel",
        "mlserver_mlflow.MLflowRuntime",
    )
)
# alibi's explainers keep the state of a call on themselves, and this runtime calls them in threads:
# two calls at once would get each other's explanations.
_ONE_AT_A_TIME = frozenset(("mlserver_alibi_explain.AlibiExplainRuntime",))
_PATIENCE = 5.0  # seconds that a runtime which is unloaded may still be busy
# MLServer finds a class in a model's folder by putting the folder on `sys.path`.
_importing = threading.Lock()


class Runtime:
    """An MLServer runtime that is loaded.

    Its code is `async`, and need not be: MLServer's own runtimes compute in `async def predict`. So
    none runs on the server's loop. One that is known to await nothing runs in the thread that calls
    it; any other lives on an event loop of its own, from its constructor to `unload`.

    Args:
        settings: What to load.
        fast: Whether its scikit-learn model is to have a shortcut.

    Attributes:
        shortcut: Answers most requests in its place, if it is fast.

    Raises:
        NoFastPath: If its model cannot have one.
        Exception: Whatever importing and loading it raises.
    """

    def __init__(self, settings: ModelSettings, fast: bool = False) -> None:
        self._settings = settings
        self._fast = fast
        self.shortcut: Shortcut | None = None
        self.never_awaits = settings.implementation_ in _NEVER_AWAIT
        self._turn = asyncio.Lock() if settings.implementation_ in _ONE_AT_A_TIME else None
        self._loop = None if self.never_awaits else _OwnLoop(f"tempo-{settings.name}")
        try:
            if self._loop is None:
                self._model = _run_to_end(self._load())
            else:
                self._model = self._loop.start(self._load()).result()
        except BaseException:
            if self._loop is not None:
                self._loop.stop()
            raise

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run what calls it in this thread; only for one that never awaits."""
        return _run_to_end(coroutine)

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Start what calls it on its own loop; only for one that may await."""
        assert self._loop is not None
        return self._loop.start(coroutine)

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Call it; to be run by `run` or `start`."""
        from mlserver.context import model_context

        with model_context(self._settings):
            if self._turn is None:
                return await self._model.predict(payload)
            await self._turn.acquire()
            call = asyncio.ensure_future(self._model.predict(payload))
            call.add_done_callback(self._next)
            # A call that is given up goes on in alibi's thread, and its turn lasts as long.
            return await asyncio.shield(call)

    async def unload(self) -> None:
        """Free it. A call that was given up and blocks its loop is waited for, for a while."""
        if self._loop is None:
            await asyncio.to_thread(_run_to_end, self._unload())
            return
        await asyncio.wait(
            (asyncio.wrap_future(self._loop.start(self._unload())),), timeout=_PATIENCE
        )
        self._loop.stop()
        await asyncio.to_thread(self._loop.join, _PATIENCE)

    async def _load(self) -> MLModel:
        from mlserver.context import model_context

        settings = self._settings
        with model_context(settings):
            model = _implementation(settings)(settings)
            _keep_arrays(model)
            try:
                loaded = await model.load()
                if not loaded:
                    raise RuntimeError(
                        f"its load() returned {loaded!r}, which MLServer takes for no"
                    )
                if self._fast:
                    self.shortcut = Shortcut(model)
            except BaseException:
                with suppress(Exception):
                    await model.unload()
                raise
        return model

    async def _unload(self) -> None:
        from mlserver.context import model_context

        try:
            with model_context(self._settings):
                await self._model.unload()
        except Exception:
            # Whoever closes a pipeline has its other children to close.
            logger.exception("model %r could not be unloaded", self._settings.name)

    def _next(self, call: asyncio.Future[Any]) -> None:
        assert self._turn is not None
        self._turn.release()
        if not call.cancelled():
            call.exception()  # seen, so that asyncio does not report one nobody waited for


class _OwnLoop:
    """An event loop in a daemon thread, which ends when this is stopped or forgotten."""

    def __init__(self, name: str) -> None:
        started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

        async def serve() -> None:
            stopped = asyncio.Event()
            started.set_result((asyncio.get_running_loop(), stopped))
            await stopped.wait()

        def run() -> None:
            try:
                asyncio.run(serve())
            except Exception as error:
                if started.done():
                    raise
                started.set_exception(error)

        self._thread = threading.Thread(target=run, name=name, daemon=True)
        self._thread.start()
        self._loop, stopped = started.result()
        self.stop = weakref.finalize(self, self._loop.call_soon_threadsafe, stopped.set)
        self.stop.atexit = False

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine, with the caller's context variables."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def join(self, timeout: float) -> None:
        """Wait for the thread to end."""
        self._thread.join(timeout)


def _run_to_end(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        coroutine.send(None)
    except StopIteration as finished:
        return finished.value  # type: ignore[no-any-return]
    coroutine.close()
    raise RuntimeError("it awaits something, where none of its releases so far did")


def _implementation(settings: ModelSettings) -> type[MLModel]:
    with _importing:
        path = list(sys.path)
        try:
            return settings.implementation  # type: ignore[no-any-return]
        except BaseException:
            sys.path[:] = path  # MLServer leaves the folder on it
            raise


def _keep_arrays(model: MLModel) -> None:
    """Has `encode` hand arrays over; MLServer's makes lists of them, for JSON."""
    from mlserver import MLModel
    from mlserver.codecs import NumpyCodec
    from mlserver.types import Parameters, ResponseOutput, TensorData

    if type(model).encode is not MLModel.encode:
        return
    here = weakref.ref(model)  # what the model holds does not hold the model

    def encode(
        payload: Any, request_output: RequestOutput, default_codec: Any = None
    ) -> ResponseOutput:
        model = here()
        assert model is not None
        numbers = isinstance(payload, np.ndarray) and payload.dtype.kind in "biuf"
        # Outputs that the model's settings describe may have a codec of their own.
        if not numbers or default_codec is not NumpyCodec or model.outputs:
            return MLModel.encode(model, payload, request_output, default_codec)
        return ResponseOutput.model_construct(
            name=request_output.name,
            datatype=datatype_of(payload.dtype),
            shape=list(payload.shape) if payload.ndim > 1 else [*payload.shape, 1],
            data=TensorData.model_construct(root=payload),
            parameters=Parameters(content_type=NumpyCodec.ContentType),
        )

    model.encode = encode
