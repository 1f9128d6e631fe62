"""deploy_remote on Seldon Core v1: applied, waited for, called, replaced and removed."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tempo_runtime import ArtifactError, DeploymentFailed, deploy_remote, model, save
from tempo_runtime.deploy.kubernetes.deploy import (
    diff,
    get_client,
    list_models,
    status,
    undeploy,
    wait,
)
from tempo_runtime.testing import FakeModel
from tests.deploy.kubernetes.api_server import ApiServer, Object
from tests.deploy.kubernetes.conftest import options, plus
from tests.helpers.command_line import run

pytestmark = pytest.mark.usefixtures("operator")
X = np.array([1.0, 2.0])


def there(api: ApiServer) -> set[str]:
    return {name for kind, name in api.objects if kind == "seldondeployments"}


@pytest.mark.usefixtures("served")
def test_a_pipeline_and_its_child_are_deployed_called_and_removed(api: ApiServer) -> None:
    remote = deploy_remote(plus(), options=options(authSecretName="minio-secret"), timeout=30)
    assert there(api) == {"plus", "line"}
    made = api.objects["seldondeployments", "plus"]
    assert made["spec"]["predictors"][0]["graph"]["envSecretRefName"] == "minio-secret"
    np.testing.assert_array_equal(remote.predict(X), [2.0, 3.0])
    np.testing.assert_array_equal(remote.predict(x=X), [2.0, 3.0])
    assert asyncio.run(remote.aio.predict(X)).tolist() == [2.0, 3.0]
    remote.undeploy()
    assert there(api) == set()
    remote.undeploy()
    assert remote.status() == []
    with pytest.raises(DeploymentFailed, match="plus was undeployed; deploy it again"):
        remote.predict(X)


@pytest.mark.usefixtures("served")
def test_a_block_undeploys_it(api: ApiServer) -> None:
    with deploy_remote(plus(), options(), timeout=30) as remote:
        assert [each.name for each in remote.status()] == ["plus", "line"]
        assert {each.state for each in remote.status()} == {"ready"}
    assert there(api) == set()


@pytest.mark.usefixtures("served")
def test_nothing_is_applied_before_everything_was_checked(api: ApiServer) -> None:
    deploy_remote(plus(), options(), timeout=30)
    applied = [path for method, path in api.requests if method == "PATCH" and "force" in path]
    assert ["dryRun=All" in path for path in applied] == [True, True, False, False]
    assert ["/line?" in path for path in applied[2:]] == [True, False]


def test_a_pipeline_that_changed_since_it_was_saved_is_refused_before_anything_is_applied(
    api: ApiServer, tmp_path: Path
) -> None:
    def made(word: str) -> Any:
        @model("word", uri="s3://word", local_folder=str(tmp_path / "word"))
        def f() -> str:
            return word

        return f

    save(made("one"))
    said = r"word changed since .*, so the uploaded artifact is out of date: do upload\(f\) first"
    for verb in (deploy_remote, diff):
        with pytest.raises(ArtifactError, match=said):
            verb(made("two"), options())
    assert api.requests == []


@pytest.mark.usefixtures("served")
def test_the_child_is_addressed_in_the_cluster(api: ApiServer) -> None:
    deploy_remote(plus(), options(), timeout=30)
    text = json.dumps(api.objects["seldondeployments", "plus"]["spec"])
    assert "http://line-default.production.svc.cluster.local:9000" in text


@pytest.mark.usefixtures("served")
def test_a_named_ingress_is_called(api: ApiServer) -> None:
    where = f"http://127.0.0.1:{api.port}"
    remote = deploy_remote(plus(), options(ingress=where), timeout=30)
    assert remote.endpoint == f"{where}/seldon/production/plus/v2/models/plus"
    np.testing.assert_array_equal(remote.predict(X), [2.0, 3.0])
    assert not api.asked("GET", "/proxy/")


def test_an_ingress_that_does_not_lead_there_is_named(api: ApiServer) -> None:
    with pytest.raises(
        DeploymentFailed, match=r"not at http://127\.0\.0\.1:1/seldon/production/plus"
    ):
        deploy_remote(plus(), options(ingress="http://127.0.0.1:1"), timeout=1)


@pytest.mark.usefixtures("served")
def test_a_model_that_is_not_ready_yet_is_asked_again(api: ApiServer) -> None:
    api.fault("GET", "/proxy/", 503, "no endpoints", times=2)
    deploy_remote(plus(), options(), timeout=30)
    assert api.asked("GET", "/proxy/v2/models/plus/ready") == 3


def test_a_missing_right_to_the_proxy_is_named(api: ApiServer) -> None:
    api.fault("GET", "/proxy/", 403, "services/proxy is forbidden")
    with pytest.raises(DeploymentFailed, match="cannot be called from here: 403 services/proxy"):
        deploy_remote(plus(), options(), timeout=30)


def test_a_refusing_ingress_does_not_blame_the_proxy(api: ApiServer) -> None:
    where = f"http://127.0.0.1:{api.port}"
    api.fault("GET", "/seldon/", 401, "log in")
    with pytest.raises(
        DeploymentFailed, match="401 log in; make the gateway that protects"
    ) as error:
        deploy_remote(plus(), options(ingress=where), timeout=30)
    assert "or leave the ingress out of remote_options" in str(error.value)
    assert "services/proxy" not in str(error.value)


def test_without_an_ingress_none_is_suspected(api: ApiServer) -> None:
    with pytest.raises(DeploymentFailed, match="no endpoints available for service") as error:
        deploy_remote(plus(), options(), timeout=1)
    assert "ingress" not in str(error.value)


@pytest.mark.usefixtures("served")
def test_redeploying_removes_children_no_longer_referenced(api: ApiServer) -> None:
    deploy_remote(plus(), options(), timeout=30)
    deploy_remote(plus(child=None), options(), timeout=30)
    assert there(api) == {"plus"}


@pytest.mark.usefixtures("served")
def test_deployed_again_without_a_change_nothing_is_written(api: ApiServer) -> None:
    deploy_remote(plus(), options(), timeout=30)
    before = api.version()
    deploy_remote(plus(), options(), timeout=30)
    assert api.version() == before


@pytest.mark.usefixtures("served")
def test_a_change_is_waited_for_although_the_old_version_is_ready(api: ApiServer) -> None:
    deploy_remote(plus(), options(), timeout=30)
    told: list[str] = []

    def later() -> None:
        api.state("seldondeployments", "plus", state="Creating")
        told.append("made")
        api.state("seldondeployments", "plus", state="Available")

    api.operator = lambda item: threading.Timer(0.2, later).start()
    deploy_remote(plus("s3://models/plus-2"), options(), timeout=30)
    assert told == ["made"]


@pytest.mark.usefixtures("served")
def test_a_child_of_two_pipelines_stays_with_the_other(api: ApiServer) -> None:
    with FakeModel("other", answer=lambda x: x) as fake:
        api.services["other-default:9000"] = fake.url
        deploy_remote(plus(), options(), timeout=30)
        deploy_remote(plus("s3://models/other", "other"), options(), timeout=30)
        deploy_remote(plus(), options(), timeout=30)
        assert undeploy("plus", options(), timeout=30) == ["SeldonDeployment plus"]
        assert there(api) == {"other", "line"}
        gone = undeploy("other", options(), timeout=30)
        assert sorted(gone) == ["SeldonDeployment line", "SeldonDeployment other"]
    assert undeploy("other", options(), timeout=30) == []


def test_undeploying_waits_until_it_is_gone(api: ApiServer) -> None:
    api.operator(api.put("seldondeployments", ours("plus")))
    api.held = True
    released: list[str] = []

    def release(item: Object) -> None:
        def later() -> None:
            released.append("released")
            api.drop("seldondeployments", "plus")

        threading.Timer(0.3, later).start()

    api.deleting = release
    undeploy("plus", options(), timeout=30)
    assert released == ["released"]


def test_an_object_that_is_not_gone_at_the_deadline_is_named_with_its_finalizers(
    api: ApiServer,
) -> None:
    api.put("seldondeployments", ours("plus"))
    api.held = True
    with pytest.raises(
        DeploymentFailed, match="still being deleted after 1 seconds; its finalizers block it: fore"
    ):
        undeploy("plus", options(), timeout=1)


def test_a_model_of_a_manifest_is_found_listed_and_called(
    api: ApiServer, served: FakeModel
) -> None:
    from tempo_runtime.deploy.kubernetes.manifests import documents

    for document in documents(plus(), options()):
        api.operator(api.put("seldondeployments", {**document}))
    assert [(each.name, each.uri) for each in list_models(options())] == [
        ("line", "s3://models/line"),
        ("plus", "s3://models/plus"),
    ]
    wait("plus", options(), timeout=30)
    remote = get_client("plus", options())
    np.testing.assert_array_equal(remote.predict(X), [2.0, 3.0])
    np.testing.assert_array_equal(remote.predict(x=X), [2.0, 3.0])
    assert remote.deployment.up
    assert remote.deployment.id == api.objects["seldondeployments", "plus"]["metadata"]["uid"]
    remote.undeploy()
    assert there(api) == {"line"}


def test_the_state_of_each_model_is_shown(api: ApiServer) -> None:
    api.put("seldondeployments", ours("plus"))
    api.state("seldondeployments", "plus", state="Failed", description="it rains")
    assert {
        name: (each.state, each.reason) for name, each in status("plus", options()).items()
    } == {"plus": ("failed", "it rains")}


def test_the_command_line_shows_the_difference(api: ApiServer) -> None:
    code, printed, told = run(
        "manifest", "tests.cluster.models:parent", "--namespace", "production", "--diff"
    )
    assert code == 0, told
    assert "+  name: cluster-parent\n" in printed
    assert there(api) == set()


@pytest.mark.usefixtures("served")
def test_a_difference_is_shown_and_not_made(api: ApiServer) -> None:
    assert "+kind: SeldonDeployment" in diff(plus(), options())
    assert there(api) == set()
    deploy_remote(plus(), options(), timeout=30)
    assert diff(plus(), options()) == ""
    before = api.version()
    changed = diff(plus("s3://models/plus-2"), options())
    assert "-      modelUri: s3://models/plus\n+      modelUri: s3://models/plus-2\n" in changed
    assert "--- live/SeldonDeployment/plus\n+++ new/SeldonDeployment/plus\n" in changed
    assert api.version() == before


@pytest.mark.usefixtures("served")
def test_a_difference_shows_what_is_removed(api: ApiServer) -> None:
    deploy_remote(plus(), options(), timeout=30)
    alone = diff(plus(child=None), options())
    assert "--- live/SeldonDeployment/line\n+++ new/SeldonDeployment/line\n" in alone
    assert "-  name: line\n" in alone


@pytest.mark.usefixtures("served")
def test_a_difference_does_not_show_what_stays_with_another(api: ApiServer) -> None:
    deploy_remote(plus(), options(), timeout=30)
    line = api.objects["seldondeployments", "line"]
    line["metadata"]["labels"]["deployment.tempo-runtime/other"] = ""
    assert "SeldonDeployment/line" not in diff(plus(child=None), options())


def test_the_state_is_asked_for_without_a_watch(api: ApiServer) -> None:
    api.put("seldondeployments", ours("plus"))
    status("plus", options())
    get_client("plus", options()).status()
    assert not api.asked("WATCH", "")


def test_logs_are_those_of_the_models_pods(api: ApiServer) -> None:
    api.put("seldondeployments", ours("plus"))
    api.pod("plus-1", {"seldon-deployment-id": "plus"})
    api.pod("line-1", {"seldon-deployment-id": "line"})
    api.logs["plus-1", "model"] = "hello\n"
    assert get_client("plus", options()).deployment.logs() == {"plus": "hello\n"}


def ours(name: str, **metadata: Any) -> Object:
    labels = {"app.kubernetes.io/managed-by": "tempo-runtime"}
    return {"metadata": {"name": name, "labels": labels, **metadata}, "spec": {}}
