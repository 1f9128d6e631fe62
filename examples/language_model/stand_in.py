"""A server that speaks Triton's side of V2, over HTTP and gRPC, as strictly as Triton does.

It stands in for Triton where there is no container engine, or no time to download its image. Its models
are Python functions over arrays. It converts nothing, and refuses with Triton's own words.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from aiohttp import web
from mlserver.grpc import dataplane_pb2 as pb

HOST = "127.0.0.1"
LENGTH = "Inference-Header-Content-Length"
SIZE = "binary_data_size"
DTYPES = {
    "BOOL": np.bool_,
    **{f"INT{bits}": getattr(np, f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": getattr(np, f"uint{bits}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": getattr(np, f"float{bits}") for bits in (16, 32, 64)},
    "BF16": np.uint16,  # numpy has no such type: its bits
    "BYTES": np.object_,
}
EXTENSIONS = ["classification", "sequence", "model_repository", "binary_tensor_data", "parameters"]


class Refused(Exception):
    """An error for the client.

    Attributes:
        code: Its code over gRPC. Over HTTP it is 400, as in most of Triton's releases.
    """

    def __init__(self, text: str, code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class Tensor:
    """An input or output of a model's configuration: `config.pbtxt` calls it the same."""

    name: str
    datatype: str
    dims: tuple[int, ...]


