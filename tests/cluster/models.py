"""Small pipelines, which the server image can serve as it is."""

from __future__ import annotations

import importlib
import os
from typing import Any

import numpy as np

from tempo_runtime import PipelineModels, model, pipeline, predictmethod


@model("cluster-double", uri="s3://tempo/cluster-double")
def double(x: np.ndarray) -> np.ndarray:
    return x * 2


@pipeline("cluster-parent", uri="s3://tempo/cluster-parent", models=PipelineModels(double=double))
def parent(x: np.ndarray) -> np.ndarray:
    return parent.models.double(x) + 1


def times(factor: float, folder: str, name: str = "cluster-times") -> Any:
    """A version of a pipeline; all versions have one URI."""

    @pipeline(name, uri=f"s3://tempo/{name}", local_folder=folder)
    def multiplied(x: np.ndarray) -> np.ndarray:
        return x * factor

    return multiplied


def without_words(name: str, folder: str) -> Any:
    """A pipeline whose constructor fails on a server, and not where it is saved."""

    @pipeline(name, uri=f"s3://tempo/{name}", local_folder=folder)
    class Speaking:
        def __init__(self) -> None:
            if "MLSERVER_HTTP_PORT" in os.environ:
                raise RuntimeError("the lexicon has no words")

        @predictmethod
        def predict(self, x: np.ndarray) -> np.ndarray:
            return x

    return Speaking


def without_a_package(name: str, folder: str) -> Any:
    """A pipeline that imports a package that the image does not have."""

    @pipeline(name, uri=f"s3://tempo/{name}", local_folder=folder)
    class Importing:
        def __init__(self) -> None:
            if "MLSERVER_HTTP_PORT" in os.environ:
                importlib.import_module("a_package_that_is_nowhere")

        @predictmethod
        def predict(self, x: np.ndarray) -> np.ndarray:
            return x

    return Importing
