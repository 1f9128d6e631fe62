"""Waiting for applied objects: the messages meanwhile, what ends it, and what it survives."""

from __future__ import annotations

import contextlib
import logging
import re
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tempo_runtime import deploy_remote
from tempo_runtime.deploy.kubernetes import deploy, readiness
from tempo_runtime.deploy.kubernetes.readiness import ReadinessMonitor
from tempo_runtime.deploy.kubernetes.status import Progress
from tempo_runtime.testing import FakeModel
from tests.deploy.kubernetes.api_server import ApiServer, Object, failure
from tests.deploy.kubernetes.conftest import options, plus
from tests.deploy.kubernetes.test_failures import refused

CRASHED = {"exitCode": 1, "reason": "Error"}


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
    assert f"{api.port} was lost, and not restored within 3 seconds" in text
    assert "applied so far: SeldonDeployment line, SeldonDeployment plus" in text
    api.start()


def test_an_apply_without_an_answer_is_named(api: ApiServer) -> None:
    api.operator = lambda item: api.stop()
    assert "SeldonDeployment line may have been applied; deploy again to continue" in refused(2)
    api.start()


def test_a_failed_deployment_says_why_and_stays(api: ApiServer) -> None:
    api.operator = lambda item: api.state(
        "seldondeployments", item["metadata"]["name"], state="Failed", description="it rains"
    )
    text = refused(30)
    assert re.match(r"(plus|line) has failed: it rains; applied so far: ", text)
    assert ("seldondeployments", "plus") in api.objects