@dataclass
class TritonModel:
    """A model of the server.

    Attributes:
        name: Its name.
        inputs: Its inputs.
        outputs: Its outputs.
        function: Takes an array for each input, and returns one for each output, by name.
        max_batch_size: Rows that a request may have; 0 if it has no batch dimension.
        ready: Whether it is loaded.
        requests: The arrays of each request so far.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    function: Callable[[Mapping[str, np.ndarray]], Mapping[str, Any]]
    max_batch_size: int = 0
    ready: bool = True
    requests: list[dict[str, Any]] = field(default_factory=list)

    def metadata(self) -> dict[str, Any]:
        """Its V2 metadata."""
        return {
            "name": self.name,
            "versions": ["1"],
            "platform": "python",
            "inputs": [self._described(tensor) for tensor in self.inputs],
            "outputs": [self._described(tensor) for tensor in self.outputs],
        }

    def shape_of(self, tensor: Tensor) -> list[int]:
        """The shape that a request gives, -1 for any length."""
        return [*([-1] if self.max_batch_size else []), *tensor.dims]

    def infer(self, arrays: Mapping[str, np.ndarray], asked: list[str]) -> dict[str, np.ndarray]:
        """Check a request and answer it: all outputs, or those that it asks for."""
        known = {tensor.name: tensor for tensor in self.inputs}
        for name in arrays:
            if name not in known:
                raise Refused(f"unexpected inference input '{name}' for model '{self.name}'")
        if missing := [name for name in known if name not in arrays]:
            raise Refused(
                f"expected {len(known)} inputs but got {len(arrays)} inputs for model '{self.name}'. "
                f"Missing required input(s) {missing}"
            )
        for name, array in arrays.items():
            want = self.shape_of(known[name])
            got = list(array.shape)
            if len(want) != len(got) or any(w not in (-1, g) for w, g in zip(want, got)):
                raise Refused(
                    f"unexpected shape for input '{name}' for model '{self.name}'. Expected {want}, "
                    f"got {got}"
                )
            if self.max_batch_size and got[0] > self.max_batch_size:
                raise Refused(
                    f"inference request batch-size must be <= {self.max_batch_size} for '{self.name}'"
                )
        names = {tensor.name for tensor in self.outputs}
        for name in asked:
            if name not in names:
                raise Refused(
                    f"unexpected inference output '{name}' requested for model '{self.name}'"
                )
        self.requests.append(dict(arrays))
        found = self.function(arrays)
        wanted = asked or [tensor.name for tensor in self.outputs]
        return {name: np.asarray(found[name]) for name in wanted}

    def expect(self, name: str, datatype: str) -> None:
        """Refuse an input of another datatype."""
        for tensor in self.inputs:
            if tensor.name == name and tensor.datatype != datatype:
                raise Refused(
                    f"inference input '{name}' data-type is '{datatype}', but model '{self.name}' "
                    f"expects '{tensor.datatype}'"
                )

    def datatype_of(self, output: str) -> str:
        """The datatype of an output."""
        return next(tensor.datatype for tensor in self.outputs if tensor.name == output)

    def _described(self, tensor: Tensor) -> dict[str, Any]:
        return {"name": tensor.name, "datatype": tensor.datatype, "shape": self.shape_of(tensor)}


class Triton:
    """The server, while its `with` block runs.

    Args:
        models: Its models.
        http: Port for HTTP; 0 for a free one.
        grpc_port: Port for gRPC; 0 for a free one.

    Attributes:
        url: Its URL over HTTP.
        grpc_url: Its URL over gRPC.
    """

    def __init__(self, *models: TritonModel, http: int = 0, grpc_port: int = 0) -> None:
        self._models = {model.name: model for model in models}
        self._loop = asyncio.new_event_loop()
        started: Future[int] = Future()
        self._thread = threading.Thread(target=self._run, args=(http, started), daemon=True)
        self._thread.start()
        self.url = f"http://{HOST}:{started.result()}"
        self._grpc = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        self.grpc_url = f"grpc://{HOST}:{self._grpc.add_insecure_port(f'{HOST}:{grpc_port}')}"
        self._grpc.add_generic_rpc_handlers([self._handlers()])
        self._grpc.start()

    def __enter__(self) -> Triton:
        return self

    def __exit__(self, *_: object) -> None:
        self._grpc.stop(None).wait()
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def model(self, name: str, version: str | None = None) -> TritonModel:
        """The model with a name and version."""
        model = self._models.get(name)
        if model is None:
            raise Refused(
                f"Request for unknown model: '{name}' is not found", grpc.StatusCode.NOT_FOUND
            )
        if version not in (None, "", "1"):
            raise Refused(
                f"Request for unknown model: '{name}' version {version} is not found",
                grpc.StatusCode.NOT_FOUND,
            )
        if not model.ready:
            raise Refused(
                f"Request for unknown model: '{name}' version 1 is not at ready state",
                grpc.StatusCode.UNAVAILABLE,
            )
        return model

    # -- HTTP --------------------------------------------------------------------------------------

    def _run(self, port: int, started: Future[int]) -> None:
        asyncio.set_event_loop(self._loop)

        async def start() -> int:
            app = web.Application(client_max_size=0)
            app.router.add_get("/v2", self._about)
            app.router.add_get("/v2/health/{state:live|ready}", self._healthy)
            for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
                app.router.add_get(path, self._metadata)
                app.router.add_get(f"{path}/ready", self._ready)
                app.router.add_post(f"{path}/infer", self._infer)
            self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
            await self._runner.setup()
            site = web.TCPSite(self._runner, HOST, port)
            await site.start()
            address: tuple[str, int] = self._runner.addresses[0]
            return address[1]

        try:
            started.set_result(self._loop.run_until_complete(start()))
        except BaseException as error:
            started.set_exception(error)
            return
        self._loop.run_forever()

    async def _about(self, request: web.Request) -> web.Response:
        return web.json_response({"name": "triton", "version": "2.49.0", "extensions": EXTENSIONS})

    async def _healthy(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _ready(self, request: web.Request) -> web.Response:
        try:
            self.model(request.match_info["name"], request.match_info.get("version"))
        except Refused:
            return web.Response(status=400)
        return web.Response()

    async def _metadata(self, request: web.Request) -> web.Response:
        try:
            model = self.model(request.match_info["name"], request.match_info.get("version"))
        except Refused as refused:
            return web.json_response({"error": str(refused)}, status=400)
        return web.json_response(model.metadata())

    async def _infer(self, request: web.Request) -> web.Response:
        try:
            model = self.model(request.match_info["name"], request.match_info.get("version"))
            return _answer(model, await request.read(), request.headers.get(LENGTH))
        except Refused as refused:
            return web.json_response({"error": str(refused)}, status=400)

    # -- gRPC --------------------------------------------------------------------------------------

    def _handlers(self) -> grpc.GenericRpcHandler:
        def infer(message: Any, context: grpc.ServicerContext) -> Any:
            try:
                return _answer_message(
                    self.model(message.model_name, message.model_version), message
                )
            except Refused as refused:
                context.abort(refused.code, str(refused))

        def ready(message: Any, context: grpc.ServicerContext) -> Any:
            try:
                self.model(message.name, message.version)
            except Refused:
                return pb.ModelReadyResponse(ready=False)
            return pb.ModelReadyResponse(ready=True)

        handlers = {
            "ModelInfer": grpc.unary_unary_rpc_method_handler(
                infer, pb.ModelInferRequest.FromString, pb.ModelInferResponse.SerializeToString
            ),
            "ModelReady": grpc.unary_unary_rpc_method_handler(
                ready, pb.ModelReadyRequest.FromString, pb.ModelReadyResponse.SerializeToString
            ),
        }
        return grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers)


def _answer(model: TritonModel, body: bytes, length: str | None) -> web.Response:
    """Answer a request over HTTP."""
    end = len(body) if length is None else int(length)
    try:
        content, raw = json.loads(body[:end]), body[end:]
    except ValueError as error:
        raise Refused(f"failed to parse the request JSON buffer: {error}") from error
    arrays = {}
    for part in content["inputs"]:
        model.expect(part["name"], part["datatype"])
        size = (part.get("parameters") or {}).get(SIZE)
        if size is None:
            arrays[part["name"]] = _from_json(part)
        else:
            arrays[part["name"]] = _from_raw(
                part["datatype"], part["shape"], raw[:size], part["name"]
            )
            raw = raw[size:]
    if raw:
        raise Refused(f"unexpected additional input data for model '{model.name}'")
    parameters = content.get("parameters") or {}
    asked = [output["name"] for output in content.get("outputs") or []]
    in_binary = bool(parameters.get("binary_data_output"))
    outputs, contents = [], []
    for name, array in model.infer(arrays, asked).items():
        datatype = model.datatype_of(name)
        head = {"name": name, "datatype": datatype, "shape": list(array.shape)}
        if in_binary:
            contents.append(_to_raw(datatype, array))
            outputs.append({**head, "parameters": {SIZE: len(contents[-1])}})
        else:
            outputs.append({**head, "data": _to_json(datatype, array, name)})
    answer = {"model_name": model.name, "model_version": "1", "outputs": outputs}
    if "id" in content:
        answer["id"] = content["id"]
    text = json.dumps(answer).encode()
    if not in_binary:
        return web.Response(body=text, content_type="application/json")
    headers = {LENGTH: str(len(text)), "content-type": "application/octet-stream"}
    return web.Response(body=b"".join([text, *contents]), headers=headers)


def _answer_message(model: TritonModel, message: Any) -> Any:
    """Answer a request over gRPC."""
    raw = list(message.raw_input_contents)
    arrays = {}
    for part in message.inputs:
        model.expect(part.name, part.datatype)
        arrays[part.name] = _from_raw(part.datatype, list(part.shape), raw.pop(0), part.name)
    answer = pb.ModelInferResponse(model_name=model.name, model_version="1", id=message.id)
    found = model.infer(arrays, [output.name for output in message.outputs])
    for name, array in found.items():
        datatype = model.datatype_of(name)
        answer.outputs.add(name=name, datatype=datatype, shape=array.shape)
        answer.raw_output_contents.append(_to_raw(datatype, array))
    return answer


def _from_json(part: Mapping[str, Any]) -> np.ndarray:
    name, datatype = part["name"], part["datatype"]
    _refuse_in_json(datatype, "input", name)
    elements = np.array(part["data"], object).ravel().tolist()
    if datatype == "BYTES":
        elements = [element.encode() for element in elements]
    return _shaped(np.array(elements, DTYPES[datatype]), part["shape"], name)


def _to_json(datatype: str, array: np.ndarray, name: str) -> list[Any]:
    _refuse_in_json(datatype, "output", name)
    elements = array.ravel().tolist()
    return [element.decode() for element in elements] if datatype == "BYTES" else elements


def _refuse_in_json(datatype: str, role: str, name: str) -> None:
    if datatype in ("FP16", "BF16"):
        raise Refused(
            f"sending {datatype} data via JSON is not supported. Please use the binary data format for "
            f"{role} '{name}'"
        )


def _from_raw(datatype: str, shape: list[int], raw: bytes, name: str) -> np.ndarray:
    if datatype != "BYTES":
        return _shaped(np.frombuffer(raw, DTYPES[datatype]), shape, name)
    elements, position = [], 0
    while position < len(raw):
        length = int.from_bytes(raw[position : position + 4], "little")
        elements.append(raw[position + 4 : position + 4 + length])
        position += 4 + length
    array = np.empty(len(elements), object)
    array[:] = elements
    return _shaped(array, shape, name)


def _to_raw(datatype: str, array: np.ndarray) -> bytes:
    if datatype != "BYTES":
        return array.astype(DTYPES[datatype], casting="no").tobytes()
    elements = array.ravel().tolist()
    return b"".join(len(element).to_bytes(4, "little") + element for element in elements)


def _shaped(array: np.ndarray, shape: list[int], name: str) -> np.ndarray:
    try:
        return array.reshape(shape)
    except ValueError as error:
        raise Refused(f"input '{name}' has {array.size} elements, but shape {shape}") from error
