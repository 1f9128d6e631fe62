"""MLServer's runtime class for pipelines."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import orjson
from mlserver import MLModel, ModelSettings
from mlserver.errors import MLServerError
from mlserver.handlers import DataPlane
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    MetadataTensor,
    Parameters,
    RequestInput,
)
from mlserver.utils import get_model_uri

from tempo_runtime.artifact import declaration, interface, store, topology, trust, verification
from tempo_runtime.artifact.environment import unpacking
from tempo_runtime.errors import (
    ArtifactMissing,
    PayloadError,
    PipelineFailed,
    SettingsError,
    TempoError,
)
from tempo_runtime.execution.graph import reading
from tempo_runtime.execution.graph.nodes import Node
from tempo_runtime.execution.live_state import LiveState
from tempo_runtime.execution.loading import LoadedPipeline
from tempo_runtime.execution.runner import Progress, is_enough, not_loaded
from tempo_runtime.protocol.binary import AskedOutputs
from tempo_runtime.protocol.binding import decode_arguments, encode_results, undeclared
from tempo_runtime.protocol.messages import (
    Request,
    Response,
    from_mlserver,
    mlserver_parameters,
    to_mlserver_arrays,
    to_mlserver_output,
)
from tempo_runtime.protocol.openapi import DescribedPipeline
from tempo_runtime.protocol.plain import PlainCall, read_arguments, write_result
from tempo_runtime.protocol.signature import Signature
from tempo_runtime.protocol.sizes import LARGE_BYTES, DecodingLimits, convert, is_large
from tempo_runtime.protocol.tensor import Tensor
from tempo_runtime.request import context
from tempo_runtime.request.budget import (
    ALLOW_INCOMPLETE_ANCHORS,
    BEST_SO_FAR,
    MAX_CALLS,
    MAX_ROWS,
    RequestBudget,
)
from tempo_runtime.request.context import SEED, TAGGED, TIMEOUT, Origin
from tempo_runtime.request.current import new_id
from tempo_runtime.request.portal import Portal
from tempo_runtime.request.timing import Elapsed, within
from tempo_runtime.runtime import (
    binary_http,
    drain,
    error_mapping,
    own_task,
    parallel,
    readiness,
    rest_server,
)
from tempo_runtime.runtime.answer_body import Body, answer_body
from tempo_runtime.runtime.error_mapping import (
    answered,
    as_mlserver_error,
    over_http,
    stream_error,
)
from tempo_runtime.runtime.own_task import in_own_task
from tempo_runtime.runtime.tracing import PipelineTracing, server_tracer
from tempo_runtime.runtime.worker_streams import Chunk, WorkerStreams
from tempo_runtime.settings import ENV_PREFIX, PipelineSettings, check_children, drain_timeout

if TYPE_CHECKING:
    from tempo_runtime.authoring.models import Pipeline
    from tempo_runtime.runtime.recorder import NotedRequest, Recorder

_LIMITS = frozenset((TIMEOUT, SEED, MAX_CALLS, MAX_ROWS, ALLOW_INCOMPLETE_ANCHORS, BEST_SO_FAR))
_RESERVED = frozenset(("content_type", "headers", TAGGED, binary_http.ARRAYS, *_LIMITS))
T = TypeVar("T")
_NOTHING = nullcontext()
logger = logging.getLogger(__name__)


class TempoPipelineRuntime(MLModel):
    """Serves the pipeline of an artifact.

    In model-settings.json, set `"implementation": "tempo_runtime.TempoPipelineRuntime"`,
    `parameters.uri` to the artifact's folder, and `parameters.extra` to the settings
    (`tempo_runtime.settings`). Every error is raised as one of MLServer's, with the status in
    `tempo_runtime.errors`.

    Attributes:
        data_plane: What answers requests for all models of the server; None in a parallel worker.
    """

    data_plane: DataPlane | None = None
    _is_loaded = False
    _service: LoadedPipeline | None = None
    _recorder: Recorder | None = None
    _pipeline_settings: PipelineSettings
    _decoding: DecodingLimits
    _interface: DescribedPipeline
    _read_graph: Callable[[], Node]
    _graph: Node | None = None

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self._streams = WorkerStreams()
        # The main process of a server with workers needs these as well, although it loads nothing.
        error_mapping.install()
        parallel.install()
        own_task.install()
        readiness.install()
        rest_server.install()
        drain.watch(drain_timeout(settings.parameters.extra if settings.parameters else None))

    @property
    def ready(self) -> bool:
        """Whether the pipeline is loaded and has enough free threads."""
        return self._is_loaded and (self._service is None or is_enough(self._service.share_left))

    @ready.setter
    def ready(self, loaded: bool) -> None:
        self._is_loaded = loaded

    @property
    def is_state_away(self) -> bool:
        """Whether the pipeline needs a state that is away: it is not ready, but answers requests."""
        return self._service is not None and self._service.is_state_away

    async def condition(self) -> parallel.Condition:
        """Return the share of free threads, and `is_state_away`; the main process asks its workers."""
        return (1.0 if self._service is None else self._service.share_left), self.is_state_away

    async def check_workers(self, count: int) -> None:
        """Refuse to load in several workers a pipeline whose state they could not share.

        Raises:
            MLServerError: If the pipeline, or a child in its process, has its state in memory.
        """
        if count < 2:
            return
        try:
            folder = await self._folder()
            if names := await asyncio.to_thread(topology.states_in_memory, folder):
                raise SettingsError(
                    f"the state of pipeline {', '.join(map(repr, names))} is in the memory of one "
                    f"process, and each of {count} workers would have another; set "
                    f"{ENV_PREFIX}STATE__URL to a Redis, or parallel_workers to 0 or 1"
                )
        except TempoError as error:
            raise as_mlserver_error(error) from error

    async def described(self) -> DescribedPipeline:
        """Return what its OpenAPI document says; the main process asks its workers."""
        return self._interface

    async def live(self) -> tuple[Node, LiveState]:
        """Return what the pipeline calls, and its state now; the main process asks its workers.

        Raises:
            MLServerError: If it is not loaded.
        """
        try:
            service = self._loaded()
        except TempoError as error:
            raise as_mlserver_error(error) from error
        if self._graph is None:
            self._graph = await asyncio.to_thread(self._read_graph)
        await service.ask_servers()
        return self._graph, service.live

    async def load(self) -> bool:
        """Load the artifact and connect its children, without calling them."""
        try:
            self._refuse_unsafe_settings()
            folder = await self._folder()
            portal = Portal(asyncio.get_running_loop())
            # At its start MLServer loads all models at the same time, most of them without awaiting. Two
            # threads that import parts of one library can find half of it, so these models go first.
            await asyncio.sleep(0)
            # Unpickling imports libraries and reads models, for seconds: not on the loop.
            self._service = await asyncio.to_thread(self._assemble, folder, portal)
        except TempoError as error:
            if isinstance(error, PipelineFailed) and error.__cause__ is not None:
                logger.error("pipeline %r cannot be loaded", self.name, exc_info=error.__cause__)
                raise as_mlserver_error(error) from None
            raise as_mlserver_error(error) from error
        metadata = declaration.metadata(self._service.runner.pipeline.signature)
        self.inputs = [MetadataTensor(**tensor) for tensor in metadata["inputs"]]
        self.outputs = [MetadataTensor(**tensor) for tensor in metadata["outputs"]]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer one request."""
        parameters = mlserver_parameters(payload.parameters)
        read = partial(self._arguments, payload=payload, parameters=parameters)
        return await self._answered(
            payload.id, parameters, read, partial(self._encoded, parameters)
        )

    async def answer(self, request: Request, asked: AskedOutputs | None = None) -> Body:
        """Answer one request over HTTP that was read without MLServer's types; raise as `predict` does.

        Args:
            request: The request; its tensors are removed, so that they need memory only until they are
                converted to arguments.
            asked: The outputs that it asks for as binary data; None if the client expects JSON, as those
                of tempo 0.5 do.
        """
        parameters = request.parameters

        async def read(service: LoadedPipeline) -> dict[str, Any]:
            tensors, request.tensors = request.tensors, []
            return await self._decoded(service, tensors, parameters)

        def write(service: LoadedPipeline, value: Any) -> Body:
            response = self._results(service, parameters, value, json=asked is None)
            return answer_body(self, request.id, response, asked)

        return await self._answered(request.id, parameters, read, write)

    async def answer_plain(self, call: PlainCall) -> bytes:
        """Answer one call in plain JSON; raise as `predict` does."""
        read = partial(self._plain_arguments, call=call)
        return await self._answered(call.id, call.parameters, read, self._plain_result)

    async def stream_plain(self, call: PlainCall) -> AsyncGenerator[Progress | bytes, None]:
        """Answer one call in plain JSON item by item; raise as `predict` does."""
        read = partial(self._plain_arguments, call=call)
        items = self._items(call.id, call.parameters, read, self._plain_result)
        async with aclosing(items):
            async for item in items:
                yield item

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncGenerator[InferenceResponse, None]:
        """Answer each request with the items that its predict method yields."""
        async with aclosing(in_own_task(self._stream(payloads))) as responses:
            async for response in responses:
                yield response

    async def stream(self, payload: InferenceRequest) -> AsyncGenerator[InferenceResponse, None]:
        """Answer one request with the items that its predict method yields; for the main process."""

        async def payloads() -> AsyncGenerator[InferenceRequest, None]:
            yield payload

        async with aclosing(self.predict_stream(payloads())) as responses:
            async for response in responses:
                yield response

    async def read_stream(self, stream: str, method: str = "", request: Any = None) -> Chunk:
        """Return the next items of a stream in this worker; the main process asks for them.

        Args:
            stream: Its id.
            method: Name of the method that makes a new stream; empty if it was read before.
            request: The argument of this method.
        """
        items = getattr(self, method)(request) if method else None
        return await self._streams.read(stream, items)

    async def close_stream(self, stream: str) -> None:
        """End a stream in this worker, whose client has left."""
        await self._streams.close(stream)

    async def unload(self) -> bool:
        """Let running requests finish, and release everything; safe after a failed load."""
        service, self._service = self._service, None
        if service is not None:
            await service.close()
        await self._streams.close_all()
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            await asyncio.to_thread(recorder.close)
        return True

    def _assemble(self, folder: str, portal: Portal) -> LoadedPipeline:
        parameters = self.settings.parameters
        extra = (parameters.extra if parameters else None) or {}
        settings = PipelineSettings.read(extra)
        demands = trust.TrustPolicy.of_environment().and_(trust.TrustPolicy.of_settings(extra))
        opened = store.verify_folder(folder, demands)
        if demands.is_external:
            stated = PipelineSettings.read(extra, {}).models
            verification.refuse_unsigned_settings(folder, stated)
        check_children(extra, list(opened.description.children))
        tarball = parameters.environment_tarball if parameters else None
        unpacking.settle(opened.folder, opened.description, tarball)
        with context.loading():  # the author's modules may call models during import
            pipeline, _ = store.unpickle(opened)
        self._pipeline_settings = settings
        self._read_graph = partial(reading.of_loaded, opened.origin, opened.description, settings)
        self._decoding = settings.decoding
        self._interface = interface.described(opened.folder, opened.description, self.name)
        recorder = self._recorder = self._make_recorder(pipeline, settings)
        try:
            return LoadedPipeline(
                pipeline,
                settings,
                portal,
                opened.folder,
                data_plane=self.data_plane,
                version=self.version or "",
            )
        except BaseException:
            if recorder is not None:
                recorder.close()
            raise

    def _make_recorder(self, pipeline: Pipeline, settings: PipelineSettings) -> Recorder | None:
        insights = settings.insights_of(pipeline.details.insights)
        form = settings.access_log
        tracing = self._tracing(settings)
        if insights is None and form == "off" and tracing is None:
            return None
        # Imported here, because few pipelines need them.
        from tempo_runtime.runtime.recorder import Recorder

        access = log = None
        if form != "off":
            from tempo_runtime.runtime.access_log import AccessLog

            access = AccessLog(self.name, self.version, form)
        if insights is not None:
            from tempo_runtime.insights.request_log import RequestLog

            log = RequestLog(self.name, self.version, insights, pipeline.signature.streams)
        return Recorder(access, log, tracing)

    def _tracing(self, settings: PipelineSettings) -> PipelineTracing | None:
        tracer = server_tracer(self.data_plane)
        if tracer is None:
            return None
        return PipelineTracing(tracer, self.name, self.version, settings.max_traced_calls)

    async def _folder(self) -> str:
        try:
            folder: str = await get_model_uri(self.settings)
            return folder
        except MLServerError as error:
            raise ArtifactMissing(
                f"{error}; set parameters.uri in model-settings.json to the artifact's folder"
            ) from error

    def _refuse_unsafe_settings(self) -> None:
        settings = self.settings
        if settings.max_batch_size > 1 and settings.max_batch_time > 0:
            raise SettingsError(
                "adaptive batching (max_batch_size, max_batch_time) merges requests, but the arguments "
                "and parameters of a pipeline belong to one request; remove both settings, and use "
                "`batching` of the pipeline, which puts together only requests that fit"
            )
        if settings.cache_enabled:
            raise SettingsError(
                "the response cache (cache_enabled) uses the same keys for all models of a server, and "
                "does not notice when the answers of a pipeline's children change; remove the setting"
            )

    def _loaded(self) -> LoadedPipeline:
        if self._service is None:
            raise not_loaded(self.name)
        return self._service

    async def _answered(
        self,
        id_: str | None,
        parameters: dict[str, Any],
        read: Callable[[LoadedPipeline], Awaitable[dict[str, Any]]],
        write: Callable[[LoadedPipeline, Any], T],
    ) -> T:
        """Answer one request of any form.

        Args:
            id_: Its id.
            parameters: Its parameters.
            read: Reads its arguments.
            write: Converts its result; in a thread, if it is large.
        """
        if self._recorder is not None:
            return await self._noted(id_ or new_id(), parameters, read, write, self._recorder)
        try:
            service = self._loaded()
            with self._serving(id_, parameters):
                value = await service.run(await read(service))
                return await _convert(is_large(value), write, service, value)
        except Exception as error:
            raise answered(error, self.name, parameters) from None

    async def _noted(
        self,
        id_: str,
        parameters: dict[str, Any],
        read: Callable[[LoadedPipeline], Awaitable[dict[str, Any]]],
        write: Callable[[LoadedPipeline, Any], T],
        recorder: Recorder,
    ) -> T:
        """Answer one request, and note it."""
        noted = recorder.begin(id_, parameters.get("headers") or {})
        # Until its own is read: a request that is refused before must not wait for the sink forever.
        noted.deadline = time.monotonic() + self._pipeline_settings.timeout
        try:
            service = self._loaded()
            with self._serving(id_, parameters, noted) as request, noted.entered():
                noted.deadline = request.deadline
                arguments = await read(service)
                noted.arguments(arguments)
                value = await service.run(arguments)
                written = await _convert(is_large(value), write, service, value)
                if noted.answered(value):
                    await noted.audited()
                return written
        except asyncio.CancelledError:
            noted.cancelled()
            raise
        except Exception as error:
            failure = answered(error, self.name, parameters)
            instead = await noted.failed(error, failure)
            if instead is not None:
                failure = answered(instead, self.name, parameters)
            raise failure from None

    async def _items(
        self,
        id_: str | None,
        parameters: dict[str, Any],
        read: Callable[[LoadedPipeline], Awaitable[dict[str, Any]]],
        write: Callable[[LoadedPipeline, Any], T],
    ) -> AsyncGenerator[Progress | T, None]:
        """Answer one request item by item; see `_answered`."""
        id_ = id_ or new_id()  # a stream may not have one
        if self._recorder is not None and self._recorder.audits:
            # A pipeline that streams cannot be audited, so this is one answer, which waits for the sink.
            yield await self._noted(id_, parameters, read, write, self._recorder)
            return
        noted = None
        if self._recorder is not None:
            noted = self._recorder.begin(id_, parameters.get("headers") or {})
        try:
            service = self._loaded()
            entered = _NOTHING if noted is None else noted.entered()
            with self._serving(id_, parameters, noted), entered:
                arguments = await read(service)
                if noted is not None:
                    noted.arguments(arguments)
                async with aclosing(service.runner.stream(arguments)) as items:
                    async for item in items:
                        if isinstance(item, Progress):
                            yield item
                            continue
                        written = await _convert(is_large(item), write, service, item)
                        if noted is not None:
                            noted.item(item)
                        yield written
            if noted is not None:
                noted.streamed()
        except (asyncio.CancelledError, GeneratorExit):
            if noted is not None:
                noted.cancelled()
            raise
        except Exception as error:
            failure = answered(error, self.name, parameters)
            if noted is not None:
                await noted.failed(error, failure)
            raise failure from None

    async def _plain_arguments(self, service: LoadedPipeline, call: PlainCall) -> dict[str, Any]:
        body, call.body = call.body, b""
        signature = service.runner.pipeline.signature
        large = len(body) > LARGE_BYTES
        return await _convert(large, read_arguments, signature, body, self._decoding)

    def _plain_result(self, service: LoadedPipeline, value: Any) -> bytes:
        try:
            return write_result(service.runner.pipeline.signature, value)
        except PayloadError as error:
            raise undeclared(self.name, error) from error

    def _serving(
        self,
        id_: str | None,
        parameters: dict[str, Any],
        noted: NotedRequest | None = None,
    ) -> context.serving:
        settings = self._pipeline_settings
        trace = None if noted is None else noted.trace
        headers = parameters.get("headers") or {}
        origin = Origin(self.name, self.version, headers, settings.request_headers)
        if _LIMITS.isdisjoint(parameters):
            return context.serving(
                settings.timeout,
                headers,
                None,
                id_ or new_id(),
                settings.forward_headers,
                RequestBudget(
                    settings.max_calls, settings.max_rows, settings.allow_incomplete_anchors
                ),
                origin,
                noted,
                trace,
            )
        budget = _number(parameters, TIMEOUT, float)
        if budget is not None and not budget > 0:
            raise PayloadError(
                f"parameter {TIMEOUT!r} is {budget:g}, and must be a number of seconds above 0"
            )
        return context.serving(
            settings.timeout if budget is None else min(budget, settings.timeout),
            headers,
            _number(parameters, SEED, int),
            id_ or new_id(),  # a stream may not have one
            settings.forward_headers,
            RequestBudget(
                _lower(settings.max_calls, _number(parameters, MAX_CALLS, int)),
                _lower(settings.max_rows, _number(parameters, MAX_ROWS, int)),
                _flag(
                    parameters,
                    ALLOW_INCOMPLETE_ANCHORS,
                    _flag(parameters, BEST_SO_FAR, settings.allow_incomplete_anchors),
                ),
            ),
            origin,
            noted,
            trace,
        )

    async def _arguments(
        self, service: LoadedPipeline, payload: InferenceRequest, parameters: dict[str, Any]
    ) -> dict[str, Any]:
        if not over_http(parameters):
            _refuse_lost(payload)
        return await self._decoded(service, payload.inputs, parameters)

    async def _decoded(
        self,
        service: LoadedPipeline,
        inputs: Sequence[RequestInput | Tensor],
        parameters: dict[str, Any],
    ) -> dict[str, Any]:
        decoding = self._decoding
        decoding.check_count(len(inputs))
        small = {name: value for name, value in parameters.items() if name not in _RESERVED}
        signature = service.runner.pipeline.signature
        packed = bool(inputs) and all(map(_is_packed, inputs))
        large = is_large(small) if packed else _is_large(parameters, inputs, small)
        return await _convert(large, _decode, signature, inputs, small, decoding)

    def _encoded(
        self, parameters: dict[str, Any], service: LoadedPipeline, value: Any
    ) -> InferenceResponse:
        arrays = binary_http.answers_arrays(parameters)
        json = over_http(parameters) and not arrays
        response = self._results(service, parameters, value, json=json)
        outputs = (
            [to_mlserver_arrays(tensor) for tensor in response.tensors]
            if arrays
            else [to_mlserver_output(tensor, json=json) for tensor in response.tensors]
        )
        return InferenceResponse(
            model_name=self.name,
            model_version=self.version,
            outputs=outputs,
            parameters=Parameters(**response.parameters) if response.parameters else None,
        )

    def _results(
        self, service: LoadedPipeline, parameters: dict[str, Any], value: Any, *, json: bool
    ) -> Response:
        try:
            tensors, content_type = encode_results(
                service.runner.pipeline.signature,
                value,
                tempo_0_5=json and self._pipeline_settings.tempo_0_5_clients,
                tagged=parameters.get(TAGGED) is True,
            )
        except PayloadError as error:
            raise undeclared(self.name, error) from error
        return Response(tensors, {} if content_type is None else {"content_type": content_type})

    def _progress(self, parameters: dict[str, Any], item: Progress) -> InferenceResponse:
        progress: dict[str, Any] = {"progress": True, "calls": item.calls, "rows": item.rows}
        for name, value in item.news.items():
            # gRPC's parameters are booleans, integers or text.
            progress[name] = value if over_http(parameters) else orjson.dumps(value).decode()
        return InferenceResponse(
            model_name=self.name, outputs=[], parameters=Parameters(**progress)
        )

    async def _stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncGenerator[InferenceResponse, None]:
        async for payload in payloads:
            parameters = mlserver_parameters(payload.parameters)
            read = partial(self._arguments, payload=payload, parameters=parameters)
            items = self._items(payload.id, parameters, read, partial(self._encoded, parameters))
            try:
                async with aclosing(items):
                    async for item in items:
                        yield (
                            self._progress(parameters, item) if isinstance(item, Progress) else item
                        )
            except MLServerError as failure:
                if not over_http(parameters):
                    raise
                yield stream_error(self.name, failure)


