"""A small pipeline, which the server image can serve as it is."""

from __future__ import annotations

from typing import Any

import numpy as np

from tempo_runtime import PipelineModels, model, pipeline


@model("cluster-double", uri="s3://tempo/cluster-double")
def double(x: np.ndarray) -> np.ndarray:
    return x * 2


@pipeline("cluster-parent", uri="s3://tempo/cluster-parent", models=PipelineModels(double=double))
def parent(x: np.ndarray) -> np.ndarray:
    return parent.models.double(x) + 1


def times(factor: float, folder: str) -> Any:
    """One of two versions of a pipeline, which have one URI."""

    @pipeline("cluster-times", uri="s3://tempo/cluster-times", local_folder=folder)
    def multiplied(x: np.ndarray) -> np.ndarray:
        return x * factor

    return multiplied
