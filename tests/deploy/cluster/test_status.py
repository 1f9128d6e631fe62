"""How a model gets on, by what the cluster says of it, its pods, and what has happened."""

from __future__ import annotations

from typing import Any

import pytest

from tempo_runtime.deploy.cluster.pods import Log, Trouble, trouble, warned
from tempo_runtime.deploy.cluster.status import Progress, progress, stale

Object = dict[str, Any]


def item(kind: str, status: Object | None = None, **metadata: Any) -> Object:
    return {"kind": kind, "metadata": {"name": "plus", **metadata}, "status": status}


def condition(kind: str, status: str, **more: Any) -> Object:
    return {"type": kind, "status": status, **more}


@pytest.mark.parametrize(
    ("status", "state", "reason"),
    [
        (None, "waiting", "Seldon Core has not looked at it yet; does its operator run?"),
        ({"state": "Available"}, "ready", ""),
        ({"state": "Failed", "description": "it\n rains"}, "failed", "it rains"),
        ({"state": "Failed"}, "failed", "Seldon Core gives no reason"),
        ({"state": "Creating"}, "waiting", "it is being made"),
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
        ({"state": "New"}, "waiting", "it is being made"),
    ],
)
def test_seldon_core_1(status: Object | None, state: str, reason: str) -> None:
    assert progress(item("SeldonDeployment", status)) == Progress(state, reason)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("conditions", "state", "reason"),
    [
        ([], "waiting", "Seldon Core 2 has not looked at it yet"),
        ([condition("Ready", "True"), condition("ModelReady", "True")], "ready", ""),
        (
            [
                condition("Ready", "False"),
                condition("ModelReady", "False", reason="ModelFailed", message="no artefact"),
            ],
            "failed",
            "ModelFailed: no artefact",
        ),
        (
            [condition("ModelReady", "False", reason="no artefact", message="ModelFailed")],
            "failed",
            "ModelFailed: no artefact",
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
        ([condition("ModelReady", "False", reason="no artefact")], "waiting", "no artefact"),
        ([condition("Ready", "False", reason="ModelProgressing")], "waiting", "ModelProgressing"),
    ],
)
def test_seldon_core_2(conditions: list[Object], state: str, reason: str) -> None:
    found = progress(item("Model", {"conditions": conditions}))
    assert found == Progress(state, reason)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "state", "reason"),
    [
        (None, "waiting", "KServe has not looked at it yet; does its controller run?"),
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
        ({"modelStatus": {"transitionStatus": "InvalidSpec"}}, "failed", "InvalidSpec"),
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
def test_what_is_deleted_is_gone(gone: Object | None) -> None:
    assert progress(gone).state == "gone"


def pod(containers: list[Object], **status: Any) -> Object:
    return {"metadata": {"name": "p"}, "status": {"containerStatuses": containers, **status}}


def waiting(reason: str, message: str = "m", **more: Any) -> Object:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"name": "c", "image": "i:1", "state": state, **more}


def ended(code: int, restarts: int, reason: str = "Error", **more: Any) -> Object:
    last = {"terminated": {"exitCode": code, "reason": reason}}
    return waiting("CrashLoopBackOff", lastState=last, restartCount=restarts, **more)


