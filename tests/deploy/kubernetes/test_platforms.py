"""deploy_remote on KServe, in a pod, and of a model that a real MLServer serves."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tempo_runtime import (
    DeploymentFailed,
    KServeOptions,
    deploy_remote,
    model,
    save,
)
from tempo_runtime.deploy.kubernetes import connection as connections
from tempo_runtime.deploy.kubernetes import deploy, readiness
from tempo_runtime.deploy.kubernetes.deploy import get_client, list_models, status, undeploy
from tempo_runtime.deploy.kubernetes.deployment import ClusterDeployment
from tempo_runtime.testing import FakeModel, serve
from tests.deploy.kubernetes.api_server import ApiServer, Object
from tests.deploy.kubernetes.conftest import options, plus

X = np.array([1.0, 2.0])
READY = [{"type": "Ready", "status": "True"}]
SPACE = {"namespace": "production"}
PLATFORMS = [
    pytest.param(
        KServeOptions(remote_options=SPACE),
        "plus-predictor:80",
        "inferenceservices",
        "servingruntimes",
        "kserve",
        id="kserve",
    ),
    pytest.param(
        KServeOptions(remote_options={**SPACE, "headless": True}),
        "plus-predictor:80",
        "inferenceservices",
        "servingruntimes",
        "kserve",
        id="kserve-headless",
    ),
]


@pytest.fixture
def fake() -> Iterator[FakeModel]:
    with FakeModel("plus", answer=lambda x: x + 1) as fake:
        yield fake


@pytest.mark.parametrize(("chosen", "service", "plural", "shared", "target"), PLATFORMS)
def test_a_platform(
    api: ApiServer,
    fake: FakeModel,
    chosen: Any,
    service: str,
    plural: str,
    shared: str,
    target: str,
) -> None:
    def ready(item: Object) -> None:
        if item["kind"] == "InferenceService":
            api.state(plural, item["metadata"]["name"], conditions=READY)

    api.operator = ready
    api.services[service] = fake.url
    other = plus("s3://models/other", "other")
    remote = deploy_remote(plus(), chosen, timeout=30)
    assert remote.deployment.target == target
    np.testing.assert_array_equal(remote.predict(X), [2.0, 3.0])
    assert {each.state for each in status("plus", chosen).values()} == {"ready"}
    with FakeModel("other") as another:
        api.services["other-predictor:80"] = another.url
        deploy_remote(other, chosen, timeout=30)
    assert (shared, "tempo-runtime") in api.objects
    remote.undeploy()
    left = {name for kind, name in api.objects if kind == plural}
    assert left == {"other", "line"}
    # The runtime of all pipelines goes with the last.
    assert (shared, "tempo-runtime") in api.objects
    undeploy("other", chosen, timeout=30)
    assert not api.objects


@pytest.mark.parametrize(("chosen", "service", "plural", "shared", "target"), PLATFORMS)
def test_a_platform_that_is_not_installed(
    api: ApiServer, chosen: Any, service: str, plural: str, shared: str, target: str
) -> None:
    api.kinds -= {plural, shared}
    with pytest.raises(DeploymentFailed, match=r"install KServe "):
        deploy_remote(plus(), chosen, timeout=10)


def test_knative_is_called_at_the_address_in_its_status(api: ApiServer, fake: FakeModel) -> None:
    api.operator = lambda item: (
        api.state("inferenceservices", item["metadata"]["name"], conditions=READY, url=fake.url)
        if item["kind"] == "InferenceService"
        else None
    )
    chosen = KServeOptions(remote_options={**SPACE, "knative": True})
    remote = deploy_remote(plus(), chosen, timeout=30)
    assert remote.endpoint == f"{fake.url}/v2/models/plus"
    np.testing.assert_array_equal(remote.predict(X), [2.0, 3.0])


def test_a_pod_calls_the_service(api: ApiServer) -> None:
    connection = connections.connect()
    connection.inside = True
    item = {"metadata": {"name": "plus", "uid": "1"}, "kind": "SeldonDeployment"}
    deployment = ClusterDeployment(connection, options(), item)
    assert deployment.main().url == "http://plus-default.production.svc.cluster.local:9000"
    deployment.close()


def test_values_are_streamed_from_a_real_server(
    api: ApiServer, operator: Any, tmp_path: Path
) -> None:
    @model("counting", uri="s3://models/counting", local_folder=str(tmp_path / "counting"))
    def counting(to: int) -> Iterator[int]:
        yield from range(1, to + 1)

    save(counting)
    with serve(tmp_path / "counting") as server:
        api.services["counting-default:9000"] = server.url
        remote = deploy_remote(counting, options(), timeout=60)
        assert list(remote.stream(to=3)) == [1, 2, 3]
        again = get_client("counting", options())
        assert list(again.stream(to=2)) == [1, 2]
        assert [each.name for each in list_models(options())] == ["counting"]
        # The folder of the artifact will do as well.
        folder = deploy_remote(tmp_path / "counting", options(), timeout=60)
        assert list(folder.stream(to=1)) == [1]
        for each in (remote, again, folder):
            each.undeploy()


def test_a_runtime_that_kserve_sees_a_moment_later_is_waited_for(
    api: ApiServer, fake: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "SETTLED", 60)
    failure = {
        "reason": "RuntimeNotRecognized",
        "message": "Waiting for runtime to become available",
    }
    refused = {"transitionStatus": "InvalidSpec", "lastFailureInfo": failure}

    @contextlib.contextmanager
    def telling(_: str) -> Iterator[Callable[[str], None]]:
        def tell(text: str) -> None:
            if "RuntimeNotRecognized" in text:
                api.state("inferenceservices", "plus", conditions=READY)

        yield tell

    def refuse(item: Object) -> None:
        if item["kind"] == "InferenceService":
            api.state("inferenceservices", item["metadata"]["name"], modelStatus=refused)

    monkeypatch.setattr(deploy, "telling", telling)
    api.operator = refuse
    api.services["plus-predictor:80"] = fake.url
    chosen = KServeOptions(remote_options=SPACE)
    deploy_remote(plus(child=None), chosen, timeout=60).deployment.close()
