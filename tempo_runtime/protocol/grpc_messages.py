"""Convert tensors to the protobuf messages of the V2 protocol, and back.

Numbers are written as raw contents, from numpy's memory. Answers may have raw or typed contents. The
messages are MLServer's, so gRPC does not need another package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.messages import Request, Response
from tempo_runtime.protocol.raw import from_raw, to_raw
from tempo_runtime.protocol.tensor import Tensor

if TYPE_CHECKING:
    from mlserver.grpc import dataplane_pb2 as pb


def request_to_proto(request: Request, model: str, version: str | None) -> pb.ModelInferRequest:
    """Return the message for `ModelInfer`."""
    from mlserver.grpc import dataplane_pb2 as pb

    message = pb.ModelInferRequest(model_name=model, model_version=version or "")
    if request.id is not None:
        message.id = request.id
    _set_parameters(message.parameters, request.parameters)
    for tensor in request.tensors:
        part = message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        _set_parameters(part.parameters, tensor.parameters)
        message.raw_input_contents.append(to_raw(tensor))
    for name in request.outputs:
        message.outputs.add(name=name)
    return message


def response_from_proto(message: pb.ModelInferResponse) -> Response:
    """Read a V2 server's answer.

    Raises:
        PayloadError: If contents are missing, or do not match their datatype.
    """
    raw = iter(message.raw_output_contents)
    tensors = []
    for part in message.outputs:
        tensor = Tensor(
            part.name, part.datatype, list(part.shape), None, _parameters(part.parameters)
        )
        if message.raw_output_contents:
            content = next(raw, None)
            if content is None:
                raise PayloadError(f"output {part.name!r} has no raw contents")
            tensor.data = from_raw(tensor, content, "output")
        else:
            tensor.data = _from_typed(part.contents)
        tensors.append(tensor)
    return Response(tensors, _parameters(message.parameters))


def metadata_from_proto(message: pb.ModelMetadataResponse) -> dict[str, Any]:
    """Return the metadata of a model in the form of V2's JSON."""

    def tensors(parts: Any) -> list[dict[str, Any]]:
        return [
            {
                "name": part.name,
                "datatype": part.datatype,
                "shape": list(part.shape),
                "parameters": _parameters(part.parameters),
            }
            for part in parts
        ]

    return {
        "name": message.name,
        "platform": message.platform,
        "inputs": tensors(message.inputs),
        "outputs": tensors(message.outputs),
    }


def _from_typed(contents: pb.InferTensorContents) -> list[Any]:
    for _, values in contents.ListFields():
        return list(values)
    return []


def _set_parameters(target: Any, parameters: dict[str, Any]) -> None:
    for name, value in parameters.items():
        if isinstance(value, bool):
            target[name].bool_param = value
        elif isinstance(value, int):
            target[name].int64_param = value
        else:  # V2 has only these types of parameters in gRPC
            target[name].string_param = str(value)


def _parameters(parameters: Any) -> dict[str, Any]:
    return {
        name: getattr(value, value.WhichOneof("parameter_choice"))
        for name, value in parameters.items()
        if value.WhichOneof("parameter_choice")
    }