def _decode(
    signature: Signature,
    inputs: Sequence[RequestInput | Tensor],
    parameters: dict[str, Any],
    limits: DecodingLimits,
) -> dict[str, Any]:
    tensors = [item if isinstance(item, Tensor) else from_mlserver(item) for item in inputs]
    return decode_arguments(signature, tensors, parameters, limits)


def _is_packed(item: RequestInput | Tensor) -> bool:
    """Return whether a tensor is an array already, of which little is left to convert."""
    return isinstance(item, Tensor) and isinstance(item.data, np.ndarray)


def _is_large(parameters: dict[str, Any], *parts: Any) -> bool:
    """Return whether a request is large, by its Content-Length if it has one."""
    headers = parameters.get("headers") or {}
    length = headers.get("content-length")
    if isinstance(length, str) and length.isdecimal() and "content-encoding" not in headers:
        return len(length) > 18 or int(length) > LARGE_BYTES
    return is_large(*parts)


async def _convert(large: bool, function: Callable[..., T], *arguments: Any) -> T:
    """Run a conversion, in a thread if it is large, within the request's time."""
    if not large:
        return function(*arguments)
    current = context.current()
    try:
        return await within(current.remaining(), convert(large, function, *arguments))
    except Elapsed:
        raise current.exceeded() from None


