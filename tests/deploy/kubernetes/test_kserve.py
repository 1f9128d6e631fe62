"""deploy_remote on KServe, of which several versions treat the same object differently."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tempo_runtime import DeploymentFailed, KServeOptions, deploy_remote
from tempo_runtime.deploy.kubernetes.deploy import diff, status, undeploy
from tempo_runtime.deploy.kubernetes.manifests import documents
from tempo_runtime.deploy.kubernetes.status import other_mode
from tempo_runtime.testing import FakeModel
from tests.deploy.kubernetes.api_server import ApiServer, Object, failure
from tests.deploy.kubernetes.conftest import plus
from tests.deploy.kubernetes.drift import different
from tests.deploy.kubernetes.kserve import AUTOSCALER, MODE, NEWEST, KServe

NAMES = {"plus", "line"}
EVERY_FIELD: dict[str, Any] = {
    "replicas": 2,
    "resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}, "limits": {"cpu": "1000m"}},
    "env": {"EMPTY": "", "FULL": "1"},
    "tolerations": [{"key": "gpu", "value": "", "operator": "Equal"}],
    "liveness": {"initialDelaySeconds": 0},
    "spread": True,
    "serviceAccountName": "s3",
}


@pytest.fixture(autouse=True)
def _served(api: ApiServer) -> Iterator[None]:
    """The pipeline's server, behind its Service."""
    with FakeModel("plus") as fake:
        api.services["plus-predictor:80"] = fake.url
        yield


def options(**remote: Any) -> KServeOptions:
    return KServeOptions(remote_options={"namespace": "production", **remote})


def deploy(chosen: KServeOptions) -> None:
    deploy_remote(plus(), chosen, timeout=30).deployment.close()


@pytest.mark.parametrize("remote", [EVERY_FIELD, {"maxReplicas": 3}], ids=["fixed", "autoscaled"])
def test_kserve_stores_what_is_in_the_manifest(api: ApiServer, remote: dict[str, Any]) -> None:
    KServe(api)
    chosen = options(**remote)
    deploy(chosen)
    for document in documents(plus(), chosen):
        plurals = {"InferenceService": "inferenceservices", "ServingRuntime": "servingruntimes"}
        stored = api.objects[plurals[document["kind"]], document["metadata"]["name"]]
        assert different(document["spec"], stored["spec"]) == []
        assert different(document["metadata"], stored["metadata"]) == []
    assert diff(plus(), chosen) == ""


def test_replicas_are_pods_without_an_autoscaler(api: ApiServer) -> None:
    kserve = KServe(api)
    deploy(options(replicas=3))
    assert kserve.replicas == dict.fromkeys(NAMES, 3)
    assert not kserve.autoscaled
    deploy(options(replicas=2))
    assert kserve.replicas == dict.fromkeys(NAMES, 2)


def test_children_whose_services_have_no_address_are_reported_with_the_option(
    api: ApiServer,
) -> None:
    KServe(api).address = "None"
    with pytest.raises(DeploymentFailed, match=r"line cannot be called.*set headless to true"):
        deploy(options())
    deploy(options(headless=True))


def test_without_the_right_to_read_services_it_is_deployed_all_the_same(api: ApiServer) -> None:
    KServe(api).address = "None"
    api.fault("GET", "services/line-predictor", 403, failure(403, "services is forbidden"), times=9)
    deploy(options())


def test_an_autoscaler_is_made_where_one_is_asked_for(api: ApiServer) -> None:
    kserve = KServe(api)
    deploy(options(maxReplicas=3))
    assert kserve.autoscaled == NAMES


@pytest.mark.parametrize("version", [(0, 15, 0), (0, 15, 2), NEWEST], ids=str)
def test_a_version_that_is_stated_takes_the_objects_twice(
    api: ApiServer, version: tuple[int, int, int]
) -> None:
    kserve = KServe(api, version)
    chosen = options(kserve_version=".".join(map(str, version)))
    deploy(chosen)
    deploy(chosen)
    assert kserve.autoscaled == (NAMES if version < (0, 15, 1) else set())
    assert diff(plus(), chosen) == ""


def test_an_older_version_is_reported_with_the_option_for_it(api: ApiServer) -> None:
    KServe(api, (0, 15, 0))
    with pytest.raises(DeploymentFailed, match=r"not a supported autoscaler.*set kserve_version"):
        deploy(options())
    assert not api.objects


def test_a_service_of_another_mode_is_reported_with_the_options_for_it(api: ApiServer) -> None:
    KServe(api, (0, 15, 2))
    deploy(options(kserve_version="0.15.2"))
    with pytest.raises(
        DeploymentFailed, match=r"deploymentMode cannot.*set kserve_version.*to change its mode"
    ):
        deploy(options())


def test_a_service_that_kserve_deploys_in_another_mode_fails_with_the_option_for_it(
    api: ApiServer,
) -> None:
    KServe(api, (0, 15, 2)).default_mode = "Serverless"
    told = r"has failed: KServe deploys it as Serverless instead of Standard.*set kserve_version"
    with pytest.raises(DeploymentFailed, match=told):
        deploy(options())
    assert status("line", options())["line"].state == "failed"
    stated = options(kserve_version="0.15.2")
    with pytest.raises(DeploymentFailed, match=r"to change its mode, undeploy the model first"):
        deploy(stated)
    undeploy("plus", stated)
    deploy(stated)


@pytest.mark.parametrize(
    ("version", "remote"), [((0, 15, 2), {}), (NEWEST, {"knative": True})], ids=str
)
def test_without_knative_a_service_for_it_fails_at_once_with_the_options(
    api: ApiServer, version: tuple[int, int, int], remote: dict[str, Any]
) -> None:
    kserve = KServe(api, version)
    kserve.default_mode, kserve.has_knative = "Serverless", False
    told = (
        "(line|plus) has failed: ServerlessModeRejected: .*set knative to false.*set kserve_version"
    )
    with pytest.raises(DeploymentFailed, match=told):
        deploy(options(**remote))


@pytest.mark.parametrize(
    ("asked", "taken", "told"),
    [
        ("Standard", "Standard", False),
        ("Standard", "RawDeployment", False),
        ("RawDeployment", "Standard", False),
        ("Serverless", "Knative", False),
        ("Knative", "RawDeployment", True),
        ("RawDeployment", "Serverless", True),
        ("Standard", "ModelMesh", True),
        ("Standard", None, False),
        (None, "Knative", False),
    ],
)
def test_a_mode_is_recognised_by_either_name(
    asked: str | None, taken: str | None, told: bool
) -> None:
    item = {
        "kind": "InferenceService",
        "metadata": {"name": "plus", "annotations": {MODE: asked} if asked else None},
        "status": {"deploymentMode": taken} if taken else None,
    }
    assert bool(other_mode(item)) is told


def test_a_service_that_was_deployed_with_an_autoscaler_loses_it(api: ApiServer) -> None:
    kserve = KServe(api)
    deploy(options(replicas=2, kserve_version="0.15.0"))
    before: Object = api.objects["inferenceservices", "plus"]["metadata"]["annotations"]
    assert kserve.autoscaled == NAMES
    assert (before[MODE], AUTOSCALER in before) == ("Standard", False)
    deploy(options(replicas=2))
    assert not kserve.autoscaled
