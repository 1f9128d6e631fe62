"""Fixtures of the tests of interoperability."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tempo_runtime import Model, ModelFramework, save
from tempo_runtime.clients.child import Child
from tempo_runtime.execution.loading import ChildResolver
from tempo_runtime.request.portal import background
from tempo_runtime.settings import PipelineSettings
from tempo_runtime.testing import Server, serve
from tests.helpers import pipelines
from tests.interop import models

SERVED = (
    pipelines.double,
    pipelines.echo,
    pipelines.shapes,
    pipelines.bill,
    pipelines.count_up,
    pipelines.broken,
    models.scaled,
    models.non_finite,
)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A few pipelines, in a real MLServer."""
    root = tmp_path_factory.mktemp("artifacts")
    for target in SERVED:
        save(target, str(root / target.details.name))
    with serve(root) as server:
        yield server


@pytest.fixture
def connect() -> Iterator[Callable[..., Child]]:
    """Connects a child, a model of an unknown server at a URL, as a pipeline would."""
    connectors = []

    def connected(url: str, name: str, outputs: Any = None, **options: Any) -> Child:
        settings = PipelineSettings(base_url=url, models={name: options})
        connectors.append(ChildResolver(settings, background()))
        return connectors[-1].child(
            name, Model(name, platform=ModelFramework.Custom, outputs=outputs)
        )

    yield connected
    for connector in connectors:
        background().run(connector.close())