def test_a_failure_that_the_operator_tries_again_at_once_is_reported_with_its_reason(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.operator = lambda item: api.state(
        "seldondeployments", item["metadata"]["name"], state="Failed", description="it rains"
    )
    progress = ReadinessMonitor.progress

    def then_tried_again(monitor: ReadinessMonitor, name: str) -> Progress:
        found = progress(monitor, name)
        if found.state == "failed":
            api.state("seldondeployments", name, state="Creating")
            while progress(monitor, name).state == "failed":
                monitor._watches.wait(1)
        return found

    monkeypatch.setattr(ReadinessMonitor, "progress", then_tried_again)
    assert re.match(r"(plus|line) has failed: it rains; applied so far: ", refused(30))


def test_a_model_that_is_not_ready_in_time_says_what_it_waits_for(api: ApiServer) -> None:
    api.operator = lambda item: api.state(
        "seldondeployments",
        item["metadata"]["name"],
        state="Creating",
        deploymentStatus={"plus-default-0": {"availableReplicas": 0, "replicas": 1}},
    )
    text = refused(1)
    assert "is not ready after 1 seconds: plus-default-0: 0 of 1 pods are ready; applied" in text


def test_a_crash_is_reported_with_the_end_of_its_log(api: ApiServer) -> None:
    def crash(item: Object) -> None:
        api.state("seldondeployments", item["metadata"]["name"], state="Creating")
        waiting = {"reason": "CrashLoopBackOff"}
        initial = {"name": "init", "restartCount": 3, "state": {"waiting": waiting}}
        initial["lastState"] = {"terminated": CRASHED}
        api.pod("plus-1", {"seldon-deployment-id": "plus"}, initContainerStatuses=[initial])

    api.operator = crash
    api.logs["plus-1", "init"] = "copying\nno such bucket\n"
    text = refused(30)
    assert (
        "pod plus-1: init container init ended with 1 (restarts: 3): copying / no such buck" in text
    )


def test_a_log_that_may_not_be_read_names_the_right(api: ApiServer) -> None:
    def crash(item: Object) -> None:
        api.state("seldondeployments", item["metadata"]["name"], state="Creating")
        waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
        container = {"name": "plus", "restartCount": 1, "state": waiting}
        container["lastState"] = {"terminated": CRASHED}
        api.pod("plus-1", {"seldon-deployment-id": "plus"}, containerStatuses=[container])

    api.operator = crash
    api.fault("GET", "/log?", 403, failure(403, "pods is forbidden"), times=100)
    assert (
        "container plus ended with 1 (restarts: 1); its log would say more, but you may not get "
        "pods/log in the namespace production (403); a Role as in k8s/rbac grants it"
    ) in refused(30)


def test_a_first_crash_is_reported_with_its_log_while_waiting(
    api: ApiServer, served: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    told = "container plus ended with 1 (restarts: 0): KeyError: 'south' at /mnt/models/shop.py:8"

    @contextlib.contextmanager
    def telling(_: str) -> Iterator[Callable[[str], None]]:
        def tell(text: str) -> None:
            lines.append(text)
            if told in text:  # and this time it comes up
                api.state("seldondeployments", "plus", state="Available")

        yield tell

    def crash(item: Object) -> None:
        api.state("seldondeployments", "plus", state="Creating")
        container = {"name": "plus", "restartCount": 0, "state": {"terminated": CRASHED}}
        api.pod("plus-1", {"seldon-deployment-id": "plus"}, containerStatuses=[container])

    monkeypatch.setattr(deploy, "telling", telling)
    api.operator = crash
    api.logs["plus-1", "plus"] = (
        'Traceback (most recent call last):\n  File "/mnt/models/shop.py", line 8, in load\n'
        "KeyError: 'south'\nINFO:     Shutting down\n"
    )
    deploy_remote(plus(child=None), options(), timeout=60)
    assert any(told in line for line in lines)


def test_a_problem_is_logged_once_without_a_terminal(
    api: ApiServer, served: FakeModel, caplog: pytest.LogCaptureFixture
) -> None:
    class Mend(logging.Handler):
        """Create the Secret once the message has named it, after more news of the pod."""

        def emit(self, record: logging.LogRecord) -> None:
            pod()
            api.state("seldondeployments", "plus", state="Available")

    def pod() -> None:
        waiting = {"reason": "CreateContainerConfigError", "message": 'secret "s" not found'}
        container = {"name": "plus", "state": {"waiting": waiting}}
        api.pod("plus-1", {"seldon-deployment-id": "plus"}, containerStatuses=[container])

    def begin(item: Object) -> None:
        api.state("seldondeployments", "plus", state="Creating")
        pod()

    api.operator = begin
    mend = Mend()
    logging.getLogger(readiness.__name__).addHandler(mend)
    try:
        deploy_remote(plus(child=None), options(), timeout=60)
    finally:
        logging.getLogger(readiness.__name__).removeHandler(mend)
    [message] = caplog.messages
    assert message == (
        'plus is not ready: pod plus-1: CreateContainerConfigError: secret "s" not found; create it, or '
        "correct env_secrets or env_from; the deployment waits for it"
    )


def test_old_pods_do_not_fail_their_replacement(
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


def test_a_pod_that_failed_before_and_fails_again_is_reported(
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
    assert "plus has failed: pod plus-1: container c ended with 1 (restarts: 4)" in refused(30)
    thread.join()


def test_pods_that_a_quota_forbids_are_reported(api: ApiServer) -> None:
    def forbid(item: Object) -> None:
        api.state("seldondeployments", item["metadata"]["name"], state="Creating")
        api.warn("plus-default-0-abc", "FailedCreate", "pods are forbidden: exceeded quota: small")

    api.operator = forbid
    text = refused(1)
    assert "FailedCreate: pods are forbidden: exceeded quota: small; request less" in text


def test_without_the_right_to_see_pods_it_is_deployed_all_the_same(
    api: ApiServer, operator: Any, served: FakeModel
) -> None:
    for part in ("/pods", "/events"):
        api.fault("GET", part, 403, failure(403, "no"))
    deploy_remote(plus(), options(), timeout=30)


@pytest.mark.parametrize("method", ["GET", "WATCH"])
def test_without_the_right_to_see_pods_the_reason_names_that_right(
    api: ApiServer, method: str
) -> None:
    api.fault(method, "/pods", 403, failure(403, "no"), times=100)
    api.operator = lambda item: api.state(
        "seldondeployments", item["metadata"]["name"], state="Creating"
    )
    unseen = (
        "it is being created; its pods would say more, but you may not list them; get the right to"
    )
    assert unseen in refused(1)
    if method == "GET":
        assert unseen in deploy.status("plus", options())["plus"].reason


def test_a_model_that_is_deleted_while_waiting_is_reported(api: ApiServer) -> None:
    def deleted(item: Object) -> None:
        if item["metadata"]["name"] == "plus":

            def later() -> None:
                api.state("seldondeployments", "plus", state="Creating")
                api.drop("seldondeployments", "line")

            threading.Timer(0.3, later).start()

    api.operator = deleted
    assert "line was deleted" in refused(30)


def test_an_object_that_is_being_deleted_is_waited_for(
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
        with pytest.raises(
            KeyboardInterrupt, match="applied so far: SeldonDeployment line, SeldonDep"
        ):
            deploy_remote(plus(), options(), timeout=60)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(api.objects) == 2
