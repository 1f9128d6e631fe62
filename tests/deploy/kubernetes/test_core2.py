"""Seldon Core 2: called by header, with a Server that is waited for, tried again, and gone in the end."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from tempo_runtime import DeploymentFailed, Seldon2Options, deploy_remote
from tempo_runtime.deploy.kubernetes import connection as connections
from tempo_runtime.deploy.kubernetes.deploy import diff, get_client, status, undeploy, wait
from tempo_runtime.deploy.kubernetes.deployment import ClusterDeployment
from tempo_runtime.deploy.kubernetes.platforms import endpoint, platform_of
from tempo_runtime.deploy.kubernetes.rollout import _by_agent
from tempo_runtime.deploy.kubernetes.service_proxy import ServiceProxy
from tempo_runtime.testing import FakeModel
from tests.deploy.kubernetes.api_server import TOKEN, ApiServer, Object
from tests.deploy.kubernetes.conftest import options, plus
from tests.deploy.kubernetes.core2 import UNKNOWN_CALL, Core2
from tests.deploy.kubernetes.core2_causes import CAUSES, SERVER, Cause, arrange

X = np.array([1.0, 2.0])
OTHER = plus("s3://models/other", "other")


def chosen(**remote: Any) -> Seldon2Options:
    return Seldon2Options(remote_options={"namespace": "production", **remote})


@pytest.fixture(scope="module")
def fakes() -> Iterator[dict[str, str]]:
    """Servers of models: `plus` adds one, `other` two."""
    with (
        FakeModel("plus", answer=lambda x: x + 1) as first,
        FakeModel("other", answer=lambda x: x + 2) as second,
    ):
        yield {"plus": first.url, "other": second.url}


@pytest.fixture(params=[(2, 10)])
def core(api: ApiServer, fakes: dict[str, str], request: pytest.FixtureRequest) -> Iterator[Core2]:
    """Seldon Core 2, with the Server for MLServer's own frameworks."""
    found = Core2(api, request.param)
    found.serves |= fakes
    found.install()
    yield found
    found.close()


versions = pytest.mark.parametrize("core", [(2, 4), (2, 8), (2, 9), (2, 10)], indirect=True)


def refused(model: Any, timeout: float = 20, **remote: Any) -> str:
    with pytest.raises(DeploymentFailed) as error:
        deploy_remote(model, chosen(**remote), timeout=timeout)
    return str(error.value)


@versions
def test_a_pipeline_is_deployed_called_and_removed(api: ApiServer, core: Core2) -> None:
    remote = deploy_remote(plus(), chosen(), timeout=20)
    np.testing.assert_array_equal(remote.predict(X), [2.0, 3.0])
    assert {each.state for each in status("plus", chosen()).values()} == {"ready"}
    np.testing.assert_array_equal(get_client("plus", chosen()).predict(X), [2.0, 3.0])
    wait("plus", chosen(), timeout=20)
    remote.undeploy()
    left = {(kind, name) for kind, name in api.objects if "mlserver-0" not in name}
    claims = {("persistentvolumeclaims", "mlserver-models-tempo-runtime-0")}
    assert left == {("servers", "mlserver")} | (claims if core.version < (2, 9) else set())


def test_a_pickled_client_has_no_secrets_and_finds_its_deployment(
    api: ApiServer, core: Core2
) -> None:
    with_variable = chosen(env={"REGION": "the-region"})
    remote = deploy_remote(plus(), with_variable, timeout=20)
    np.testing.assert_array_equal(remote.predict(X), [2.0, 3.0])
    pickled = pickle.dumps(remote)
    for text in ("the-region", TOKEN, *remote.headers.values()):
        assert text.encode() not in pickled
    again = pickle.loads(pickled)
    np.testing.assert_array_equal(again.predict(X), [2.0, 3.0])
    assert again.deployment.id == remote.deployment.id
    remote.undeploy()
    late = pickle.loads(pickled)
    with pytest.raises(DeploymentFailed, match="plus"):
        late.predict(X)
    deploy_remote(plus(), chosen(), timeout=20)
    with pytest.raises(DeploymentFailed, match="another deployment has its name now"):
        late.predict(X)
    undeploy("plus", chosen())
    with pytest.raises(DeploymentFailed, match="plus was undeployed"):
        pickle.dumps(remote)


# Addresses


def model_of(name: str) -> Object:
    return {"metadata": {"name": name, "uid": "1"}, "kind": "Model"}


