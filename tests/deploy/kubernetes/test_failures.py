"""Failures on the way to a cluster: each ends within its deadline, with a line that says why."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import AuthoringError, DeploymentFailed, SettingsError, deploy_remote
from tempo_runtime._util import extras
from tempo_runtime._util.ports import HOST, port_of, reserved
from tempo_runtime.deploy.kubernetes.deploy import get_client, list_models, status, undeploy, wait
from tempo_runtime.testing import FakeModel
from tests.deploy.kubernetes.api_server import TOKEN, ApiServer, failure
from tests.deploy.kubernetes.applying import apply
from tests.deploy.kubernetes.conftest import CONFIG, options, plus


def told(error: pytest.ExceptionInfo[DeploymentFailed]) -> str:
    """The message, which is one line."""
    text = str(error.value)
    assert "\n" not in text
    return text


def refused(timeout: float = 10, **remote: Any) -> str:
    with pytest.raises(DeploymentFailed) as error:
        deploy_remote(plus(), options(**remote), timeout=timeout)
    return told(error)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "kubernetes", None)
    assert extras.command("k8s") in refused()


def test_without_a_kubeconfig_it_says_so(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"the kubeconfig {kubeconfig} has no usable cluster" in refused()
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert "no cluster is configured: there is no ~/.kube/config" in refused()


@pytest.mark.parametrize("text", ["", "[", "kind: Config", "- a", "current-context: none"])
def test_an_invalid_kubeconfig_is_named(kubeconfig: Path, text: str) -> None:
    kubeconfig.write_text(text)
    assert f"the kubeconfig {kubeconfig} has no usable cluster" in refused()


def test_a_pod_uses_its_service_account(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", HOST)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    assert "the pod's service account has no usable cluster" in refused()


def test_a_cluster_that_is_not_there_is_named(kubeconfig: Path) -> None:
    with reserved() as port:
        kubeconfig.write_text(CONFIG.format(host=HOST, port=port, token=TOKEN))
        assert (
            f"the cluster at http://{HOST}:{port} cannot be reached; check that it is up"
            in refused(600)
        )


def test_a_cluster_that_does_not_answer_is_given_up_at_the_deadline(kubeconfig: Path) -> None:
    with socket.create_server((HOST, 0)) as silent:
        port = port_of(silent)
        kubeconfig.write_text(CONFIG.format(host=HOST, port=port, token=TOKEN))
        assert f"the cluster at http://{HOST}:{port} does not answer" in refused(1)


def test_an_answer_that_is_not_from_an_api_is_recognised(api: ApiServer) -> None:
    api.fault("GET", "/plus", 200, "<html>log in</html>")
    assert "not JSON: is this the URL of a Kubernetes API?" in refused()


def test_credentials_that_are_not_accepted(api: ApiServer, kubeconfig: Path) -> None:
    kubeconfig.write_text(CONFIG.format(host=HOST, port=api.port, token="another"))
    text = refused()
    assert "does not accept the credentials of the current context (401); log in again" in text
    assert "another" not in text


def test_a_missing_operator_is_named(api: ApiServer) -> None:
    api.kinds.clear()
    assert (
        "the cluster has no seldondeployments.machinelearning.seldon.io; install Seldon Core v1"
    ) in refused()


def test_a_missing_namespace_is_named(api: ApiServer) -> None:
    api.namespaces.clear()
    assert "there is no namespace production; create it: kubectl create namespace" in refused()


def test_a_missing_right_is_named(api: ApiServer) -> None:
    message = 'User "me" cannot create resource "seldondeployments"'
    api.fault("PATCH", "/plus", 403, failure(403, message))
    text = refused()
    assert "you may not patch seldondeployments.machinelearning.seldon.io in the namespace" in text
    assert "k8s/rbac" in text
    assert message in text


def test_a_quota_is_reported(api: ApiServer) -> None:
    message = "forbidden: exceeded quota: small, requested: count/x=1, used: 1, limited: 1"
    api.fault("PATCH", "/line", 403, failure(403, message))
    text = refused()
    assert text.startswith("SeldonDeployment line: forbidden: exceeded quota: small")
    assert "or get a higher quota in production" in text


@pytest.mark.parametrize(("code", "kind"), [(400, "is refused"), (403, "is refused")])
def test_a_webhooks_message_is_reported(api: ApiServer, code: int, kind: str) -> None:
    message = 'admission webhook "v1.seldon" denied the request: Invalid protocol'
    api.fault("PATCH", "/plus", code, failure(code, message))
    assert f"SeldonDeployment plus {kind}: {message}; correct the options" in refused()


def test_a_webhook_that_is_down_is_the_operators(api: ApiServer) -> None:
    api.fault("PATCH", "/plus", 500, failure(500, 'failed calling webhook "v1.seldon": refused'))
    assert "check that the operator's own pods run" in refused()


def test_an_invalid_object_is_reported(api: ApiServer) -> None:
    api.fault("PATCH", "/plus", 422, failure(422, "spec.replicas: Invalid value: -1"))
    assert "SeldonDeployment plus is invalid: spec.replicas: Invalid value: -1" in refused()
    assert not api.objects


def test_a_webhook_without_dry_runs_is_asked_when_it_is_applied(
    api: ApiServer, operator: Any, served: FakeModel
) -> None:
    message = 'admission webhook "x" does not support dry run'
    api.fault("PATCH", "dryRun=All", 400, failure(400, message), times=2)
    deploy_remote(plus(), options(), timeout=30)
    assert api.objects


@pytest.mark.parametrize("act", [refused, lambda: undeploy("plus", options())])
def test_anothers_object_is_left_alone(api: ApiServer, act: Any) -> None:
    item = {"metadata": {"name": "plus", "managedFields": [{"manager": "helm", "fields": []}]}}
    api.put("seldondeployments", item)
    before = api.version()
    try:
        text = act()
    except DeploymentFailed as error:
        text = str(error)
    assert text.startswith(
        "SeldonDeployment plus in production belongs to helm and was not deployed by tempo-runtime"
    )
    for ask in (get_client, status, wait):
        with pytest.raises(DeploymentFailed, match="belongs to helm"):
            ask("plus", options())
    assert api.version() == before


def test_anothers_field_is_not_overwritten(
    api: ApiServer, operator: Any, served: FakeModel
) -> None:
    deploy_remote(plus(), options(), timeout=30)
    live = api.objects["seldondeployments", "plus"]
    theirs = {**live, "spec": {"protocol": "v2"}}
    theirs["metadata"] = {**live["metadata"], "labels": {}, "annotations": {}}
    api.put("seldondeployments", apply(live, theirs, "kubectl", force=True))
    assert "SeldonDeployment plus: spec.protocol belongs to kubectl, and is not over" in refused()


def test_too_many_requests_are_sent_again_when_the_cluster_says(
    api: ApiServer, operator: Any, served: FakeModel
) -> None:
    for method in ("GET", "PATCH", "WATCH"):
        api.fault(method, "/seldondeployments", 429, headers={"retry-after": "0"}, times=2)
    deploy_remote(plus(), options(), timeout=30)
    api.fault("GET", "/seldondeployments", 503, "busy", headers={"retry-after": "3600"})
    assert "answers 503: busy" in refused(30)


def test_a_connection_that_is_cut_is_made_again(
    api: ApiServer, operator: Any, served: FakeModel
) -> None:
    for method in ("PATCH", "WATCH"):
        api.fault(method, "/seldondeployments", 0)
    deploy_remote(plus(), options(), timeout=30)


def test_a_missing_model_is_reported(api: ApiServer) -> None:
    for ask in (get_client, status, wait):
        with pytest.raises(
            DeploymentFailed, match="there is no SeldonDeployment plus in production"
        ):
            ask("plus", options())
    assert list_models(options()) == []


def test_other_options_and_models_are_refused_before_the_cluster_is_asked() -> None:
    with pytest.raises(SettingsError, match="expected SeldonCoreOptions, Seldon2Options or KServe"):
        deploy_remote(plus(), options().local_options)  # type: ignore[arg-type]
    with pytest.raises(AuthoringError, match="has no uri"):
        deploy_remote(plus(""), options())
