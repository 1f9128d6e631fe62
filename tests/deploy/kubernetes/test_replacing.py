"""A change of what KServe has deployed: its old pods serve, and it says ready, until the new ones do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from tempo_runtime import DeploymentFailed, KServeOptions, deploy_remote
from tempo_runtime.deploy.kubernetes import readiness
from tempo_runtime.deploy.kubernetes.deploy import status, wait
from tempo_runtime.testing import FakeModel
from tests.deploy.kubernetes.api_server import ApiServer, Object, failure
from tests.deploy.kubernetes.conftest import plus

CHOSEN = KServeOptions(remote_options={"namespace": "production"})
READY = [{"type": "Ready", "status": "True"}]
PULL = {"name": "c", "image": "i:2", "state": {"waiting": {"reason": "ImagePullBackOff"}}}
STUCK = "pod plus-predictor-b-x: image i:2 cannot be pulled"


def deploy(uri: str, timeout: float = 30) -> None:
    deploy_remote(plus(uri, child=None), CHOSEN, timeout=timeout).deployment.close()


def pod(api: ApiServer, template: str, *containers: Object, name: str = "x") -> None:
    labels = {"serving.kserve.io/inferenceservice": "plus", "pod-template-hash": template}
    conditions = [] if containers else READY
    api.pod(
        f"plus-predictor-{template}-{name}",
        labels,
        containerStatuses=list(containers),
        conditions=conditions,
    )


def ready(api: ApiServer, generation: int) -> None:
    """Has the InferenceService say that it is ready, of a generation of its Deployment."""
    api.state("inferenceservices", "plus", conditions=READY, observedGeneration=generation)


def forbid(api: ApiServer, replica_set: str) -> None:
    api.warn(replica_set, "FailedCreate", "pods are forbidden: exceeded quota: small")


@pytest.fixture(autouse=True)
def deployed(api: ApiServer) -> Iterator[None]:
    """A model that is deployed and ready, with one pod."""
    operator(api, lambda: (ready(api, 7), pod(api, "a")))
    with FakeModel("plus") as fake:
        api.services["plus-predictor:80"] = fake.url
        deploy("s3://models/plus")
        yield


def operator(api: ApiServer, act: Callable[[], object]) -> None:
    api.operator = lambda item: act() if item["kind"] == "InferenceService" else None


def test_a_new_version_that_cannot_start_fails(api: ApiServer) -> None:
    operator(api, lambda: (ready(api, 8), pod(api, "b", PULL)))
    with pytest.raises(DeploymentFailed, match=f"plus has failed: {STUCK}"):
        deploy("s3://models/plus-2")


def test_a_new_version_is_waited_for(api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "SETTLED", 60)
    told: list[str] = []

    def later() -> None:
        pod(api, "b")
        told.append("new")
        api.drop("pods", "plus-predictor-a-x")

    def act() -> None:
        ready(api, 8)
        threading.Timer(0.2, later).start()

    operator(api, act)
    deploy("s3://models/plus-2")
    assert told == ["new"]


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda api: None, id="nothing"),
        pytest.param(lambda api: ready(api, 8), id="its status"),
        pytest.param(lambda api: pod(api, "a", PULL, name="y"), id="its scale"),
        pytest.param(lambda api: forbid(api, "plus-predictor-a"), id="its scale, in vain"),
    ],
)
def test_a_change_that_makes_no_new_version_is_ready(
    api: ApiServer, act: Callable[[ApiServer], object]
) -> None:
    operator(api, lambda: act(api))
    deploy("s3://models/plus-2")


def test_without_the_right_to_see_pods_kserves_status_is_trusted(api: ApiServer) -> None:
    operator(api, lambda: (ready(api, 8), pod(api, "b", PULL), forbid(api, "plus-predictor-b")))
    api.fault("GET", "/pods", 403, failure(403, "no"), times=9)
    deploy("s3://models/plus-2")


def test_a_new_version_that_no_pod_may_be_made_of_is_waited_for(api: ApiServer) -> None:
    operator(api, lambda: (ready(api, 8), forbid(api, "plus-predictor-b")))
    with pytest.raises(DeploymentFailed, match=r"is not ready after 2 .*FailedCreate: pods are"):
        deploy("s3://models/plus-2", timeout=2)


def test_a_version_that_hangs_is_not_ready_when_it_is_asked_for_again(api: ApiServer) -> None:
    pod(api, "b", PULL)
    with pytest.raises(DeploymentFailed, match=f"plus is not ready after 1 seconds: {STUCK}"):
        deploy("s3://models/plus", timeout=1)
    with pytest.raises(DeploymentFailed, match=f"plus has failed: {STUCK}"):
        wait("plus", CHOSEN, timeout=30)
    assert status("plus", CHOSEN)["plus"].state == "failed"