def _refuse_lost(payload: InferenceRequest) -> None:
    """Refuse parameters whose values are lost, because MLServer's gRPC does not have their type."""
    given = (payload.parameters.model_extra if payload.parameters else None) or {}
    lost = [name for name, value in given.items() if value is None]
    if lost:
        raise PayloadError(
            f"parameter {lost[0]!r} arrived without a value: parameters over gRPC must be booleans, "
            "integers or text; send it as text, or as a tensor"
        )


def _lower(setting: int | None, requested: int | None) -> int | None:
    """Return the lower of two limits, either of which may be missing."""
    limits = [limit for limit in (setting, requested) if limit is not None]
    return min(limits, default=None)


def _flag(parameters: dict[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise PayloadError(f"parameter {name!r} is {value!r:.80}, and must be true or false")
    return value


def _number(parameters: dict[str, Any], name: str, number_type: type) -> Any:
    """Return a number in the request's parameters; text as well, because gRPC does not have floats."""
    value = parameters.get(name)
    if value is None:
        return None
    try:
        if isinstance(value, bool):
            raise ValueError(value)
        number = number_type(value)
        if number_type is int and not 0 <= number < 2**32:
            raise ValueError(value)
        return number
    except (TypeError, ValueError) as error:
        expected = (
            "a number of seconds" if number_type is float else "a whole number from 0 to 4294967295"
        )
        raise PayloadError(
            f"parameter {name!r} is {value!r:.80}, and must be {expected}"
        ) from error
