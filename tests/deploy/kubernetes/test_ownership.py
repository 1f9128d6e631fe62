"""Objects of several deployments: kept for the others, and not changed under them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tempo_runtime import (
    DeploymentFailed,
    KServeOptions,
    Model,
    ModelFramework,
    Seldon2Options,
    deploy_remote,
)
from tempo_runtime.deploy.kubernetes import connection as connections
from tempo_runtime.deploy.kubernetes.api_errors import ApiCall
from tempo_runtime.deploy.kubernetes.connection import ApiConnection, Deadline
from tempo_runtime.deploy.kubernetes.deploy import undeploy
from tempo_runtime.deploy.kubernetes.manifests import documents
from tempo_runtime.deploy.kubernetes.rollout import Rollout
from tempo_runtime.deploy.kubernetes.session import Api
from tempo_runtime.testing import FakeModel
from tests.deploy.kubernetes.api_server import ApiServer
from tests.deploy.kubernetes.applying import apply
from tests.deploy.kubernetes.conftest import options, plus

OTHER = plus("s3://models/other", "other")
PLURALS = {
    "SeldonDeployment": "seldondeployments",
    "Model": "models",
    "Server": "servers",
    "InferenceService": "inferenceservices",
    "ServingRuntime": "servingruntimes",
}
READY = {"state": "Available", "conditions": [{"type": "Ready", "status": "True"}]}


@pytest.fixture(autouse=True)
def ready(api: ApiServer) -> None:
    api.operator = lambda item: api.state(PLURALS[item["kind"]], item["metadata"]["name"], **READY)


@pytest.fixture(autouse=True)
def urls(api: ApiServer) -> Iterator[dict[str, str]]:
    """Where the pipelines are; each behind its Service."""
    with FakeModel("plus") as first, FakeModel("other") as second:
        found = {"plus": first.url, "other": second.url}
        for name, url in found.items():
            api.services |= {f"{name}-default:9000": url, f"{name}-predictor:80": url}
        yield found


@pytest.fixture
def connection(api: ApiServer) -> Iterator[ApiConnection]:
    found = connections.connect()
    yield found
    found.close()


def names(api: ApiServer, plural: str = "seldondeployments") -> set[str]:
    return {name for kind, name in api.objects if kind == plural}


def rollout(connection: ApiConnection, model: Any) -> Rollout:
    return Rollout(connection, Deadline(30), options(), documents(model, options()))


def from_a_manifest(api: ApiServer, model: Any, chosen: Any) -> None:
    for document in documents(model, chosen):
        live = apply(None, document, "argocd-controller")
        live["metadata"]["generation"] = 1
        api.operator(api.put(PLURALS[document["kind"]], live))


def meanwhile(monkeypatch: pytest.MonkeyPatch, verb: str, act: Callable[[], object]) -> None:
    """Do something just before the child is next deleted or relabelled."""
    asking = getattr(Api, verb)

    def ask(self: Api, asked: ApiCall, what: Any) -> Any:
        if asked.name == "line":
            monkeypatch.setattr(Api, verb, asking)
            act()
        return asking(self, asked, what)

    monkeypatch.setattr(Api, verb, ask)


@pytest.mark.parametrize(
    ("chosen", "shared"),
    [
        (options(), {("seldondeployments", "line"), ("seldondeployments", "other")}),
        (
            KServeOptions(remote_options={"namespace": "production"}),
            {("inferenceservices", "line"), ("servingruntimes", "tempo-runtime")},
        ),
    ],
    ids=["seldon", "kserve"],
)
def test_an_object_applied_from_a_manifest_stays(
    api: ApiServer, chosen: Any, shared: set[tuple[str, str]]
) -> None:
    from_a_manifest(api, OTHER, chosen)
    deploy_remote(plus(), chosen, timeout=30)
    deploy_remote(plus(), chosen, timeout=30)
    gone = undeploy("plus", chosen, timeout=30)
    assert [each.split()[1] for each in gone] == ["plus"]
    assert shared <= api.objects.keys()


def test_a_model_of_a_manifest_goes_when_it_is_undeployed_by_its_name(api: ApiServer) -> None:
    from_a_manifest(api, OTHER, options())
    deploy_remote(plus(), options(), timeout=30)
    undeploy("plus", options(), timeout=30)
    undeploy("other", options(), timeout=30)
    assert undeploy("line", options(), timeout=30) == ["SeldonDeployment line"]
    assert not api.objects


def test_deployments_at_the_same_time_both_have_their_child(
    api: ApiServer, connection: ApiConnection
) -> None:
    first, second = rollout(connection, plus()), rollout(connection, OTHER)
    for each in (first, second):
        each.read_live_state()
    for each in (first, second):
        each.run(None)
    undeploy("other", options(), timeout=30)
    assert names(api) == {"plus", "line"}


def test_a_child_that_another_takes_while_it_is_undeployed_stays(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy_remote(plus(), options(), timeout=30)
    meanwhile(monkeypatch, "delete", lambda: deploy_remote(OTHER, options(), timeout=30))
    assert undeploy("plus", options(), timeout=30) == ["SeldonDeployment plus"]
    assert names(api) == {"other", "line"}


def test_a_child_released_by_two_at_the_same_time_is_deleted(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy_remote(plus(), options(), timeout=30)
    deploy_remote(OTHER, options(), timeout=30)
    meanwhile(monkeypatch, "relabel", lambda: undeploy("other", options(), timeout=30))
    assert undeploy("plus", options(), timeout=30) == [
        "SeldonDeployment plus",
        "SeldonDeployment line",
    ]
    assert not api.objects


def test_a_child_that_goes_while_another_takes_it_is_deployed_again(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy_remote(plus(), options(), timeout=30)
    meanwhile(monkeypatch, "relabel", lambda: undeploy("plus", options(), timeout=30))
    deploy_remote(OTHER, options(), timeout=30)
    assert names(api) == {"other", "line"}


def test_a_child_is_not_changed_under_another_pipeline(api: ApiServer) -> None:
    deploy_remote(plus(), options(), timeout=30)
    before = api.version()
    moved = Model("line", platform=ModelFramework.SKLearn, uri="s3://models/line-2")
    with pytest.raises(
        DeploymentFailed,
        match=r"line was also deployed with plus, for which spec.predictors\[0\].graph.modelUri "
        "would change; give it the same options as there, or deploy it by itself",
    ):
        deploy_remote(plus("s3://models/other", "other", moved), options(), timeout=30)
    assert api.version() == before


def test_a_child_that_is_deployed_by_itself_changes_for_all(api: ApiServer) -> None:
    deploy_remote(plus(), options(), timeout=30)
    deploy_remote(OTHER, options(), timeout=30)
    moved = Model("line", platform=ModelFramework.SKLearn, uri="s3://models/line-2")
    with FakeModel("line") as fake:
        api.services["line-default:9000"] = fake.url
        deploy_remote(moved, options(), timeout=30)
    [predictor] = api.objects["seldondeployments", "line"]["spec"]["predictors"]
    assert predictor["graph"]["modelUri"] == "s3://models/line-2"


def test_a_server_has_the_replicas_of_the_pipeline_that_needs_most(
    api: ApiServer, urls: dict[str, str]
) -> None:
    def deployed(name: str, replicas: int) -> int:
        remote = {"namespace": "production", "models": {name: {"replicas": replicas}}}
        api.services["seldon-mesh:80"] = urls[name]
        model = plus(f"s3://models/{name}", name)
        deploy_remote(model, Seldon2Options(remote_options=remote), timeout=30)
        return int(api.objects["servers", "tempo-runtime"]["spec"]["replicas"])

    assert deployed("plus", 2) == 2
    assert deployed("other", 3) == 3
    assert deployed("plus", 1) == 3


def test_a_server_is_not_changed_under_another_pipeline(
    api: ApiServer, urls: dict[str, str]
) -> None:
    space = {"namespace": "production"}
    api.services["seldon-mesh:80"] = urls["plus"]
    deploy_remote(plus(), Seldon2Options(remote_options={**space, "image": "a"}), timeout=30)
    with pytest.raises(
        DeploymentFailed,
        match=r"Server tempo-runtime was also deployed with plus, .* the option server",
    ):
        deploy_remote(OTHER, Seldon2Options(remote_options={**space, "image": "b"}), timeout=30)


def test_an_object_that_became_anothers_is_left_alone(
    api: ApiServer, connection: ApiConnection
) -> None:
    ours = rollout(connection, plus())
    ours.read_live_state()
    api.put("seldondeployments", {"metadata": {"name": "line"}, "spec": {"theirs": True}})
    with pytest.raises(
        DeploymentFailed, match="belongs to someone else and was not deployed by tempo-runtime"
    ):
        ours.run(None)
    assert api.objects["seldondeployments", "line"]["spec"] == {"theirs": True}


def test_an_object_that_was_replaced_is_not_written_over(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy_remote(plus(), options(), timeout=30)
    live = api.objects["seldondeployments", "line"]

    def replaced(*_: object) -> bool:  # between the last look and the apply
        live["metadata"].update(uid="another")
        return True

    monkeypatch.setattr(Rollout, "_claim", replaced)
    with pytest.raises(DeploymentFailed, match=r"line was replaced .* deploy again"):
        deploy_remote(OTHER, options(), timeout=30)
    assert names(api) == {"plus", "line"}
