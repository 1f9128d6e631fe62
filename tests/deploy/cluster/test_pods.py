"""What is wrong with pods, whether they are replaced, and which warnings are about a model."""

from __future__ import annotations

from typing import Any

import pytest

from tempo_runtime.deploy.cluster.pods import Log, Trouble, rolling, trouble, warned
from tests.deploy.cluster.api_server import Object


def pod(containers: list[Object], **status: Any) -> Object:
    return {"metadata": {"name": "p"}, "status": {"containerStatuses": containers, **status}}


def made(replica_set: str, phase: str = "Running", **metadata: Any) -> Object:
    """A pod that a ReplicaSet has made."""
    labels = {"pod-template-hash": replica_set.rpartition("-")[2]}
    metadata |= {"name": f"{replica_set}-x", "labels": labels, "generateName": f"{replica_set}-"}
    return {"metadata": metadata, "status": {"phase": phase}}


def waiting(reason: str, message: str = "m", **more: Any) -> Object:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"name": "c", "image": "i:1", "state": state, **more}


def ended(code: int, restarts: int, reason: str = "Error", **more: Any) -> Object:
    last = {"terminated": {"exitCode": code, "reason": reason}}
    return waiting("CrashLoopBackOff", lastState=last, restartCount=restarts, **more)


UNSCHEDULED = {"type": "PodScheduled", "status": "False"}
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
        # As MLServer ends whose model does not load.
        (pod([ended(0, 3)]), Trouble(CRASH.replace("1", "0").format(3), True, Log("p", "c", True))),
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
            pod([], conditions=[{**UNSCHEDULED, "message": "0/3 nodes\nhave it"}]),
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


def test_of_a_long_log_the_last_lines_are_told() -> None:
    found = trouble(pod([ended(1, 3)]), {Log("p", "c", True): "a\nb\nc\nd\n"})
    assert found is not None
    assert found.reason == CRASH.format(3) + ": b / c / d"


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        ([], False),
        ([made("plus-a"), made("plus-a")], False),
        ([made("plus-a"), made("plus-b")], True),
        ([made("plus-a", deletionTimestamp="2026-01-01T00:00:00Z"), made("plus-b")], False),
        ([made("plus-a", "Failed"), made("plus-b")], False),
        ([made("plus-a"), made("plus-canary-b")], False),
        ([made("plus-00001-deployment-a"), made("plus-00002-deployment-b")], False),
        ([made("plus-a"), pod([])], False),
    ],
)
def test_versions_of_a_deployment_are_told_apart(pods: list[Object], expected: bool) -> None:
    assert rolling(pods) is expected


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
    assert warned(events, "plus") == "FailedMount: m"
    assert warned([], "plus") == ""


def test_a_warning_about_a_model_with_a_longer_name_is_not_told() -> None:
    events = [
        event("shop-default-0-x", "FailedMount", "2026-01-01T00:00:01Z"),
        event("shop-prices-default-0-x", "FailedCreate", "2026-01-01T00:00:02Z"),
    ]
    names = ["shop", "shop-prices"]
    assert warned(events, "shop", names) == "FailedMount: m"
    assert warned(events, "shop-prices", names) == "FailedCreate: m"
