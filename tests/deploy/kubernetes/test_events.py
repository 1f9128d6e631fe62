"""Lasting warnings about a model are reported, with a remedy."""

from __future__ import annotations

from typing import Any

import pytest

from tempo_runtime.deploy.kubernetes.events import killed, lasting_warning, parts_of
from tests.deploy.kubernetes.api_server import Object

POD = "plus-default-0-x"


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02}Z"


def event(name: str, reason: str, first: int, last: int, kind: str = "", **more: Any) -> Object:
    about = {"name": name, "kind": kind}
    when = {"firstTimestamp": at(first), "lastTimestamp": at(last)}
    said = {"reason": reason, "message": "m", "type": "Warning", **more}
    return {"involvedObject": about, **when, **said}


def pod(made: int = 0, **state: Any) -> Object:
    metadata = {"name": POD, "creationTimestamp": at(made)}
    return {"metadata": metadata, "status": {"containerStatuses": [{"name": "c", "state": state}]}}


def test_the_last_lasting_warning_about_a_model_is_reported() -> None:
    events = [
        event(POD, "FailedMount", 0, 20),
        event("plus", "InternalError", 0, 10),
        event("plus", "Updated", 0, 30, type="Normal"),
        event("plusses", "FailedCreate", 0, 30),
    ]
    assert lasting_warning(events, "plus") == "FailedMount: m"
    assert lasting_warning([], "plus") == ""


def test_a_warning_about_a_model_with_a_longer_name_is_ignored() -> None:
    events = [
        event("shop-default-0-x", "FailedMount", 0, 10),
        event("shop-prices-default-0-x", "FailedCreate", 0, 20),
    ]
    names = ["shop", "shop-prices"]
    assert lasting_warning(events, "shop", names) == "FailedMount: m"
    assert lasting_warning(events, "shop-prices", names) == "FailedCreate: m"


SELDON = {"kind": "SeldonDeployment", "spec": {"predictors": [{"name": "default"}]}}


@pytest.mark.parametrize(
    ("item", "name", "kind", "told"),
    [
        (SELDON, "plus-default-0-plus-7d4", "ReplicaSet", True),
        (SELDON, "plus-web-7d4", "ReplicaSet", False),
        (SELDON, "plus-nightly", "CronJob", False),
        (SELDON, "plus", "SeldonDeployment", True),
        (SELDON, "plus", "Ingress", False),
        ({"kind": "InferenceService"}, "plus-predictor-7d4", "ReplicaSet", True),
        ({"kind": "InferenceService"}, "plus-predictor-00001-deployment", "Deployment", True),
        ({"kind": "InferenceService"}, "plus-web", "Service", False),
        ({"kind": "Model"}, "plus-0", "Pod", True),  # where `plus` is a Server
    ],
)
def test_a_warning_about_an_object_that_only_begins_with_the_name_is_ignored(
    item: Object, name: str, kind: str, told: bool
) -> None:
    events = [event(name, "FailedCreate", 0, 10, kind)]
    assert bool(lasting_warning(events, "plus", parts=parts_of(item))) is told


def test_the_pods_whose_liveness_probe_failed_are_known() -> None:
    events = [
        event(POD, "Unhealthy", 0, 9, message="Liveness probe failed: timeout"),
        event("plus-y", "Unhealthy", 0, 9, message="Readiness probe failed: 503"),
    ]
    assert killed(events) == {POD: "Liveness probe failed: timeout"}


def test_a_warning_that_was_not_repeated_for_some_seconds_is_ignored() -> None:
    assert lasting_warning([event(POD, "FailedMount", 0, 2)], "plus") == ""
    assert (
        lasting_warning([{**event(POD, "FailedMount", 0, 0), "lastTimestamp": None}], "plus") == ""
    )


def test_warnings_with_other_words_about_one_object_are_one() -> None:
    events = [event(POD, "FailedMount", 0, 0), event(POD, "FailedMount", 9, 9, message="n")]
    assert lasting_warning(events, "plus") == "FailedMount: n"


def test_a_series_of_events_lasts_as_well() -> None:
    given = event(POD, "FailedAttachVolume", 0, 0)
    given |= {"firstTimestamp": None, "lastTimestamp": None, "eventTime": "2026-01-01T00:00:00.1Z"}
    given["eventTime"] = "2026-01-01T00:00:00.100000Z"
    given["series"] = {"count": 3, "lastObservedTime": "2026-01-01T00:00:09.000000Z"}
    assert lasting_warning([given], "plus") == "FailedAttachVolume: m"


@pytest.mark.parametrize(
    "given",
    [
        event(
            "plus",
            "UpdateFailed",
            0,
            30,
            message="Operation cannot be fulfilled: the object has been modified; please apply",
        ),
        event("plus", "FailedGetResourceMetric", 0, 30, "HorizontalPodAutoscaler"),
        event("plus-default", "FailedToUpdateEndpointSlices", 0, 30, "EndpointSlice"),
        event(POD, "Unhealthy", 0, 30, "Pod"),
        event(POD, "BackOff", 0, 30, "Pod"),
    ],
    ids=lambda each: each["reason"],
)
def test_a_warning_that_resolves_itself_is_ignored(given: Object) -> None:
    assert lasting_warning([given], "plus") == ""


def test_a_warning_about_a_pod_is_reported_until_its_containers_start() -> None:
    mount = [event(POD, "FailedMount", 0, 10, "Pod")]
    waiting = {"waiting": {"reason": "ContainerCreating"}}
    assert lasting_warning(mount, "plus", pods=[pod(**waiting)]) == "FailedMount: m"
    assert lasting_warning(mount, "plus", pods=[pod(running={})]) == ""
    other = {**pod(**waiting), "metadata": {"name": "plus-default-0-y"}}
    assert lasting_warning(mount, "plus", pods=[other]) == ""


def test_pods_that_cannot_be_created_are_reported_until_one_is() -> None:
    events = [event("plus-default-0", "FailedCreate", 0, 10, "ReplicaSet")]
    assert lasting_warning(events, "plus", pods=[pod(made=10)]) == "FailedCreate: m"
    assert lasting_warning(events, "plus", pods=[pod(made=12)]) == ""


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        (
            "forbidden: exceeded quota: small",
            "request less with resources or replicas, or get a higher quota",
        ),
        (
            'error looking up service account production/who: serviceaccount "who" not found',
            "create it, or correct service_account_name; the deployment waits for it",
        ),
        ("failed quota: small: must specify limits.memory", "correct resources"),
        ("forbidden: maximum memory usage per Container is 1Gi", "correct resources"),
        ('violates PodSecurity "restricted:latest"', "set run_as_user, or choose a namespace"),
        (
            'persistentvolumeclaim "models" not found',
            "check that the volume claim of its uri exists",
        ),
        (
            'MountVolume.SetUp failed: secret "gcs" not found',
            "create it; the deployment waits for it",
        ),
    ],
)
def test_the_option_that_helps_is_named(message: str, remedy: str) -> None:
    told = lasting_warning([event("plus-default-0", "FailedCreate", 0, 9, message=message)], "plus")
    assert told.startswith(f"FailedCreate: {message}; {remedy}")