PULL = "pod p: image i:1 cannot be pulled ({}: m); correct image, or name image_pull_secrets"
CRASH = "pod p: container c ends with 1, {} restarts"
MEMORY = (
    "pod p: container c was killed for the memory it took (OOMKilled); raise memory in the limits of "
    "resources"
)
INIT = "pod p: init container c ends with 1, {} restarts"
HINT = "; is its uri right, and auth_secret_name's secret?"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (pod([]), None),
        (pod([{"name": "c", "ready": True, "state": {"running": {}}}]), None),
        (pod([waiting("ContainerCreating")]), None),
        (pod([waiting("PodInitializing")]), None),
        (pod([waiting("ErrImagePull")]), Trouble(PULL.format("ErrImagePull"))),
        (pod([waiting("ImagePullBackOff")]), Trouble(PULL.format("ImagePullBackOff"), True)),
        (pod([waiting("InvalidImageName")]), Trouble(PULL.format("InvalidImageName"), True)),
        (
            pod([waiting("CreateContainerConfigError", 'secret "s" not found')]),
            Trouble('pod p: CreateContainerConfigError: secret "s" not found'),
        ),
        (pod([ended(1, 2)]), Trouble(CRASH.format(2), False, Log("p", "c", True))),
        (pod([ended(1, 3)]), Trouble(CRASH.format(3), True, Log("p", "c", True))),
        (pod([ended(137, 1, "OOMKilled")]), Trouble(MEMORY)),
        (pod([ended(137, 5, "OOMKilled")]), Trouble(MEMORY, True)),
        (pod([ended(1, 5, ready=True)]), None),
        (
            pod([], initContainerStatuses=[ended(1, 3)]),
            Trouble(INIT.format(3) + HINT, True, Log("p", "c", True)),
        ),
        (
            pod(
                [waiting("PodInitializing")],
                initContainerStatuses=[{"name": "c", "state": {"terminated": {"exitCode": 1}}}],
            ),
            Trouble(INIT.format(0) + HINT, False, Log("p", "c", False)),
        ),
        (
            pod(
                [], initContainerStatuses=[{"name": "c", "state": {"terminated": {"exitCode": 0}}}]
            ),
            None,
        ),
        (
            pod([], conditions=[condition("PodScheduled", "False", message="0/3 nodes\nhave it")]),
            Trouble(
                "pod p finds no node (0/3 nodes have it); ask for less with resources, or add nodes"
            ),
        ),
        (
            pod([], phase="Failed", reason="Evicted", message="disk"),
            Trouble("pod p has failed: disk"),
        ),
        ({"metadata": {"name": "p"}}, None),
        (
            {
                **pod([waiting("ImagePullBackOff")]),
                "metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            },
            None,
        ),
    ],
)
def test_what_is_wrong_with_a_pod(given: Object, found: Trouble | None) -> None:
    assert trouble(given) == found


def test_the_end_of_a_log_is_told_in_a_line() -> None:
    found = trouble(pod([ended(1, 3)]), {Log("p", "c", True): "a\nb  c\n"})
    assert found is not None
    assert found.reason == CRASH.format(3) + ": a / b c"


def test_a_pod_that_only_a_change_heals_fails_its_model() -> None:
    creating = item("SeldonDeployment", {"state": "Creating"})
    pods = [pod([waiting("ErrImagePull")]), pod([waiting("ImagePullBackOff")])]
    assert progress(creating, pods) == Progress("failed", PULL.format("ImagePullBackOff"))
    assert progress(creating, pods[:1]) == Progress("waiting", PULL.format("ErrImagePull"))
    assert progress(item("SeldonDeployment", {"state": "Available"}), pods).state == "ready"


def test_a_failure_is_told_with_what_the_pod_says() -> None:
    failed = item("SeldonDeployment", {"state": "Failed", "description": "no progress"})
    found = progress(failed, [pod([waiting("ErrImagePull")])])
    assert found == Progress("failed", f"no progress; {PULL.format('ErrImagePull')}")


def event(name: str, reason: str, when: str, kind: str = "Warning") -> Object:
    about = {"name": name}
    said = {"reason": reason, "message": "m", "type": kind}
    return {"involvedObject": about, "lastTimestamp": when, **said}


def test_the_last_warning_about_a_model_is_told() -> None:
    events = [
        event("plus-default-0-x", "FailedMount", "2026-01-01T00:00:02Z"),
        event("plus", "InternalError", "2026-01-01T00:00:01Z"),
        event("plus", "Unhealthy", "2026-01-01T00:00:03Z"),
        event("plus", "Updated", "2026-01-01T00:00:03Z", "Normal"),
        event("plusses", "FailedCreate", "2026-01-01T00:00:04Z"),
    ]
    assert warned(events, ["plus"]) == "FailedMount: m"
    assert warned([], ["plus"]) == ""
    creating = item("SeldonDeployment", {"state": "Creating"})
    assert progress(creating, events=events).reason == "it is being made; FailedMount: m"


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
def test_a_word_from_before_the_change_is_known(now: Object, expected: bool) -> None:
    assert stale(now, OLD) is expected
    assert stale(now, None) is False