def test_in_a_pod_a_model_is_called_at_the_mesh_with_its_header(api: ApiServer) -> None:
    connection = connections.connect()
    connection.inside = True
    deployment = ClusterDeployment(connection, chosen(), model_of("plus"))
    assert deployment.main().url == "http://seldon-mesh.production.svc.cluster.local"
    assert deployment.main().headers == {"seldon-model": "plus"}
    deployment.close()


def test_seldons_ingress_needs_headers_for_grpc(api: ApiServer) -> None:
    connection = connections.connect()
    item = {"metadata": {"name": "plus", "uid": "1"}, "kind": "SeldonDeployment"}
    deployment = ClusterDeployment(connection, options(ingress="http://gate"), item)
    assert deployment.main().headers == {"seldon": "plus", "namespace": "production"}
    deployment.close()


def test_the_relay_sends_the_header_of_its_model_and_not_the_caller_s(core: Core2) -> None:
    deploy_remote(plus(), chosen(), timeout=20)
    connection = connections.connect()
    relay = ServiceProxy(connection, endpoint("plus", chosen()))
    before = len(core.asked)
    for stated in ({}, {"seldon-model": "line"}, {"Seldon-Model": "other"}):
        url = f"{relay.url}/v2/models/plus/ready"
        answer = httpx.get(url, headers={**relay.headers, **stated}, trust_env=False)
        assert answer.status_code == 400
    assert core.asked[before:] == [("plus", "/v2/models/plus/ready", 400)] * 3
    relay.close()
    connection.close()


def test_the_status_of_a_model_has_its_headers(core: Core2) -> None:
    remote = deploy_remote(plus(), chosen(), timeout=20)
    headers = {each.name: each.headers for each in remote.status()}
    assert headers == {name: {"seldon-model": name} for name in ("plus", "line")}
    remote.undeploy()


# Readiness


def test_a_route_that_comes_later_is_waited_for(core: Core2) -> None:
    core.lag = 0.5
    remote = deploy_remote(plus(), chosen(), timeout=20)
    codes = [code for name, _, code in core.asked if name == "plus"]
    assert codes[0] == 404
    assert codes[-1] == 400
    np.testing.assert_array_equal(remote.predict(X), [2.0, 3.0])


@pytest.mark.parametrize(
    ("code", "said", "expected"),
    [
        (400, UNKNOWN_CALL, True),
        (400, "", False),
        (400, '{"error":"Model plus is not ready yet."}', False),
        (404, UNKNOWN_CALL, False),
        (503, "no healthy upstream", False),
    ],
)
def test_an_answer_of_the_agent_is_recognised(code: int, said: str, expected: bool) -> None:
    assert _by_agent(code, said) is expected


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_server_that_changes_is_waited_for(core: Core2, replicas: int) -> None:
    deploy_remote(plus(), chosen(replicas=replicas, models={"line": {"replicas": 1}}), timeout=20)
    core.lag = 0.2
    again = chosen(replicas=replicas, models={"line": {"replicas": 1}}, env={"A": "1"})
    remote = deploy_remote(plus(), again, timeout=20)
    pods = [f"{SERVER}-{index}" for index in reversed(range(replicas))]
    assert [pod for pod in core.started if SERVER in pod] == pods * 2
    assert core.loaded == {"plus": SERVER, "line": "mlserver"}
    np.testing.assert_array_equal(remote.predict(X), [2.0, 3.0])


def test_more_replicas_are_waited_for_and_replace_no_pod(api: ApiServer, core: Core2) -> None:
    deploy_remote(plus(child=None), chosen(), timeout=20)
    deploy_remote(plus(child=None), chosen(replicas=2), timeout=20)
    assert [pod for pod in core.started if SERVER in pod] == [f"{SERVER}-0", f"{SERVER}-1"]
    assert api.objects["pods", f"{SERVER}-1"]["status"]["phase"] == "Running"


def test_a_server_whose_new_pods_do_not_start_fails_the_deployment(core: Core2) -> None:
    pull = {"name": "mlserver", "image": "i", "state": {"waiting": {"reason": "ImagePullBackOff"}}}
    both = chosen(replicas=2, models={"line": {"replicas": 1}})
    deploy_remote(plus(), both, timeout=20)
    core.stuck[SERVER] = {"containerStatuses": [pull]}
    text = refused(plus(), replicas=2, models={"line": {"replicas": 1}}, image="i")
    assert "has failed: " in text
    assert "pod tempo-runtime-1: image i cannot be pulled (ImagePullBackOff" in text
    # Another pod still serves it, and a deployment without changes does not wait.
    assert core.loaded["plus"] == SERVER


# Shared by pipelines


