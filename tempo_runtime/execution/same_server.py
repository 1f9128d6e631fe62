"""The transport to a model that the MLServer of this process serves: through its data plane.

A call is MLServer's own request in every other way: the data plane looks the model up, checks that it is
ready, counts the request and applies its middlewares. Errors are those of a call over HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context
from functools import cached_property
from math import prod
from timeit import default_timer
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from mlserver.errors import MLServerError, ModelNotFound
from mlserver.parallel.model import ParallelModel
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import extract_headers, insert_headers

from tempo_runtime._util.ports import called
from tempo_runtime.artifact import declaration
from tempo_runtime.authoring.details import ModelFramework
from tempo_runtime.clients.failures import (
    EXCERPT,
    AnswerLimit,
    ChildAddress,
    Failure,
    FailureKind,
)
from tempo_runtime.clients.remote import Limits, RemoteTransport
from tempo_runtime.errors import PayloadError
from tempo_runtime.execution import frameworks
from tempo_runtime.execution.array_calls import ArrayCalls
from tempo_runtime.execution.in_process import runtime_request
from tempo_runtime.execution.live_state import LiveState, of_calls
from tempo_runtime.execution.runner import hanging, is_enough, log_readiness
from tempo_runtime.execution.runtimes import never_awaits, run_to_end
from tempo_runtime.execution.sklearn_fast import FAST, FastModel, proved
from tempo_runtime.execution.sklearn_fast.base import NoFastPath
from tempo_runtime.execution.threads import Threads
from tempo_runtime.protocol.binding import handed_over
from tempo_runtime.protocol.error_details import unmarked
from tempo_runtime.protocol.messages import (
    Request,
    Response,
    from_mlserver,
    mlserver_parameters,
    request_to_json,
)
from tempo_runtime.protocol.tensor import BYTES, Tensor
from tempo_runtime.request import context
from tempo_runtime.request.metrics import ChildMetrics
from tempo_runtime.request.portal import Portal
from tempo_runtime.request.timing import Elapsed
from tempo_runtime.settings import ChildSettings

if TYPE_CHECKING:
    from mlserver import MLModel
    from mlserver.handlers import DataPlane

T = TypeVar("T")
_SKLEARN = frameworks.IMPLEMENTATIONS[ModelFramework.SKLearn]
_HEADERS = {"content-type": "application/json", "accept-encoding": "identity"}
_EARLIER = 0.005  # seconds; more than the resolution of an event loop's timers
_THREADS = 8  # for calls of an async pipeline
logger = logging.getLogger(__name__)
# MLServer shows this logger's information, but only warnings of others.
_server_logger = logging.getLogger("mlserver")


class SameServerTransport(RemoteTransport):
    """Calls a model of this process's server, with the limits and retries of a remote child.

    Args:
        data_plane: MLServer's handler of requests.
        name: Name that the server knows the model by.
        settings: The child's settings.
        portal: The server's loop.
        limits: Limits of the calls.
        metrics: Metrics of retries and breakers.
    """

    connects = False

    def __init__(
        self,
        data_plane: DataPlane,
        name: str,
        settings: ChildSettings,
        portal: Portal,
        limits: Limits,
        metrics: ChildMetrics,
    ) -> None:
        self._endpoint = _DataPlaneEndpoint(data_plane, name, settings)
        super().__init__([self._endpoint], portal, limits, metrics)

    @property
    def share_left(self) -> float:
        """The share of threads that are free to work, from 0 to 1; the others hang."""
        return self._endpoint.share_left

    @property
    def live(self) -> LiveState:
        """Its state now."""
        return of_calls(self, self._endpoint.problem)

    def infer_blocking(self, request: Request) -> Response:
        """See `Transport.infer_blocking`."""
        if self._is_direct():
            headers = {**context.current().headers, **self._limits.headers}
            try:
                return self._endpoint.answer(request, headers)
            except Failure as failure:
                if failure.kind is not FailureKind.UNAVAILABLE:
                    raise failure.error from failure.__cause__
        return super().infer_blocking(request)

    def _is_direct(self) -> bool:
        """Return whether the calling thread can run the model, with no limit to watch and no retry."""
        limits = self._limits
        return (
            limits.timeout is None
            and limits.max_concurrency is None
            and not limits.forwards_deadline
            and self._servers.is_untroubled
            and not self._portal.is_here
            and self._endpoint.never_awaits()
        )


class _DataPlaneEndpoint:
    """MLServer's data plane in this process, as an `Endpoint`."""

    def __init__(self, data_plane: DataPlane, name: str, settings: ChildSettings) -> None:
        server, version = data_plane._settings, settings.version
        host = f"{called(server.host)}:{server.http_port}"
        path = f"v2/models/{name}{f'/versions/{version}' if version else ''}/infer"
        self.place = ChildAddress(name, f"http://{host}/{path}")
        self._data_plane = data_plane
        self._key = (name, version or None)
        self._headers = {**_HEADERS, "host": host}  # a runtime sees a request over HTTP
        self._limit = AnswerLimit(settings.max_answer_bytes or None)
        self._threads = Threads(f"tempo-{name}", _THREADS, _THREADS, self._hung_changed)
        self._was_ready = True
        self._fast_sklearn = settings.fast_sklearn is not False
        self._arrays: tuple[weakref.ref[MLModel], ArrayCalls] | None = None
        self._known_not_to_await: weakref.ref[MLModel] | None = None

    @property
    def share_left(self) -> float:
        return self._threads.left / self._threads.count

    @property
    def problem(self) -> str | None:
        return None if is_enough(self.share_left) else hanging(self._threads)

    def never_awaits(self) -> bool:
        """Return whether any thread can run a call to its end; False if the model is not ready."""
        if self._data_plane._response_cache is not None:
            return False
        try:
            model = self._find()
        except ModelNotFound:
            return False
        if not model.ready:
            return False
        known = self._known_not_to_await
        if known is not None and known() is model:
            return True
        if not _never_awaits(model):
            return False
        self._known_not_to_await = weakref.ref(model)
        return True

    def answer(self, request: Request, headers: Mapping[str, str]) -> Response:
        """Call a model that never awaits, in this thread."""
        with self._failures():
            response = _alone(self._direct, request)
            if response is None:
                sent = {**headers, **self._headers}
                response = _alone(run_to_end, self._answer(request, sent))
            return self._usable(response)

    async def call(
        self, request: Request, seconds: float | None, headers: Mapping[str, str], *, fresh: bool
    ) -> Response:
        """See `Endpoint.call`."""
        if self.never_awaits():
            return await self._threads.run(seconds, self.answer, request, headers)
        # The model belongs to this loop, and may expect plain lists.
        payload = InferenceRequest.model_validate(orjson.loads(request_to_json(request)))
        insert_headers(payload, {**headers, **self._headers})
        task = _alone(asyncio.ensure_future, self._data_plane.infer(payload, *self._key))
        try:
            # A child pipeline has the same deadline, but the caller is to say that it is late.
            timeout = None if seconds is None else max(0.0, seconds - _EARLIER)
            await asyncio.wait((task,), timeout=timeout)
            if not task.done():
                raise Elapsed
            if task.cancelled():  # by the model itself, and not because this request is over
                logger.error("model %r cancelled a call", self.place.model)
                raise self.place.by_status(500, "")
            with self._failures():
                return self._usable(_response(task.result()))
        finally:
            task.cancel()

    async def close(self) -> None:
        """See `Endpoint.close`."""
        self._threads.close()

    async def _answer(self, request: Request, headers: Mapping[str, str]) -> Response:
        """Do as `DataPlane.infer` does, but with arrays only where the answer is the same."""
        async with self._data_plane._infer_contextmanager(*self._key) as model:
            arrays = self._arrays_of(model)
            direct = arrays.answer(request) if arrays.takes(request) else None
            if direct is not None:
                return direct
            payload = self._data_plane._prepare_payload(runtime_request(request, headers), model)
            response = _response(await model.predict(payload))
            arrays.learn(request, response)
            return response

    def _direct(self, request: Request) -> Response | None:
        """Do the same in less time for a model that is ready and takes arrays; None if it must do it."""
        if self._arrays is None:
            return None
        model, arrays = self._arrays[0](), self._arrays[1]
        if model is None or model is not self._find() or not model.ready:
            return None
        if not arrays.takes(request):
            return None
        begin = default_timer()
        try:
            response = arrays.answer(request)
        except Exception:
            self._failed.inc()
            self._seconds.observe(default_timer() - begin)
            raise
        if response is not None:
            self._succeeded.inc()
            self._seconds.observe(default_timer() - begin)
        return response

    def _find(self) -> MLModel:
        return run_to_end(self._data_plane._model_registry.get_model(*self._key))

    # The data plane's own metrics, which it has created for the model in the call before.

    @cached_property
    def _seconds(self) -> Any:
        return self._metric(self._data_plane._ModelInferRequestDuration)

    @cached_property
    def _succeeded(self) -> Any:
        return self._metric(self._data_plane._ModelInferRequestSuccess)

    @cached_property
    def _failed(self) -> Any:
        return self._metric(self._data_plane._ModelInferRequestFailure)

    def _metric(self, metric: Any) -> Any:
        name, version = self._key
        return metric.labels(model=name, version=version)

    def _arrays_of(self, model: MLModel) -> ArrayCalls:
        known = self._arrays
        if known is None or known[0]() is not model:
            implementation = model.settings.implementation_
            fast = None
            if self._fast_sklearn and implementation == _SKLEARN:
                fast = _FAST_MODELS.of(model)
            # By weak references: an unloaded model is not kept until the next call.
            calls = ArrayCalls(weakref.proxy(model), implementation, fast)
            known = self._arrays = weakref.ref(model), calls
        return known[1]

    def _usable(self, response: Response) -> Response:
        self._limit.check(sum(map(_shortest_json, response.tensors)))
        response.url = self.place.url
        return response

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except MLServerError as error:
            status, (text, info) = error.status_code, unmarked(str(error))
            if info is not None and info.status == status:
                raise self.place.passed_up(info, text) from None
            raise self.place.by_status(status, text[:EXCERPT]) from None
        except PayloadError as error:
            raise self.place.unusable(error) from error
        except Exception as error:
            logger.error("model %r failed", self.place.model, exc_info=error)
            text = f"{type(error).__name__}: {error}"
            raise self.place.by_status(500, text[:EXCERPT]) from None

    def _hung_changed(self) -> None:
        owner = f"child {self.place.model!r} on this server"
        self._was_ready = log_readiness(owner, self._threads, self._was_ready)


