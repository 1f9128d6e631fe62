"""Pipelines that look at their request. They travel in artifacts."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from tempo_runtime import PipelineModels, current_request, model, pipeline
from tempo_runtime.request.current import CurrentRequest


def seen(request: CurrentRequest) -> dict[str, Any]:
    remaining = request.remaining()
    return {
        "id": request.id,
        "headers": dict(request.headers),
        "pipeline": request.pipeline,
        "version": request.version,
        "remaining": remaining,
    }


@model("looks")
def looks(way: str) -> dict:
    if way == "here":
        return seen(current_request())
    with ThreadPoolExecutor(1) as pool:
        if way == "passed":
            return pool.submit(seen, current_request()).result()
        if way == "copied":
            return pool.submit(copy_context().run, lambda: seen(current_request())).result()
        return pool.submit(lambda: seen(current_request())).result()


@model("looks-async")
async def looks_async(way: str) -> dict:
    return seen(current_request())


@model("looks-stream")
def looks_stream(way: str) -> Iterator[dict]:
    yield seen(current_request())


@pipeline("looks-inside", models=PipelineModels(inner=looks))
def looks_inside(way: str) -> dict:
    return looks_inside.models.inner("here")


ALL = (looks, looks_async, looks_stream, looks_inside)
