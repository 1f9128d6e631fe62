"""Transports to children in this process: MLServer runtimes and other pipelines.

Both are called with tensors, as over a network, so that calls behave the same on each transport. Arrays
are copied, so that neither side sees changes of the other.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import TimeoutError as NotInTime
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tempo_runtime._util.private_copies import PrivateCopy
from tempo_runtime.artifact import importing
from tempo_runtime.artifact.verification import refuse_outside
from tempo_runtime.authoring.details import ModelDetails, ModelFramework
from tempo_runtime.clients.deadline import CallDeadline
from tempo_runtime.clients.failures import ChildAddress, passed_up, refusal
from tempo_runtime.errors import (
    ChildUnavailable,
    PayloadError,
    SettingsError,
    TempoError,
)
from tempo_runtime.execution import frameworks, shared_runtimes
from tempo_runtime.execution.live_state import LiveState
from tempo_runtime.execution.runner import Runner, hanging, is_enough, log_readiness
from tempo_runtime.execution.sklearn_fast.base import NoFastPath
from tempo_runtime.execution.threads import Threads
from tempo_runtime.protocol.binding import (
    decode_arguments,
    encode_results,
    handed_over,
    undeclared,
)
from tempo_runtime.protocol.messages import (
    Request,
    Response,
    from_mlserver,
    mlserver_parameters,
    to_mlserver_request,
)
from tempo_runtime.protocol.sizes import DecodingLimits, convert, is_large
from tempo_runtime.protocol.tensor import BYTES, Tensor
from tempo_runtime.request import context
from tempo_runtime.request.context import Origin
from tempo_runtime.request.timing import Elapsed, within

if TYPE_CHECKING:
    from mlserver import ModelSettings
    from mlserver.types import InferenceRequest

# MLServer shows this logger's information, but only warnings of others.
logger = logging.getLogger("mlserver")
_SETTINGS = "model-settings.json"
_THREADS = 8  # for calls of an async pipeline


class RuntimeTransport:
    """Calls an MLServer runtime in this process.

    Args:
        details: Details of the child.
        folder: Folder of its artifact.
        implementation: Its runtime class; None for the class in its settings, or that of its framework.
        timeout: Seconds that a call may take. In a sync pipeline, a runtime that never awaits runs in the
            pipeline's thread, and is not interrupted.
        fast: Whether to compute a scikit-learn model in less time; None if it can be.
        code: The pipeline's code, which unpickles the model.
        copy: The private copy that the folder belongs to, if any.

    Raises:
        SettingsError: If its runtime class is unknown, or the model must be computed in less time and
            cannot be.
        ChildUnavailable: If the model cannot be loaded.
    """

    def __init__(
        self,
        details: ModelDetails,
        folder: str,
        implementation: str | None,
        timeout: float | None = None,
        fast: bool | None = None,
        code: importing.Modules | None = None,
        copy: PrivateCopy | None = None,
    ) -> None:
        self.tagged = False
        self._copy = copy
        self._name = details.name
        self._place = ChildAddress(details.name, folder if copy is None else copy.origin)
        self._timeout = timeout
        self._shared: shared_runtimes.Shared | None = _load(
            details, folder, implementation, fast, code, copy
        )
        self._runtime = self._shared.runtime
        if self.evaluation:
            logger.info("child %r in this process is %s", details.name, self.evaluation)
        self._threads = Threads(f"tempo-{details.name}", _THREADS, _THREADS, self._hung_changed)
        self._was_ready = True

    @property
    def evaluation(self) -> str:
        """How a scikit-learn model is computed, and why; empty for others."""
        return self._runtime.evaluation

    @property
    def share_left(self) -> float:
        """The share of threads that are free to work, from 0 to 1; the others hang."""
        return self._threads.left / self._threads.count

    @property
    def live(self) -> LiveState:
        """Its state now."""
        ready = is_enough(self.share_left)
        return LiveState(ready, None if ready else hanging(self._threads))

    async def infer(self, request: Request) -> Response:
        """See `Transport.infer`."""
        clock = CallDeadline(context.current(), self._timeout)
        try:
            if self._runtime.never_awaits:
                run = copy_context().run
                return await self._threads.run(clock.left(), run, self.infer_blocking, request)
            answer = self._runtime.start(self._infer(runtime_request(request)))
            return await within(clock.left(), asyncio.wrap_future(answer))
        except Elapsed:
            raise clock.ended(self._place) from None

    def infer_blocking(self, request: Request) -> Response:
        """See `Transport.infer_blocking`."""
        if self._runtime.never_awaits:
            context.current().remaining()
            return self._infer_here(request)
        clock = CallDeadline(context.current(), self._timeout)
        answer = self._runtime.start(self._infer(runtime_request(request)))
        try:
            return answer.result(clock.left())
        except NotInTime:
            answer.cancel()
            raise clock.ended(self._place) from None

    async def close(self) -> None:
        """Unload the runtime, if no other child uses it."""
        self._threads.close()
        shared, self._shared = self._shared, None
        if shared is not None:
            await shared_runtimes.release(shared)
        self._copy = None

    def _hung_changed(self) -> None:
        owner = f"child {self._name!r} in this process"
        self._was_ready = log_readiness(owner, self._threads, self._was_ready)

    def _infer_here(self, request: Request) -> Response:
        """Call a runtime that never awaits, in this thread."""
        arrays = self._runtime.arrays
        if arrays.takes(request):
            try:
                direct = arrays.answer(request)
            except TempoError:
                raise
            except Exception as error:
                raise self._raised(error) from error
            if direct is not None:
                return direct
        response = self._runtime.run(self._infer(runtime_request(request)))
        arrays.learn(request, response)
        return response

    async def _infer(self, payload: InferenceRequest) -> Response:
        try:
            answer = await self._runtime.predict(payload)
            return Response(
                handed_over([from_mlserver(output) for output in answer.outputs]),
                mlserver_parameters(answer.parameters),
            )
        except TempoError:
            raise
        except Exception as error:
            raise self._raised(error) from error

    def _raised(self, error: Exception) -> TempoError:
        """Return the error for an exception of the runtime, which names the child."""
        text = f"child {self._name!r} in this process raised {_reason(error)}"
        # MLServer's own errors carry the status of their answer.
        return refusal(text, getattr(error, "status_code", None), self._name)


class PipelineTransport:
    """Calls another pipeline in this process.

    Args:
        runner: The runner of the pipeline.
        decoding: Limits for decoding its requests.
        child: Its name, for errors; None if no other pipeline calls it.
        run: Runs a request, instead of `runner.run`.
        request_headers: Headers that its code may see, of those that its caller forwards.
    """

    def __init__(
        self,
        runner: Runner,
        decoding: DecodingLimits,
        child: str | None = None,
        run: Callable[[dict[str, Any]], Awaitable[Any]] | None = None,
        request_headers: tuple[str, ...] = (),
    ) -> None:
        self.tagged = True
        self._runner = runner
        self._run = run or runner.run
        self._decoding = decoding
        self._child = child
        self._request_headers = request_headers
        self._signature = runner.pipeline.signature

    async def infer(self, request: Request) -> Response:
        """See `Transport.infer`."""
        with self._named():
            large = is_large(request.tensors)
            value = await self._run(await convert(large, self._arguments, request))
            return await convert(is_large(value), self._response, value)

    def infer_blocking(self, request: Request) -> Response:
        """See `Transport.infer_blocking`."""
        with self._named():
            return self._response(self._runner.run_blocking(self._arguments(request)))

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Run a child in its own view of the request, and make its errors those of its caller."""
        if self._child is None:
            yield
            return
        current = context.current()
        trace = current.trace
        if trace is not None:
            trace = trace.below(f"pipeline {self._child}", {"tempo.pipeline": self._child})
        if current.origin is not None:
            # Over a network the child would receive only these headers.
            origin = Origin(self._child, None, current.headers, self._request_headers)
            insights = self._runner.pipeline.details.insights
            redact = () if insights is None else insights.redact
            record = None if current.record is None else current.record.inside(redact)
            current = replace(current, origin=origin, record=record)
        try:
            with context.entered(current):
                if trace is None:
                    yield
                else:
                    with context.entered(current.traced(trace)), trace.running():
                        yield
        except Exception as error:
            raise passed_up(error, self._child) from error.__cause__

    async def close(self) -> None:
        """Close at once: the pipeline that calls this child has no running requests."""
        await self._runner.close(0)

    def _arguments(self, request: Request) -> dict[str, Any]:
        tensors = handed_over(request.tensors)
        return decode_arguments(self._signature, tensors, request.parameters, self._decoding)

    def _response(self, value: Any) -> Response:
        try:
            tensors, content_type = encode_results(self._signature, value, tagged=True)
        except PayloadError as error:
            raise undeclared(self._runner.pipeline.details.name, error) from error
        parameters = {} if content_type is None else {"content_type": content_type}
        return Response(handed_over(tensors), parameters)


