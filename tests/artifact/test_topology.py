"""Where each model of a pipeline runs."""

from __future__ import annotations

from typing import Any

import pytest

from tempo_runtime import Model, ModelFramework
from tempo_runtime.artifact import topology
from tempo_runtime.settings import PipelineSettings

CHILD = {"child": topology.declared(Model("child", platform=ModelFramework.SKLearn))}


@pytest.mark.parametrize(
    ("extra", "deployed", "place", "transport"),
    [
        ({}, False, "inside", "in_process"),
        ({}, True, "beside", "http"),
        ({"transport": "in_process"}, True, "inside", "in_process"),
        ({"transport": "grpc"}, True, "beside", "grpc"),
        ({"base_url": "http://models:80"}, True, "elsewhere", "http"),
        ({"models": {"child": {"transport": "http"}}}, False, "beside", "http"),
        ({"models": {"child": {"transport": "in_process"}}}, True, "inside", "in_process"),
        ({"models": {"child": {"fast_sklearn": True}}}, True, "inside", "in_process"),
        ({"models": {"child": {"fast_sklearn": False}}}, True, "beside", "http"),
        ({"models": {"child": {"url": "grpc://models:80"}}}, True, "elsewhere", "grpc"),
    ],
)
def test_settings_decide_where_a_model_runs(
    extra: dict[str, Any], deployed: bool, place: str, transport: str
) -> None:
    (call,) = topology.calls(CHILD, PipelineSettings.read(extra, {}), deployed=deployed)

    assert (call.place, call.settings.transport) == (place, transport)
