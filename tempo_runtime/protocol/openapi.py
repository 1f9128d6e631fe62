"""Write the OpenAPI document of a server's pipelines: their calls in plain JSON and in V2. No I/O.

https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tempo_runtime.protocol import json_schema

_JSON = "application/json"
_ERRORS = {
    "400": "The request is not V2, or the model is not ready",
    "404": "There is no such model",
    "415": "The body is not JSON",
    "422": "The request does not match the arguments; the message names the one at fault",
    "500": "The pipeline failed",
    "502": "A model that the pipeline calls failed",
    "503": "The pipeline, or a model that it calls, cannot answer now; try again later",
    "504": "The time limit is over",
}
_SCHEMAS: dict[str, Any] = {
    "Error": {
        "type": "object",
        "properties": {
            "error": {"type": "string", "description": "The error and its remedy"},
            "tempo": {
                "type": "object",
                "description": "The same for programs: class, status, who must change something",
            },
        },
        "required": ["error"],
    },
    "InferenceRequest": {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "inputs": {"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}},
            "outputs": {"type": "array", "items": {"type": "object"}},
        },
        "required": ["inputs"],
    },
    "InferenceResponse": {
        "type": "object",
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "outputs": {"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}},
        },
        "required": ["model_name", "outputs"],
    },
    "Tensor": {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "datatype": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "parameters": {"type": "object"},
            "data": {"type": "array"},
        },
        "required": ["name", "datatype", "shape", "data"],
    },
}


@dataclass(frozen=True)
class DescribedPipeline:
    """A pipeline, as it is known without its code.

    Attributes:
        name: Name it is served under.
        description: A sentence for people.
        streams: Whether it streams.
        schemas: What `json_schema.of` returned; empty for an artifact of an earlier version.
        example: Argument -> an example value, as JSON.
        request: A V2 request that works, if one is recorded.
    """

    name: str
    description: str = ""
    streams: bool = False
    schemas: Mapping[str, Any] = field(default_factory=dict)
    example: Mapping[str, Any] = field(default_factory=dict)
    request: Mapping[str, Any] | None = None


def document(pipelines: Sequence[DescribedPipeline], version: str) -> dict[str, Any]:
    """Write the document.

    Args:
        pipelines: The pipelines of a server.
        version: The version of what serves them.
    """
    paths: dict[str, Any] = {}
    schemas = dict(_SCHEMAS)
    for pipeline in pipelines:
        _add(pipeline, paths, schemas)
    names = ", ".join(pipeline.name for pipeline in pipelines)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": names or "tempo_runtime",
            "version": version,
            "description": "Pipelines that are called in plain JSON, or in the V2 inference protocol.",
        },
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _add(pipeline: DescribedPipeline, paths: dict[str, Any], schemas: dict[str, Any]) -> None:
    name = pipeline.name

    def rename(definition: str) -> str:
        return f"#/components/schemas/{name}.{definition}"

    def place(part: str) -> dict[str, Any]:
        schema = pipeline.schemas.get(part, {"type": "object"} if part == "arguments" else {})
        schemas[f"{name}.{part}"] = json_schema.references(schema, rename)
        return {"$ref": rename(part)}

    for definition, schema in pipeline.schemas.get("$defs", {}).items():
        schemas[f"{name}.{definition}"] = json_schema.references(schema, rename)
    arguments, result = place("arguments"), place("result")
    root = f"/v2/models/{name}"
    example = {"example": dict(pipeline.example)} if _is_whole(pipeline) else {}
    body = _body({"schema": arguments, **example})
    if pipeline.streams:
        paths[f"{root}/predict_stream"] = {
            "post": {
                **_said(pipeline, "predict_stream", "Call it, and get each item as an event"),
                "requestBody": body,
                "responses": {
                    "200": {
                        "description": "Server-sent events, whose data is the item as JSON",
                        "content": {"text/event-stream": {"schema": {"type": "string"}}},
                    },
                    **_errors(),
                },
            }
        }
    else:
        paths[f"{root}/predict"] = {
            "post": {
                **_said(pipeline, "predict", "Call it with its arguments by name"),
                "requestBody": body,
                "responses": {"200": _answer("The result", result), **_errors()},
            }
        }
    request = {"schema": {"$ref": "#/components/schemas/InferenceRequest"}}
    if pipeline.request is not None:
        request["example"] = dict(pipeline.request)
    if not pipeline.streams:
        response = {"$ref": "#/components/schemas/InferenceResponse"}
        paths[f"{root}/infer"] = {
            "post": {
                **_said(pipeline, "infer", "Call it with V2 tensors"),
                "requestBody": _body(request),
                "responses": {"200": _answer("The result as tensors", response), **_errors()},
            }
        }
    paths[f"{root}/ready"] = {
        "get": {
            **_said(pipeline, "ready", "Whether it is ready"),
            "responses": {
                "200": {"description": "It is ready"},
                "400": {"description": "It is not ready"},
                "404": {"description": _ERRORS["404"]},
            },
        }
    }


def _is_whole(pipeline: DescribedPipeline) -> bool:
    """Return whether the example has all arguments that a call needs."""
    needed = pipeline.schemas.get("arguments", {}).get("required", [])
    return bool(pipeline.example) and set(needed) <= pipeline.example.keys()


def _said(pipeline: DescribedPipeline, operation: str, summary: str) -> dict[str, Any]:
    described = {"description": pipeline.description} if pipeline.description else {}
    return {
        "operationId": f"{operation}-{pipeline.name}",
        "summary": summary,
        "tags": [pipeline.name],
        **described,
    }


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {_JSON: content}}


def _answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {_JSON: {"schema": schema}}}


def _errors() -> dict[str, Any]:
    error = {"$ref": "#/components/schemas/Error"}
    return {status: _answer(text, error) for status, text in _ERRORS.items()}
