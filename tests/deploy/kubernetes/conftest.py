"""A cluster of tests: an API on a real socket, an operator, and a model that answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tempo_runtime import (
    Model,
    ModelFramework,
    PipelineModels,
    SeldonCoreOptions,
    pipeline,
    predictmethod,
)
from tempo_runtime._util.ports import HOST
from tempo_runtime.deploy.kubernetes import readiness
from tempo_runtime.testing import FakeModel
from tests.deploy.kubernetes.api_server import TOKEN, ApiServer, Object

LINE = Model("line", platform=ModelFramework.SKLearn, uri="s3://models/line")
CONFIG = """
apiVersion: v1
kind: Config
clusters: [{{name: here, cluster: {{server: "http://{host}:{port}"}}}}]
users: [{{name: me, user: {{token: {token}}}}}]
contexts: [{{name: mine, context: {{cluster: here, user: me}}}}]
current-context: mine
"""


def plus(uri: str = "s3://models/plus", name: str = "plus", child: Model | None = LINE) -> Any:
    """A pipeline that calls a model; or none."""

    @pipeline(name, uri=uri, models=PipelineModels(**({"line": child} if child else {})))
    class Plus:
        @predictmethod
        def predict(self, x: np.ndarray) -> np.ndarray:
            return x

    return Plus()


def options(**remote: Any) -> SeldonCoreOptions:
    """Options of Seldon Core v1 in the namespace that there is."""
    return SeldonCoreOptions(remote_options={"namespace": "production", **remote})


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kubeconfig of this test, which has no usable cluster yet."""
    path = tmp_path / "kubeconfig"
    monkeypatch.setenv("KUBECONFIG", str(path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(readiness, "SETTLED", 0.5)
    return path


@pytest.fixture
def api(kubeconfig: Path) -> Iterator[ApiServer]:
    """A cluster's API, and no thread of ours left when the test has ended."""
    server = ApiServer()
    kubeconfig.write_text(CONFIG.format(host=HOST, port=server.port, token=TOKEN))
    before = set(threading.enumerate())
    yield server
    watching = [each for each in threading.enumerate() if each.name == "tempo-watch"]
    for each in set(watching) - before:
        each.join(30)  # it was hung up on, and ends once it has noticed
    server.stop()
    assert not [each for each in set(watching) - before if each.is_alive()]


@pytest.fixture
def operator(api: ApiServer) -> Callable[[Object], None]:
    """An operator that has each model ready: first it makes it, then it is available."""

    def made(item: Object) -> None:
        name = item["metadata"]["name"]
        if item["kind"] == "SeldonDeployment":
            api.state("seldondeployments", name, state="Creating")
            api.state("seldondeployments", name, state="Available")

    api.operator = made
    return made


@pytest.fixture
def served(api: ApiServer) -> Iterator[FakeModel]:
    """The pipeline's own server, behind its Service."""
    with FakeModel("plus", answer=lambda x: x + 1) as fake:
        api.services["plus-default:9000"] = fake.url
        yield fake
