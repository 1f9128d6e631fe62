"""From Python to a real cluster, on each platform that it has."""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tempo_runtime import DeploymentFailed, RemoteModel, deploy_remote, manifest, save, upload
from tempo_runtime.deploy.kubernetes.deploy import diff, get_client, list_models, status
from tests.cluster.conftest import Space
from tests.cluster.models import double, parent, times
from tests.deploy.kubernetes.drift import different

NAMES = {"cluster-parent", "cluster-double"}
X = np.array([1.0, 2.0])

pytestmark = [pytest.mark.timeout(1200), pytest.mark.slow]


@pytest.fixture(scope="module")
def uploaded(namespace: Space, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The pipeline that calls a child, and that child, where their manifests say that they are."""
    for each in (double, parent):
        name = each.get_tempo().details.name
        upload(save(each, str(tmp_path_factory.mktemp(name))))


@pytest.mark.usefixtures("uploaded")
def test_it_is_deployed_called_found_again_and_removed(space: Space) -> None:
    before = left(space)
    options = space.options()
    remote = deploy_remote(parent, options)
    np.testing.assert_array_equal(remote.predict(x=X), [3.0, 5.0])
    assert {each.name for each in list_models(options)} == NAMES
    assert {each.state for each in status("cluster-parent", options).values()} == {"ready"}
    again = get_client("cluster-parent", options)
    np.testing.assert_array_equal(again.predict(x=X), [3.0, 5.0])
    again.deployment.close()
    remote.undeploy()
    assert not list_models(options)
    assert left(space) == before


@pytest.mark.usefixtures("uploaded")
def test_the_cluster_stores_what_is_in_the_manifest_and_nothing_would_change(space: Space) -> None:
    quantities = {"requests": {"cpu": "0.1", "memory": "1024Mi"}}
    options = space.options(resources=quantities, env={"EMPTY": ""})
    deploy_remote(parent, options).deployment.close()
    for document in yaml.safe_load_all(manifest(parent, options)):
        kind, _, version = f"{document['kind']}.{document['apiVersion']}".partition(".")
        group, _, number = version.rpartition("/")
        resource = f"{kind}.{number}.{group}" if group else kind
        name = document["metadata"]["name"]
        live = json.loads(space.kubectl("get", resource, name, "-o", "json"))
        assert different(document, live) == [], f"{kind} {name}"
    assert diff(parent, options) == ""


def test_the_cluster_s_own_check_takes_the_objects(space: Space) -> None:
    own = {} if space.platform == "seldon2" else {"min_available": 1, "spread": True}
    for more in ({}, own):
        text = manifest(parent, space.options(**more))
        space.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", text=text)


def test_all_replicas_are_ready_and_none_is_taken_back(space: Space, tmp_path: Path) -> None:
    options = space.options(replicas=3)
    remote = deployed(times(2.0, str(tmp_path), "cluster-three"), options)
    before = pods(space, "Running")
    if space.platform == "kserve":
        assert len(before) == 3
        assert not space.names("horizontalpodautoscalers.autoscaling")
        falls_back = "--for=jsonpath={.status.conditions[?(@.type=='Ready')].status}=False"
        with pytest.raises(AssertionError, match="timed out waiting"):
            space.kubectl("wait", "isvc/cluster-three", falls_back, "--timeout=30s")
    assert {each.state for each in status("cluster-three", options).values()} == {"ready"}
    assert pods(space, "Running") == before
    np.testing.assert_array_equal(remote.predict(x=X), X * 2)
    remote.deployment.close()


def test_an_artifact_uploaded_again_under_its_uri_is_loaded_again_and_no_call_is_lost(
    space: Space, tmp_path: Path
) -> None:
    options = space.options()
    remote = deployed(times(2.0, str(tmp_path / "times")), options)
    before = pods(space)
    with Calling(remote) as calling:
        later = times(3.0, str(tmp_path / "times"))
        save(later, environment=None)
        upload(later)
        assert "cluster-times is loaded again: its artifact is sha256:" in diff(later, options)
        deploy_remote(later, options).deployment.close()
        np.testing.assert_array_equal(remote.predict(x=X), X * 3)
    assert {tuple(each) for each in calling.answers} == {tuple(X * 2), tuple(X * 3)}
    if space.platform != "seldon2":  # where a Server's pods serve whatever they are told to
        assert not before & pods(space)
    remote.undeploy()


def test_the_earlier_artifact_is_deployed_again_from_its_own_uri(
    space: Space, tmp_path: Path
) -> None:
    folders = {factor: str(tmp_path / str(factor)) for factor in (2.0, 3.0)}
    uris = {}
    for factor, folder in folders.items():
        made = times(factor, folder, "cluster-back")
        save(made, environment=None)
        uris[factor] = upload(made, digest=True).uri
    for factor in (3.0, 2.0):
        remote = deploy_remote(folders[factor], space.options(uri=uris[factor]))
        np.testing.assert_array_equal(remote.predict(x=X), X * factor)
        remote.deployment.close()


def test_a_pod_that_finds_another_artifact_says_so(space: Space, tmp_path: Path) -> None:
    options, folder = space.options(), str(tmp_path / "times")
    remote = deployed(times(2.0, folder), options)
    later = times(3.0, folder)
    save(later, environment=None)  # and not uploaded
    with pytest.raises(
        DeploymentFailed, match="the artifact at s3://tempo/cluster-times has the dig"
    ):
        deploy_remote(later, options)
    np.testing.assert_array_equal(remote.predict(x=X), X * 2)
    remote.undeploy()


@pytest.mark.parametrize("platform", ["seldon2"], indirect=True)
@pytest.mark.usefixtures("uploaded")
def test_models_of_other_frameworks_are_kept_off_our_server(space: Space) -> None:
    deploy_remote(parent, space.options()).deployment.close()
    uri = "gs://seldon-models/scv2/samples/mlserver_1.3.5/income-xgb"
    spec = {"storageUri": uri, "requirements": ["xgboost"]}
    model = {"apiVersion": "mlops.seldon.io/v1alpha1", "kind": "Model", "spec": spec}
    text = json.dumps({**model, "metadata": {"name": "foreign"}})
    space.kubectl("apply", "-f", "-", text=text)
    refused = "--for=jsonpath={.status.conditions[?(@.type=='ModelReady')].status}=False"
    space.kubectl("wait", "model.mlops.seldon.io/foreign", refused, "--timeout=2m")
    [server] = space.names("servers.mlops.seldon.io")
    found = json.loads(space.kubectl("get", server, "-o", "json"))
    assert found["status"]["loadedModels"] == len(NAMES)


def deployed(pipeline: Any, options: Any) -> RemoteModel:
    """A pipeline that was saved and uploaded just before."""
    save(pipeline, environment=None)
    upload(pipeline)
    return deploy_remote(pipeline, options)


def pods(space: Space, phase: str = "") -> set[str]:
    """The pods of what is deployed, and not of the platform itself."""
    only = ("--field-selector", f"status.phase={phase}") if phase else ()
    found = json.loads(space.kubectl("get", "pods", *only, "-o", "json"))["items"]
    labels = {
        "seldon": "seldon-deployment-id",
        "seldon2": "seldon-server-name",
        "kserve": "serving.kserve.io/inferenceservice",
    }
    label = labels[space.platform]
    return {
        each["metadata"]["name"]
        for each in found
        if label in each["metadata"].get("labels", {})
        and "deletionTimestamp" not in each["metadata"]
    }


def left(space: Space) -> set[str]:
    """All that a deployment may leave behind."""
    return space.names(*space.deployed, "services", "persistentvolumeclaims") | pods(space)


class Calling:
    """Calls a model, one call after the other, as long as its block runs.

    Attributes:
        answers: Every answer; leaving the block raises the error of a call that had none.
    """

    def __init__(self, remote: RemoteModel) -> None:
        self.answers: list[np.ndarray] = []
        self._remote = remote
        self._ended = False

    def __enter__(self) -> Calling:
        self._pool = ThreadPoolExecutor(1)
        self._calls: Future[None] = self._pool.submit(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        with self._pool:
            self._calls.result()

    def _call(self) -> None:
        while not self._ended:
            self.answers.append(self._remote.predict(x=X))