def test_a_second_pipeline_shares_server_and_child_and_replaces_no_pod(core: Core2) -> None:
    first = deploy_remote(plus(), chosen(), timeout=20)
    second = deploy_remote(OTHER, chosen(), timeout=20)
    assert [pod for pod in core.started if SERVER in pod] == [f"{SERVER}-0"]
    np.testing.assert_array_equal(first.predict(X), [2.0, 3.0])
    np.testing.assert_array_equal(second.predict(X), [3.0, 4.0])
    first.undeploy()
    assert core.loaded == {"other": SERVER, "line": "mlserver"}
    np.testing.assert_array_equal(second.predict(X), [3.0, 4.0])
    second.undeploy()
    assert core.loaded == {}


def test_a_server_is_not_changed_under_another_pipeline(core: Core2) -> None:
    deploy_remote(OTHER, chosen(), timeout=20)
    for remote, field in (
        ({"env": {"A": "1"}}, "spec.podSpec"),
        ({"labels": {"team": "a"}}, "metadata.labels.team"),
    ):
        text = refused(plus(), **remote)
        assert f"Server tempo-runtime was also deployed with other, for which {field}" in text
        assert "name another with the option server" in text


def test_a_server_of_an_earlier_version_of_this_package_is_brought_up_to_date(
    api: ApiServer, core: Core2
) -> None:
    deploy_remote(OTHER, chosen(), timeout=20)
    server = api.objects["servers", SERVER]
    server["spec"]["extraCapabilities"] = server["spec"].pop("capabilities")
    deploy_remote(plus(), chosen(), timeout=20)
    assert api.objects["servers", SERVER]["spec"]["capabilities"] == [SERVER]


def test_replicas_that_the_scheduler_removed_are_requested_again(
    api: ApiServer, core: Core2
) -> None:
    deploy_remote(OTHER, chosen(models={"line": {"replicas": 1}}), timeout=20)
    more = chosen(replicas=2, models={"line": {"replicas": 1}})
    deploy_remote(plus(), more, timeout=20).undeploy()
    assert api.objects["servers", SERVER]["spec"]["replicas"] == 1
    assert "replicas: 2" in diff(plus(), more)
    remote = deploy_remote(plus(), more, timeout=20)
    np.testing.assert_array_equal(remote.predict(X), [2.0, 3.0])
    assert diff(plus(), more) == ""


def test_replicas_that_a_server_is_given_meanwhile_stay(api: ApiServer, core: Core2) -> None:
    deploy_remote(OTHER, chosen(), timeout=20)

    def admit(item: Object, live: Object | None) -> Object:
        if item["metadata"]["name"] == "plus" and live is None:
            core.scale(SERVER, 2)
        return item

    api.admit = admit
    deploy_remote(plus(), chosen(), timeout=20)
    assert api.objects["servers", SERVER]["spec"]["replicas"] == 2


def test_only_the_replicas_of_a_server_are_taken_from_others(api: ApiServer, core: Core2) -> None:
    deploy_remote(plus(child=None), chosen(), timeout=20)
    server = api.objects["servers", SERVER]
    server["spec"] |= {"replicas": 0, "serverConfig": "mine"}
    fields = [["spec", "replicas"], ["spec", "serverConfig"]]
    server["metadata"]["managedFields"] = [{"manager": "kubectl", "fields": fields}]
    text = refused(plus(child=None))
    assert "spec.serverConfig belongs to kubectl" in text
    assert server["spec"]["replicas"] == 0


def test_memory_is_written_as_the_operator_stores_it(core: Core2) -> None:
    much = chosen(memory="1024Mi")
    for _ in range(2):
        deploy_remote(plus(child=None), much, timeout=20)
    assert diff(plus(child=None), much) == ""
    deploy_remote(plus(child=None), chosen(memory="2Gi"), timeout=20)


# Removal


def test_models_are_gone_before_their_server_is_deleted(api: ApiServer, core: Core2) -> None:
    deploy_remote(plus(), chosen(), timeout=20)
    there: list[set[str]] = []
    deleting = api.deleting

    def deleted(item: Object) -> None:
        if item["kind"] == "Server":
            there.append({name for kind, name in api.objects if kind == "models"})
        deleting(item)

    api.deleting = deleted
    gone = undeploy("plus", chosen(), timeout=60)
    assert there == [set()]
    assert sorted(gone) == ["Model line", "Model plus", "Server tempo-runtime"]


