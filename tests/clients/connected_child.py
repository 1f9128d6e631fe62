"""A child of no pipeline, over a real transport."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tempo_runtime import Model, ModelFramework
from tempo_runtime.clients.child import Child
from tempo_runtime.execution.loading import ChildResolver
from tempo_runtime.request.portal import background
from tempo_runtime.settings import PipelineSettings

Connect = Callable[..., Child]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes children, with their settings as keywords; closes them at the end."""
    connectors = []

    def made(
        url: Any,
        name: str = "iris",
        platform: ModelFramework = ModelFramework.SKLearn,
        *,
        awaitable: bool = False,
        **settings: Any,
    ) -> Child:
        options = {"unavailable_timeout": 0, "url": url, **settings}
        pipeline = PipelineSettings.read({"models": {"child": options}}, {})
        connectors.append(ChildResolver(pipeline, background(), inside=["pipeline"]))
        return connectors[-1].child("child", Model(name, platform=platform), awaitable)

    yield made
    for connector in connectors:
        background().run(connector.close())
