"""Pipelines whose traces are looked at."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tempo_runtime import Batching, PipelineModels, model, pipeline


@model("leaf")
def leaf(x: np.ndarray) -> np.ndarray:
    if x[0] == 13:
        raise ValueError("13 is secret")
    return x * 2


@model("steps")
def steps(to: int) -> Iterator[int]:
    yield from range(to)


@pipeline("inside", models=PipelineModels(leaf=leaf))
def inside(x: np.ndarray) -> np.ndarray:
    return inside.models.leaf(x)


@pipeline("tree", models=PipelineModels(inside=inside, same=leaf, web=leaf, wire=leaf))
def tree(x: np.ndarray) -> np.ndarray:
    models = tree.models
    return models.inside(x) + models.same(x) + models.web(x) + models.wire(x)


@pipeline("forest", models=PipelineModels(web=leaf), batching=Batching(max_rows=2, max_delay=30))
def forest(x: np.ndarray) -> np.ndarray:
    return forest.models.web(x)


@pipeline("many", models=PipelineModels(web=leaf))
def many(x: np.ndarray) -> np.ndarray:
    for _ in range(12):
        many.models.web(x)
    return x