class _FastModels:
    """Fast versions of the models of MLServer's own runtime, each proved once for all its callers.

    The models stay as they are, because others call them as well, and a child may have
    `fast_sklearn: false`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: weakref.WeakKeyDictionary[Any, FastModel | None] = weakref.WeakKeyDictionary()

    def of(self, runtime: MLModel) -> FastModel | None:
        """Return the fast version of a runtime's model; None if only scikit-learn can compute it."""
        model = runtime._model
        with self._lock:
            try:
                return self._known[model]
            except KeyError:
                pass
            except TypeError:  # it cannot be a key, so it is not scikit-learn's
                return None
            fast, how = None, FAST
            try:
                fast = proved(model)
            except NoFastPath as reason:
                how = f"computed by scikit-learn: {reason}"
            self._known[model] = fast
        _server_logger.info("model %r, called on its own server, is %s", runtime.name, how)
        return fast


_FAST_MODELS = _FastModels()


def _response(answer: InferenceResponse) -> Response:
    extract_headers(answer)  # MLServer's middlewares set them; over HTTP they are not in the body
    tensors = handed_over([from_mlserver(output) for output in answer.outputs])
    return Response(tensors, mlserver_parameters(answer.parameters))


def _alone(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function without the caller's context variables, which would not cross a connection."""
    return Context().run(function, *arguments)


def _never_awaits(model: MLModel) -> bool:
    if isinstance(model, ParallelModel):
        return False
    if model.settings.implementation_ == declaration.WITH_CODE:
        model = model._model
    return never_awaits(model)


def _shortest_json(tensor: Tensor) -> int:
    """Return a number of bytes that the JSON of a tensor exceeds."""
    if tensor.datatype == BYTES:
        return sum(len(item) for item in tensor.data if isinstance(item, str | bytes))
    return prod(tensor.shape)
