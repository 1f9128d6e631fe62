"""How a model gets on, by what the cluster says of it, its pods, and what has happened."""

from __future__ import annotations

from typing import Any

import pytest

from tempo_runtime.deploy.kubernetes.core2_servers import Wait
from tempo_runtime.deploy.kubernetes.status import Progress, progress, stale
from tests.deploy.kubernetes.api_server import Object
from tests.deploy.kubernetes.test_events import event
from tests.deploy.kubernetes.test_pods import CRASH, PULL, ended, made, pod, waiting


def item(kind: str, status: Object | None = None, replicas: int = 1, **metadata: Any) -> Object:
    predictor = {"model": {"runtime": "tempo-runtime"}, "minReplicas": replicas}
    spec: Object = {"predictor": predictor} if kind == "InferenceService" else {}
    if kind == "SeldonDeployment":
        spec = {"predictors": [{"name": "default"}]}
    return {"kind": kind, "metadata": {"name": "plus", **metadata}, "spec": spec, "status": status}


def condition(kind: str, status: str, **more: Any) -> Object:
    return {"type": kind, "status": status, **more}


@pytest.mark.parametrize(
    ("status", "state", "reason"),
    [
        (None, "waiting", "Seldon Core has not processed it yet; check that its operator runs"),
        ({"state": "Available"}, "ready", ""),
        ({"state": "Failed", "description": "it\n rains"}, "failed", "it rains"),
        ({"state": "Failed"}, "failed", "Seldon Core gives no reason"),
        ({"state": "Creating"}, "waiting", "it is being created"),
        (
            {
                "state": "Creating",
                "deploymentStatus": {"d": {"availableReplicas": 1, "replicas": 2}},
            },
            "waiting",
            "d: 1 of 2 pods are ready",
        ),
        (
            {"state": "Creating", "deploymentStatus": {"d": {"replicas": 2}}},
            "waiting",
            "d: 0 of 2 pods are ready",
        ),
        (
            {
                "state": "Creating",
                "conditions": [
                    condition("DeploymentsReady", "True"),
                    condition("ServicesReady", "False", reason="NotYet"),
                    condition("HpasReady", "Unknown"),
                ],
            },
            "waiting",
            "not yet: ServicesReady (NotYet), HpasReady",
        ),
        ({"state": "New"}, "waiting", "it is being created"),
    ],
)
def test_seldon_core_1(status: Object | None, state: str, reason: str) -> None:
    assert progress(item("SeldonDeployment", status)) == Progress(state, reason)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("conditions", "state", "reason"),
    [
        (
            [],
            "waiting",
            "Seldon Core 2 has not processed it yet; check that its operator runs",
        ),
        ([condition("Ready", "True"), condition("ModelReady", "True")], "ready", ""),
        (
            [
                condition("Ready", "False"),
                condition("ModelReady", "False", reason="ModelFailed", message="no artifact"),
            ],
            "failed",
            "ModelFailed: no artifact",
        ),
        (
            [condition("ModelReady", "False", reason="no artifact", message="ModelFailed")],
            "failed",
            "ModelFailed: no artifact",
        ),
        (
            [condition("ModelReady", "False", reason="ScheduleFailed", message="no server")],
            "waiting",
            "ScheduleFailed: no server",
        ),
        (
            [condition("ModelReady", "False", reason="no server", message="ScheduleFailed")],
            "waiting",
            "ScheduleFailed: no server",
        ),
        # Up to 2.4 without a state.
        ([condition("ModelReady", "False", reason="no artifact")], "failed", "no artifact"),
        (
            [condition("ModelReady", "False", reason="Failed to schedule model as ...")],
            "waiting",
            "Failed to schedule model as ...",
        ),
        ([condition("Ready", "False", reason="ModelProgressing")], "waiting", "ModelProgressing"),
    ],
)
def test_seldon_core_2(conditions: list[Object], state: str, reason: str) -> None:
    found = progress(item("Model", {"conditions": conditions}))
    assert found == Progress(state, reason)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "state", "reason"),
    [
        (None, "waiting", "KServe has not processed it yet; check that its controller runs"),
        ({"conditions": [condition("Ready", "True")]}, "ready", ""),
        (
            {
                "conditions": [
                    condition("PredictorReady", "False", reason="Progress", message="0 of 1"),
                    condition("Ready", "False", reason="PredictorReady"),
                ]
            },
            "waiting",
            "not yet: PredictorReady (0 of 1)",
        ),
        ({"conditions": [condition("Ready", "False", message="soon")]}, "waiting", "soon"),
        (
            {
                "conditions": [condition("Ready", "False")],
                "modelStatus": {
                    "transitionStatus": "BlockedByFailedLoad",
                    "lastFailureInfo": {"reason": "ModelLoadFailed", "message": "no such bucket"},
                },
            },
            "failed",
            "ModelLoadFailed: no such bucket",
        ),
        (
            {
                "conditions": [
                    condition("PredictorReady", "Unknown"),
                    condition("Stopped", "False", severity="Info"),
                    condition("PredictorRouteReady", "Unknown", severity="Info"),
                ]
            },
            "waiting",
            "not yet: PredictorReady",
        ),
        (
            {"modelStatus": {"transitionStatus": "InvalidSpec"}},
            "failed",
            "InvalidSpec; correct ServingRuntime tempo-runtime, or set runtime to another one",
        ),
        (
            {
                "modelStatus": {
                    "transitionStatus": "InProgress",
                    "lastFailureInfo": {"message": "m"},
                }
            },
            "waiting",
            "m",
        ),
    ],
)
def test_kserve(status: Object | None, state: str, reason: str) -> None:
    assert progress(item("InferenceService", status)) == Progress(state, reason)  # type: ignore[arg-type]


