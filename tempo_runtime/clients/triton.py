"""Requests and errors of Triton, where it differs from MLServer."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace

from tempo_runtime.protocol.tensor import BYTES, Tensor

# How the platforms begin that Triton states for its models.
PLATFORMS = (
    "tensorrt",
    "tensorflow",
    "onnxruntime",
    "pytorch",
    "python",
    "ensemble",
    "openvino",
    "dali",
    "fil",
    "vllm",
)
_BASE64 = "base64"
# Texts of Triton's errors, which earlier releases answer with 400 over HTTP.
_UNKNOWN = "Request for unknown model"
_NOT_FOUND = "is not found"
_LOADING = ("is not at ready state", "has no available versions")


def plain(tensors: list[Tensor]) -> list[Tensor]:
    """Return tensors without MLServer's content types, which Triton ignores; `bytes` are not encoded."""
    return [
        replace(tensor, data=_bytes_of(tensor), parameters={}) if tensor.parameters else tensor
        for tensor in tensors
    ]


def is_unknown_model(text: str) -> bool:
    """Return whether an error's text is Triton's for a model or a version that it does not have."""
    return text.startswith(_UNKNOWN) and _NOT_FOUND in text


def is_loading(text: str) -> bool:
    """Return whether an error's text is Triton's for a model that is not loaded yet."""
    return text.startswith(_UNKNOWN) and any(reason in text for reason in _LOADING)


def _bytes_of(tensor: Tensor) -> object:
    if tensor.datatype == BYTES and tensor.content_type == _BASE64:
        return [b64decode(element) for element in tensor.data]
    return tensor.data