def _load(
    details: ModelDetails,
    folder: str,
    implementation: str | None,
    fast: bool | None,
    code: importing.Modules | None,
    copy: PrivateCopy | None = None,
) -> shared_runtimes.Shared:
    origin = folder if copy is None else copy.origin
    failure = f"child {details.name!r} cannot be loaded in this process from {origin}"
    try:
        settings = _model_settings(details, folder, implementation)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{failure}: its {_SETTINGS} is invalid: {_reason(error)}") from error
    if copy is not None:
        refuse_outside(str(settings.parameters.uri), copy.folder, details.name)
    sklearn = frameworks.IMPLEMENTATIONS[ModelFramework.SKLearn]
    if fast and settings.implementation_ != sklearn:
        raise SettingsError(
            f"child {details.name!r}: the setting `fast_sklearn` requires a scikit-learn model that is "
            f"served by {sklearn}, but it is served by {settings.implementation_}; remove the setting"
        )
    try:
        owner = code.name if code is not None else ""
        return importing.run(code, shared_runtimes.acquire, settings, folder, fast, owner)
    except NoFastPath as error:
        raise SettingsError(
            f"child {details.name!r} in {origin} cannot be loaded with `fast_sklearn`: {error}; remove "
            "the setting"
        ) from error
    except Exception as error:
        reason = _reason(error) + _advice(error, settings.implementation_, folder)
        raise ChildUnavailable(
            f"{failure} with {settings.implementation_}: {reason.replace(folder, origin)}",
            model=details.name,
        ) from error


