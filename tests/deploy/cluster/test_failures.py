"""What goes wrong on the way to a cluster: each ends within its deadline, in a line that says why."""

from __future__ import annotations

import re
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import AuthoringError, DeploymentFailed, SettingsError, deploy_remote
from tempo_runtime.deploy.cluster.deploying import get_client, list_models, status, undeploy, wait
from tempo_runtime.ports import HOST, free_ports, port_of, reserve
from tempo_runtime.testing import FakeModel
from tests.deploy.cluster.api_server import TOKEN, ApiServer, Object, failure
from tests.deploy.cluster.applying import apply
from tests.deploy.cluster.conftest import CONFIG, options, plus

CRASHED = {"exitCode": 1, "reason": "Error"}


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
    assert "pip install 'tempo_runtime[k8s]'" in refused()


def test_without_a_kubeconfig_it_says_so(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"the kubeconfig {kubeconfig} names no cluster" in refused()
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert "no cluster is known: there is no ~/.kube/config" in refused()


@pytest.mark.parametrize("text", ["", "[", "kind: Config", "- a", "current-context: none"])
def test_a_kubeconfig_that_is_none_is_named(kubeconfig: Path, text: str) -> None:
    kubeconfig.write_text(text)
    assert f"the kubeconfig {kubeconfig} names no cluster" in refused()


def test_a_pod_uses_its_service_account(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", HOST)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    assert "the pod's service account names no cluster" in refused()


def test_a_cluster_that_is_not_there_is_named(kubeconfig: Path) -> None:
    [port] = free_ports(1)
    kubeconfig.write_text(CONFIG.format(host=HOST, port=port, token=TOKEN))
    assert f"the cluster at http://{HOST}:{port} cannot be reached; is it up" in refused(600)


def test_a_cluster_that_does_not_answer_is_given_up_at_the_deadline(kubeconfig: Path) -> None:
    with reserve() as silent:
        silent.listen()
        port = port_of(silent)
        kubeconfig.write_text(CONFIG.format(host=HOST, port=port, token=TOKEN))
        assert f"the cluster at http://{HOST}:{port} does not answer" in refused(1)


def test_what_is_no_api_is_told_apart(api: ApiServer) -> None:
    api.fault("GET", "/plus", 200, "<html>log in</html>")
    assert "no JSON: is that the URL of a Kubernetes API?" in refused()


def test_credentials_that_are_not_accepted(api: ApiServer, kubeconfig: Path) -> None:
    kubeconfig.write_text(CONFIG.format(host=HOST, port=api.port, token="another"))
    text = refused()
    assert "does not accept the credentials of the current context (401); log in again" in text
    assert "another" not in text


def test_a_missing_operator_is_named(api: ApiServer) -> None:
    api.kinds.clear()
    assert (
        "the cluster knows no seldondeployments.machinelearning.seldon.io; install Seldon Core v1"
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


def test_a_quota_is_told(api: ApiServer) -> None:
    message = "forbidden: exceeded quota: small, requested: count/x=1, used: 1, limited: 1"
    api.fault("PATCH", "/line", 403, failure(403, message))
    text = refused()
    assert text.startswith("SeldonDeployment line: forbidden: exceeded quota: small")
    assert "have the quota of production raised" in text


@pytest.mark.parametrize(("code", "kind"), [(400, "is refused"), (403, "is refused")])
def test_a_webhooks_message_is_told(api: ApiServer, code: int, kind: str) -> None:
    message = 'admission webhook "v1.seldon" denied the request: Invalid protocol'
    api.fault("PATCH", "/plus", code, failure(code, message))
    assert f"SeldonDeployment plus {kind}: {message}; correct the options" in refused()


def test_a_webhook_that_is_down_is_the_operators(api: ApiServer) -> None:
    api.fault("PATCH", "/plus", 500, failure(500, 'failed calling webhook "v1.seldon": refused'))
    assert "see that the operator's own pods are up" in refused()


def test_an_invalid_object_is_told(api: ApiServer) -> None:
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
    assert text.startswith("SeldonDeployment plus in production is helm's, and not one that")
    for ask in (get_client, status, wait):
        with pytest.raises(DeploymentFailed, match="is helm's"):
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


def cut(api: ApiServer) -> None:
    api.cut()


def forget(api: ApiServer) -> None:
    api.forget()


def restart(api: ApiServer) -> None:
    api.stop()
    api.start()


@pytest.mark.parametrize("happens", [cut, forget, restart])
def test_watches_survive(api: ApiServer, served: FakeModel, happens: Any) -> None:
    def later() -> None:
        assert api.watches(3)
        happens(api)
        for name in ("line", "plus"):
            api.state("seldondeployments", name, state="Available")

    api.operator = lambda item: (
        threading.Timer(0.1, later).start() if item["metadata"]["name"] == "plus" else None
    )
    deploy_remote(plus(), options(), timeout=60)


def test_a_cluster_that_goes_away_while_waiting(api: ApiServer) -> None:
    api.operator = lambda item: (
        threading.Timer(0.2, api.stop).start() if item["metadata"]["name"] == "plus" else None
    )
    text = refused(3)
    assert f"{api.port} went away, and was not back within 3 seconds" in text
    assert "applied, and left there: SeldonDeployment line, SeldonDeployment plus" in text
    api.start()


def test_an_apply_without_an_answer_is_named(api: ApiServer) -> None:
    api.operator = lambda item: api.stop()
    assert "SeldonDeployment line may have been applied; deploy again once it is right" in refused(
        2
    )
    api.start()


def test_what_fails_says_why_and_stays(api: ApiServer) -> None:
    api.operator = lambda item: api.state(
        "seldondeployments", item["metadata"]["name"], state="Failed", description="it rains"
    )
    text = refused(30)
    assert re.match(r"(plus|line) has failed: it rains; applied, and left there: ", text)
    assert ("seldondeployments", "plus") in api.objects


def test_what_is_not_ready_in_time_says_what_it_waits_for(api: ApiServer) -> None:
    api.operator = lambda item: api.state(
        "seldondeployments",
        item["metadata"]["name"],
        state="Creating",
        deploymentStatus={"plus-default-0": {"availableReplicas": 0, "replicas": 1}},
    )
    text = refused(1)
    assert "is not ready after 1 seconds: plus-default-0: 0 of 1 pods are ready; applied" in text


def test_a_crash_is_told_with_the_end_of_its_log(api: ApiServer) -> None:
    def crash(item: Object) -> None:
        api.state("seldondeployments", item["metadata"]["name"], state="Creating")
        waiting = {"reason": "CrashLoopBackOff"}
        initial = {"name": "init", "restartCount": 3, "state": {"waiting": waiting}}
        initial["lastState"] = {"terminated": CRASHED}
        api.pod("plus-1", {"seldon-deployment-id": "plus"}, initContainerStatuses=[initial])

    api.operator = crash
    api.logs["plus-1", "init"] = "copying\nno such bucket\n"
    text = refused(30)
    assert "pod plus-1: init container init ends with 1, 3 restarts: copying / no such buck" in text


def test_pods_of_what_was_before_do_not_fail_what_replaces_them(
    api: ApiServer, operator: Any, served: FakeModel
) -> None:
    deploy_remote(plus(), options(), timeout=30)
    pull = {"name": "plus", "state": {"waiting": {"reason": "ImagePullBackOff"}}}
    api.pod("plus-1", {"seldon-deployment-id": "plus"}, containerStatuses=[pull])
    deploy_remote(plus("s3://models/plus-2"), options(), timeout=30)


def applied(api: ApiServer, times: int) -> None:
    """Waits until the pipeline was applied so many times."""

    def done() -> bool:
        paths = [path for method, path in api.requests if method == "PATCH" and "/plus?" in path]
        return sum("force" in path and "dryRun" not in path for path in paths) >= times

    with api.changed:
        while not done():
            api.changed.wait(0.02)


def test_a_pod_that_failed_before_may_come_up_now(
    api: ApiServer, operator: Any, served: FakeModel
) -> None:
    deploy_remote(plus(), options(), timeout=30)
    pull = {"name": "plus", "state": {"waiting": {"reason": "ImagePullBackOff"}}}
    api.pod("plus-1", {"seldon-deployment-id": "plus"}, containerStatuses=[pull])
    failed = {"state": "Failed", "description": "no progress"}
    api.state("seldondeployments", "plus", **failed)

    def pulled() -> None:
        applied(api, 2)
        api.state("seldondeployments", "plus", state="Available")

    thread = threading.Thread(target=pulled)
    thread.start()
    deploy_remote(plus(), options(), timeout=30)
    thread.join()
    api.state("seldondeployments", "plus", **failed)
    text = refused(1)
    assert "plus is not ready after 1 seconds: pod plus-1: image None cannot be pulled" in text


def test_a_pod_that_failed_before_and_fails_again_is_told(
    api: ApiServer, operator: Any, served: FakeModel
) -> None:
    deploy_remote(plus(), options(), timeout=30)

    def crashed(restarts: int) -> None:
        waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
        container = {"name": "c", "restartCount": restarts, "state": waiting}
        container["lastState"] = {"terminated": CRASHED}
        api.pod("plus-1", {"seldon-deployment-id": "plus"}, containerStatuses=[container])

    def again() -> None:
        applied(api, 2)
        crashed(4)

    crashed(3)
    api.state("seldondeployments", "plus", state="Creating")
    thread = threading.Thread(target=again)
    thread.start()
    assert "plus has failed: pod plus-1: container c ends with 1, 4 restarts" in refused(30)
    thread.join()


def test_pods_that_a_quota_forbids_are_told(api: ApiServer) -> None:
    def forbid(item: Object) -> None:
        api.state("seldondeployments", item["metadata"]["name"], state="Creating")
        api.warn("plus-default-0-abc", "FailedCreate", "pods are forbidden: exceeded quota: small")

    api.operator = forbid
    text = refused(1)
    assert "FailedCreate: pods are forbidden: exceeded quota: small; ask for less" in text


def test_without_the_right_to_see_pods_it_is_deployed_all_the_same(
    api: ApiServer, operator: Any, served: FakeModel
) -> None:
    for part in ("/pods", "/events"):
        api.fault("GET", part, 403, failure(403, "no"))
    deploy_remote(plus(), options(), timeout=30)


def test_what_is_deleted_meanwhile_is_told(api: ApiServer) -> None:
    def deleted(item: Object) -> None:
        if item["metadata"]["name"] == "plus":

            def later() -> None:
                api.state("seldondeployments", "plus", state="Creating")
                api.drop("seldondeployments", "line")

            threading.Timer(0.3, later).start()

    api.operator = deleted
    assert "line was deleted" in refused(30)


def test_what_is_being_deleted_is_waited_for(
    api: ApiServer, operator: Any, served: FakeModel
) -> None:
    deploy_remote(plus(), options(), timeout=30)
    live = api.objects["seldondeployments", "plus"]
    live["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    threading.Timer(0.3, lambda: api.drop("seldondeployments", "plus")).start()
    deploy_remote(plus(), options(), timeout=30)
    assert "deletionTimestamp" not in api.objects["seldondeployments", "plus"]["metadata"]


def test_an_interrupt_names_what_stays(api: ApiServer) -> None:
    def interrupt(item: Object) -> None:
        if item["metadata"]["name"] == "plus":
            main = threading.main_thread().ident
            assert main is not None
            threading.Timer(0.3, lambda: signal.pthread_kill(main, signal.SIGINT)).start()

    api.operator = interrupt
    # It is ignored where tests run in the background.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt, match="left there: SeldonDeployment line, SeldonDep"):
            deploy_remote(plus(), options(), timeout=60)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(api.objects) == 2


def test_what_is_not_there_is_said(api: ApiServer) -> None:
    for ask in (get_client, status, wait):
        with pytest.raises(
            DeploymentFailed, match="there is no SeldonDeployment plus in production"
        ):
            ask("plus", options())
    assert list_models(options()) == []


def test_other_options_and_models_are_refused_before_the_cluster_is_asked() -> None:
    with pytest.raises(SettingsError, match="takes SeldonCoreOptions, Seldon2Options or KServe"):
        deploy_remote(plus(), options().local_options)  # type: ignore[arg-type]
    with pytest.raises(AuthoringError, match="has no uri"):
        deploy_remote(plus(""), options())