@pytest.mark.parametrize("gone", [None, item("Model", deletionTimestamp="2026-01-01T00:00:00Z")])
def test_a_deleted_object_is_gone(gone: Object | None) -> None:
    assert progress(gone).state == "gone"


def test_a_pod_that_needs_a_change_fails_its_model() -> None:
    creating = item("SeldonDeployment", {"state": "Creating"})
    pods = [pod([waiting("ErrImagePull")]), pod([waiting("ImagePullBackOff")])]
    assert progress(creating, pods) == Progress("failed", PULL.format("ImagePullBackOff"))
    assert progress(creating, pods[:1]) == Progress("waiting", PULL.format("ErrImagePull"))
    assert progress(item("SeldonDeployment", {"state": "Available"}), pods).state == "ready"


def test_a_failure_is_reported_with_the_pods_reason() -> None:
    failed = item("SeldonDeployment", {"state": "Failed", "description": "no progress"})
    found = progress(failed, [pod([waiting("ErrImagePull")])])
    assert found == Progress("failed", f"no progress; {PULL.format('ErrImagePull')}")


@pytest.mark.parametrize(
    "ready",
    [
        item("InferenceService", {"conditions": [condition("Ready", "True")]}),
        item("SeldonDeployment", {"state": "Available"}),
    ],
)
def test_a_model_is_not_ready_while_it_is_replaced(ready: Object) -> None:
    old, new = made("plus-a"), made("plus-b")
    new["status"]["conditions"] = [condition("Ready", "True")]
    assert progress(ready, [new]).state == "ready"
    found = progress(ready, [old, new])
    assert found == Progress("waiting", "the old pods serve until the new ones are ready")
    new["status"]["containerStatuses"] = [waiting("ImagePullBackOff")]
    assert progress(ready, [old, new]).state == "failed"


BLOCKED = item(
    "InferenceService",
    {
        "modelStatus": {
            "transitionStatus": "BlockedByFailedLoad",
            "lastFailureInfo": {"reason": "ModelLoadFailed", "message": "timed out"},
        }
    },
)


@pytest.mark.parametrize(
    ("pods", "state", "reason"),
    [
        ([], "failed", "ModelLoadFailed: timed out"),
        ([pod([])], "waiting", "ModelLoadFailed: timed out"),
        ([pod([ended(1, 0)])], "waiting", CRASH.format(0)),
        ([pod([ended(1, 1)])], "failed", CRASH.format(1)),
    ],
)
def test_kserves_first_failure_to_load_is_not_the_last(
    pods: list[Object], state: str, reason: str
) -> None:
    found = progress(BLOCKED, pods)
    assert (found.state, found.reason) == (state, reason)


def test_a_model_that_failed_on_a_pod_that_is_replaced_is_waited_for() -> None:
    why = condition("ModelReady", "False", message="ModelFailed", reason="server is draining")
    failed = item("Model", {"conditions": [why]})
    assert progress(failed).state == "failed"
    found = progress(
        failed, server=Wait("Server s: its pods are being replaced one by one", holds=True)
    )
    assert found.state == "waiting"
    assert (
        found.reason
        == "ModelFailed: server is draining; Server s: its pods are being replaced one by one"
    )


