"""Run MLServer runtimes in this process, where they do not block the server's loop."""

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

from tempo_runtime.authoring.details import ModelFramework
from tempo_runtime.execution.array_calls import ArrayCalls
from tempo_runtime.execution.frameworks import IMPLEMENTATIONS
from tempo_runtime.execution.sklearn_fast import evaluate
from tempo_runtime.protocol.tensor import datatype_of

if TYPE_CHECKING:
    from mlserver import MLModel, ModelSettings
    from mlserver.types import InferenceRequest, InferenceResponse, RequestOutput, ResponseOutput

T = TypeVar("T")
logger = logging.getLogger(__name__)
# Their `async def predict` never awaits, so the calling thread can run it to its end.
_NEVER_AWAIT = frozenset(
    (
        "mlserver_sklearn.SKLearnModel",
        "mlserver_xgboost.XGBoostModel",
        "mlserver_lightgbm.LightGBMModel",
        "mlserver_mlflow.MLflowRuntime",
    )
)
# alibi's explainers keep the state of a call as attributes, and this runtime calls them in threads: two
# concurrent calls would mix up their explanations.
_ONE_AT_A_TIME = frozenset(("mlserver_alibi_explain.AlibiExplainRuntime",))
_UNLOAD_TIMEOUT = 5.0  # seconds to wait for a busy runtime
# MLServer imports a class in a model's folder by adding the folder to `sys.path`.
_importing = threading.Lock()


class Runtime:
    """A loaded MLServer runtime.

    A runtime may block although its code is `async`: MLServer's own runtimes compute in
    `async def predict`. So runtimes never run on the server's loop. If a runtime is known never to await,
    it runs in the calling thread; otherwise it has its own event loop, from its constructor to `unload`.

    Args:
        settings: Settings of the model.
        fast: Whether to make its scikit-learn model fast: true demands it, and None if it can be.

    Attributes:
        arrays: Calls the model without the runtime's codecs, where that gives the same answer.
        evaluation: How its scikit-learn model is computed, and why; empty for other runtimes.

    Raises:
        NoFastPath: If its model must be fast, and cannot be.
        Exception: Any exception while importing and loading it.
    """

    def __init__(self, settings: ModelSettings, fast: bool | None = None) -> None:
        self._settings = settings
        self.evaluation = ""
        self.never_awaits = settings.implementation_ in _NEVER_AWAIT
        self._turn = asyncio.Lock() if settings.implementation_ in _ONE_AT_A_TIME else None
        self._loop = None if self.never_awaits else _OwnLoop(f"tempo-{settings.name}")
        try:
            if self._loop is None:
                self._model = run_to_end(self._load(fast))
            else:
                self._model = self._loop.start(self._load(fast)).result()
        except BaseException:
            if self._loop is not None:
                self._loop.stop()
            raise

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in this thread; only for a runtime that never awaits."""
        return run_to_end(coroutine)

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine on the runtime's loop; only for a runtime that may await."""
        assert self._loop is not None
        return self._loop.start(coroutine)

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Call the runtime; pass this coroutine to `run` or `start`."""
        from mlserver.context import model_context

        with model_context(self._settings):
            if self._turn is None:
                return await self._model.predict(payload)
            await self._turn.acquire()
            call = asyncio.ensure_future(self._model.predict(payload))
            call.add_done_callback(self._next)
            # An abandoned call continues in alibi's thread, and so does its turn.
            return await asyncio.shield(call)

    async def unload(self) -> None:
        """Unload the runtime; wait some time for an abandoned call that blocks its loop."""
        if self._loop is None:
            await asyncio.to_thread(run_to_end, self._unload())
            return
        await asyncio.wait(
            (asyncio.wrap_future(self._loop.start(self._unload())),), timeout=_UNLOAD_TIMEOUT
        )
        self._loop.stop()
        await asyncio.to_thread(self._loop.join, _UNLOAD_TIMEOUT)

    async def _load(self, fast: bool | None) -> MLModel:
        from mlserver.context import model_context

        settings = self._settings
        with model_context(settings):
            model = _implementation(settings)(settings)
            self.arrays = ArrayCalls(model, settings.implementation_)
            _keep_arrays(model)
            try:
                loaded = await model.load()
                if not loaded:
                    raise RuntimeError(
                        f"its load() returned {loaded!r}, which means that loading failed"
                    )
                if settings.implementation_ == IMPLEMENTATIONS[ModelFramework.SKLearn]:
                    self.evaluation = evaluate(model._model, fast)
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
            # The other children of the pipeline must still be closed.
            logger.exception("model %r could not be unloaded", self._settings.name)

    def _next(self, call: asyncio.Future[Any]) -> None:
        assert self._turn is not None
        self._turn.release()
        if not call.cancelled():
            call.exception()  # so that asyncio does not log it if the caller has left


class _OwnLoop:
    """An event loop in a daemon thread, which ends when this object is stopped or garbage-collected."""

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


def never_awaits(model: MLModel) -> bool:
    """Return whether the predict method of a loaded model is one that never awaits."""
    if "predict" in vars(model):  # MLServer's adaptive batching
        return False
    owner = next(base for base in type(model).__mro__ if "predict" in vars(base))
    return f"{owner.__module__.partition('.')[0]}.{owner.__name__}" in _NEVER_AWAIT


def run_to_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never awaits in this thread."""
    try:
        coroutine.send(None)
    except StopIteration as finished:
        return finished.value  # type: ignore[no-any-return]
    coroutine.close()
    raise RuntimeError("the runtime awaits something, which its earlier releases did not")


def _implementation(settings: ModelSettings) -> type[MLModel]:
    with _importing:
        path = list(sys.path)
        try:
            return settings.implementation  # type: ignore[no-any-return]
        except BaseException:
            sys.path[:] = path  # MLServer does not remove the folder
            raise


def _keep_arrays(model: MLModel) -> None:
    """Make `encode` return arrays as they are; MLServer's converts them to lists for JSON."""
    from mlserver import MLModel
    from mlserver.codecs import NumpyCodec
    from mlserver.types import Parameters, ResponseOutput, TensorData

    if type(model).encode is not MLModel.encode:
        return
    reference = weakref.ref(model)  # `encode` must not keep the model alive

    def encode(
        payload: Any, request_output: RequestOutput, default_codec: Any = None
    ) -> ResponseOutput:
        model = reference()
        assert model is not None
        numbers = isinstance(payload, np.ndarray) and payload.dtype.kind in "biuf"
        # Outputs that the model's settings describe may have their own codecs.
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