def test_a_model_that_stays_is_named_with_what_holds_it_and_what_is_left(
    api: ApiServer, core: Core2
) -> None:
    deploy_remote(plus(child=None), chosen(), timeout=20)
    deleting, api.deleting = api.deleting, lambda item: None
    with pytest.raises(DeploymentFailed) as error:
        undeploy("plus", chosen(), timeout=1)
    text = str(error.value)
    assert "Model plus is still being deleted after 1 seconds" in text
    assert "seldon.model.finalizer" in text
    assert "then undeploy again: Server tempo-runtime can only be deleted after that" in text
    api.deleting = deleting
    api.drop("models", "plus")
    core.unload("plus")
    assert undeploy("plus", chosen(), timeout=20) == ["Server tempo-runtime"]


def test_a_server_that_a_pipeline_leaves_for_another_is_removed(
    api: ApiServer, core: Core2
) -> None:
    core.install("own")
    deploy_remote(plus(child=None), chosen(), timeout=20)
    deploy_remote(plus(child=None), chosen(server="own"), timeout=20)
    assert core.loaded == {"plus": "own"}
    assert ("servers", SERVER) not in api.objects


# A failure, and after it


BROKEN = "rpc error: code = Internal desc = builtins.RuntimeError: no vocabulary"


@pytest.mark.parametrize(("core", "name"), [((2, 4), "plus"), ((2, 10), "line")], indirect=["core"])
def test_a_failed_model_is_tried_again_when_deployed_unchanged(
    api: ApiServer, core: Core2, name: str
) -> None:
    core.broken[name] = BROKEN
    for _ in range(2):
        before = core.loads.count(name)
        text = refused(plus())
        assert core.loads.count(name) > before
        assert text.startswith(f"{name} has failed: ")
        assert BROKEN in text
    del core.broken[name]
    remote = deploy_remote(plus(), chosen(), timeout=20)
    np.testing.assert_array_equal(remote.predict(X), [2.0, 3.0])
    assert diff(plus(), chosen()) == ""


def test_a_shared_child_that_failed_is_tried_again_with_another_pipeline(core: Core2) -> None:
    core.broken["line"] = BROKEN
    refused(plus())
    del core.broken["line"]
    deploy_remote(OTHER, chosen(), timeout=20)
    assert core.loaded["line"] == "mlserver"


@pytest.mark.parametrize("cause", CAUSES.values(), ids=CAUSES)
def test_a_cause_is_reported(core: Core2, cause: Cause) -> None:
    arrange(core, cause)
    text = refused(plus(child=None), timeout=20 if cause.final else 1, **cause.options)
    assert text.startswith("plus has failed: " if cause.final else "plus is not ready after 1 sec")
    said = status("plus", chosen(**cause.options))["plus"].reason
    for told in cause.told:
        assert told in text
        assert told in said
    if cause.why:
        assert f": {said}; applied so far: " in text


def test_pods_that_cannot_be_created_are_reported(core: Core2, api: ApiServer) -> None:
    core.quota = "small"
    text = refused(plus(child=None), timeout=1)
    assert "FailedCreate: create Pod tempo-runtime-0 failed: exceeded quota: small; request" in text


def test_the_reason_why_the_operator_cannot_create_a_server_is_reported(core: Core2) -> None:
    core.unmade = 'failed to get ServerConfig: ServerConfig.mlops.seldon.io "mlserver" not found'
    text = refused(plus(child=None), timeout=1)
    assert f"Server tempo-runtime has no pods yet ({core.unmade})" in text
    assert core.unmade in status("plus", chosen())["plus"].reason


def test_models_of_other_frameworks_need_a_server_for_them(core: Core2, api: ApiServer) -> None:
    for kind, name in list(api.objects):
        api.drop(kind, name)
    text = refused(plus(), timeout=2)
    assert "it needs a Server with sklearn, such as that of the Helm chart" in text


@pytest.mark.parametrize(
    ("spec", "selector", "server"),
    [
        ({"server": "mine"}, "", "mine"),
        ({"requirements": ["tempo-runtime"]}, "", "tempo-runtime"),
        ({"requirements": ["tempo-runtime"]}, "server=", "tempo-runtime"),
        ({"requirements": ["sklearn"]}, "server=second", "second"),
        ({"requirements": ["sklearn"]}, "", None),
    ],
)
def test_a_model_has_the_pods_of_the_server_that_its_status_names(
    spec: Object, selector: str, server: str | None
) -> None:
    item = {"metadata": {"name": "line"}, "spec": spec, "status": {"selector": selector}}
    names = ("mine", "second", "tempo-runtime", "mlserver", "")
    pods = {name: {"metadata": {"labels": {"seldon-server-name": name}}} for name in names}
    platform = platform_of(chosen())
    assert [name for name in names if platform.of(pods[name], item)] == [server] * bool(server)