UNSCHEDULED = item(
    "Model",
    {
        "conditions": [
            condition("ModelReady", "False", message="ScheduleFailed", reason="no server")
        ]
    },
)


@pytest.mark.parametrize(
    ("pods", "holds", "state"),
    [
        ([pod([ended(1, 5)])], False, "failed"),
        ([pod([ended(1, 5)]), pod([])], False, "waiting"),
        ([pod([ended(1, 5)]), pod([])], True, "failed"),
    ],
    ids=["all", "one-of-two", "one-of-two-that-are-replaced"],
)
def test_pods_that_models_share_fail_a_model_when_none_is_left(
    pods: list[Object], holds: bool, state: str
) -> None:
    found = progress(UNSCHEDULED, pods, server=Wait("Server s: 0 of 2 pods are ready", holds))
    assert found.state == state
    said = ["ScheduleFailed: no server", "Server s: 0 of 2 pods are ready", CRASH.format(5)]
    assert found.reason == "; ".join(said)


def test_a_warning_is_added_to_the_reason_for_waiting() -> None:
    creating = item("SeldonDeployment", {"state": "Creating"})
    events = [event("plus-default-0-x", "FailedMount", 0, 9)]
    assert progress(creating, events=events).reason == "it is being created; FailedMount: m"


@pytest.mark.parametrize("replicas", [1, 3])
def test_an_inference_service_is_ready_once_all_its_pods_are(replicas: int) -> None:
    """KServe says so with one of three."""
    given = item("InferenceService", {"conditions": [condition("Ready", "True")]}, replicas)
    up = pod([], conditions=[condition("Ready", "True")])
    pods = [up] + [pod([]) for _ in range(replicas - 1)]
    expected = Progress("ready") if replicas == 1 else Progress("waiting", "1 of 3 pods are ready")
    assert progress(given, pods) == expected
    assert progress(given, [up] * replicas) == Progress("ready")
    assert progress(given).state == "ready"  # without the right to see pods


def test_the_runtime_of_another_framework_is_kserves_own() -> None:
    given = item("InferenceService", {"modelStatus": {"transitionStatus": "InvalidSpec"}})
    given["spec"]["predictor"]["model"]["runtime"] = "kserve-mlserver"
    assert progress(given).reason == (
        "InvalidSpec; install ClusterServingRuntime kserve-mlserver, which comes with KServe"
    )


def test_the_last_exception_of_a_long_error_from_kserve_is_reported() -> None:
    """Its message is the end of the storage initializer's log (terminationMessagePolicy)."""
    message = "INFO downloading " * 40 + (
        "\nTraceback (most recent call last):\n"
        "RuntimeError: Failed to fetch model. No model found in models/plus.\n"
    )
    failure = {"reason": "ModelLoadFailed", "message": message}
    model = {"transitionStatus": "InProgress", "lastFailureInfo": failure}
    assert progress(item("InferenceService", {"modelStatus": model})).reason == (
        "ModelLoadFailed: RuntimeError: Failed to fetch model. No model found in models/plus."
    )


def test_the_log_of_a_server_that_is_not_ready_is_asked_for() -> None:
    creating = item("SeldonDeployment", {"state": "Creating"})
    running = {"name": "c", "ready": False, "state": {"running": {}}}
    found = progress(creating, [pod([running])])
    assert found.reason == "it is being created"
    assert found.log is not None
    assert found.log.running


OLD = item("SeldonDeployment", {"state": "Available"}, uid="1", generation=1)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (OLD, False),
        (item("SeldonDeployment", {"state": "Available"}, uid="1", generation=2), True),
        (item("SeldonDeployment", {"state": "Creating"}, uid="1", generation=2), False),
        (item("SeldonDeployment", {"state": "Available"}, uid="2", generation=1), False),
        (item("Model", {"observedGeneration": 1}, uid="1", generation=2), True),
        (item("Model", {"observedGeneration": 2}, uid="1", generation=2), False),
    ],
)
def test_a_status_from_before_the_change_is_recognised(now: Object, expected: bool) -> None:
    assert stale(now, OLD) is expected
    assert stale(now, None) is False


@pytest.mark.parametrize("renewed", [False, True])
def test_kserves_status_is_new_once_there_are_new_pods(renewed: bool) -> None:
    # The generation that it has observed is that of its Deployment.
    now = item("InferenceService", {"observedGeneration": 7}, uid="1", generation=2)
    assert stale(now, OLD, renewed=renewed) is not renewed