def _model_settings(
    details: ModelDetails, folder: str, implementation: str | None
) -> ModelSettings:
    from mlserver.settings import ModelParameters, ModelSettings

    path = os.path.join(os.path.abspath(folder), _SETTINGS)
    stated = {}
    if implementation is None and os.path.isfile(path):
        with open(path, "rb") as file:
            stated = json.load(file)
        if not isinstance(stated, dict):
            raise ValueError("not a JSON object")
    runtime = implementation or stated.get("implementation")
    runtime = runtime or frameworks.IMPLEMENTATIONS.get(details.platform)
    if runtime is None:
        raise SettingsError(
            f"child {details.name!r} cannot run in this process: there is no known runtime class for "
            f"the framework {details.platform.value!r}; set its `implementation` to an MLServer runtime "
            "class, or set its `url`"
        )
    # With `_source`, MLServer imports code from the folder, as it does when it serves the model itself.
    settings = ModelSettings.model_validate(
        {"name": details.name, **stated, "implementation": runtime, "_source": path}
    )
    # MLServer takes missing parameters from MLSERVER_MODEL_URI and similar variables. In a server these
    # are for its own model, the pipeline.
    parameters = stated.get("parameters") or {}
    uri = parameters.get("uri") or "."
    if not urlsplit(uri).scheme:
        uri = os.path.normpath(os.path.join(os.path.dirname(path), uri))
    settings.parameters = ModelParameters.model_construct(**{**parameters, "uri": uri})
    return settings


def runtime_request(request: Request, headers: Mapping[str, str] | None = None) -> InferenceRequest:
    """Return a request as MLServer gives it to a runtime, with copies of arrays instead of lists.

    The headers are by default those that the current request passes on.
    """
    tensors = [
        _text(tensor) if tensor.datatype == BYTES else tensor
        for tensor in handed_over(request.tensors)
    ]
    payload = to_mlserver_request(replace(request, tensors=tensors))
    headers = context.current().headers if headers is None else headers
    if headers:
        payload.parameters.headers = dict(headers)
    return payload


def _text(tensor: Tensor) -> Tensor:
    """Return a `BYTES` tensor in the form that MLServer reads from JSON: its array codecs expect that."""
    elements = [item.decode() if isinstance(item, bytes) else item for item in tensor.data]
    return replace(tensor, data=elements)


def _reason(error: Exception) -> str:
    """Describe an exception, without the C++ frames that XGBoost prints."""
    text = str(error).partition("Stack trace:")[0].strip()
    return f"{type(error).__name__}: {text}{frameworks.hint(error)}"


def _advice(error: Exception, implementation: str, folder: str) -> str:
    module = implementation.partition(".")[0]
    missing = isinstance(error, ModuleNotFoundError) and error.name == module
    command = frameworks.installing(implementation)
    if missing and command:
        return f"; {command}"
    file = frameworks.missing_file(implementation, folder)
    return f"; {file}" if file else ""
