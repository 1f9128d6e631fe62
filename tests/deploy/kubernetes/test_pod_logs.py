"""Logs of the pods of a deployment: each pod apart, and followed while pods end and come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tempo_runtime import DeploymentFailed, Seldon2Options
from tempo_runtime.deploy.kubernetes import pod_logs
from tempo_runtime.deploy.kubernetes.deploy import get_client, reading_logs
from tempo_runtime.deploy.kubernetes.pod_logs import PodLog
from tempo_runtime.kubernetes import logs
from tests.deploy.kubernetes.api_server import ApiServer, Object, failure
from tests.deploy.kubernetes.conftest import options

OURS = {"app.kubernetes.io/managed-by": "tempo-runtime"}
RUNNING = {"name": "plus", "ready": True, "state": {"running": {}}}
CRASHED = {"terminated": {"exitCode": 1, "reason": "Error"}}


def put(api: ApiServer, name: str, plural: str = "seldondeployments", **spec: Any) -> None:
    labels = {**OURS, "deployment.tempo-runtime/plus": ""}
    api.put(plural, {"metadata": {"name": name, "labels": labels}, "spec": spec})


def put_pod(api: ApiServer, model: str, end: str, text: str = "", **container: Any) -> str:
    """Make a pod of Seldon Core v1, or change it."""
    name = f"{model}-default-0-{model}-{end}"
    status = {**RUNNING, "name": model, **container}
    api.pod(name, {"seldon-deployment-id": model}, containerStatuses=[status])
    containers = [{"name": "seldon-container-engine"}, {"name": model}]
    api.objects["pods", name]["spec"]["containers"] = containers
    api.logs[name, model] = text
    api.logs[name, "seldon-container-engine"] = "of the platform\n"
    return name


@pytest.fixture
def deployed(api: ApiServer) -> Iterator[ApiServer]:
    """A pipeline and the model it calls."""
    put(api, "plus")
    put(api, "line")
    return api


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod_logs, "_EVERY", 0)


def test_each_pod_of_the_pipeline_and_its_children_is_apart_and_whole(deployed: ApiServer) -> None:
    first = put_pod(deployed, "plus", "a", "one\ntwo\n")
    second = put_pod(deployed, "plus", "b", "three\n")
    child = put_pod(deployed, "line", "c", "four\n")
    put_pod(deployed, "other", "d", "five\n")
    assert logs("plus", options()) == {
        "plus": {first: "one\ntwo\n", second: "three\n"},
        "line": {child: "four\n"},
    }
    assert logs("plus", options(), lines=1)["plus"][first] == "two\n"


def test_a_deployments_own_logs_are_those_of_its_pods_one_after_the_other(
    deployed: ApiServer,
) -> None:
    put_pod(deployed, "plus", "a", "one\n")
    put_pod(deployed, "plus", "b", "two\n")
    deployment = get_client("plus", options()).deployment
    assert deployment.logs() == {"plus": "one\ntwo\n", "line": ""}
    assert deployment.logs("line") == {"line": ""}
    assert deployment.logs("other") == {}


def test_a_server_of_several_models_is_read_once(api: ApiServer) -> None:
    for name in ("plus", "line"):
        put(api, name, "models", server="shared")
    api.pod("shared-0", {"seldon-server-name": "shared"})
    api.objects["pods", "shared-0"]["spec"]["containers"] = [
        {"name": "rclone"},
        {"name": "agent"},
        {"name": "mlserver"},
    ]
    api.logs["shared-0", "mlserver"] = "of both\n"
    on_core2 = Seldon2Options(remote_options={"namespace": "production"})
    with reading_logs("plus", on_core2) as reading:
        assert reading.read() == [PodLog(("plus", "line"), "shared-0", "0", "of both\n")]
    assert api.asked("GET", "/log") == 1
    assert logs("plus", on_core2) == {
        "plus": {"shared-0": "of both\n"},
        "line": {"shared-0": "of both\n"},
    }


@pytest.mark.parametrize(
    ("container", "note"),
    [
        ({}, ""),
        (
            {"state": {"waiting": {"reason": "ContainerCreating"}}, "ready": False},
            "has not started (ContainerCreating)",
        ),
        ({"state": CRASHED}, "has ended with status 1 (Error)"),
        (
            {
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": CRASHED,
                "restartCount": 4,
            },
            "has ended with status 1 (Error), and is being restarted (CrashLoopBackOff)",
        ),
        (
            {"lastState": {"terminated": {"exitCode": 0}}, "restartCount": 2},
            "has ended with status 0, and was restarted; restarts: 2",
        ),
    ],
)
def test_a_pod_that_does_not_run_is_described(
    deployed: ApiServer, container: Object, note: str
) -> None:
    put_pod(deployed, "plus", "a", "one\n", **container)
    with reading_logs("plus", options()) as reading:
        [found] = reading.read()
    assert found.note == note
    assert found.text == ("" if "not started" in note else "one\n")


def test_the_previous_container_is_read_if_there_was_one(deployed: ApiServer) -> None:
    ended = put_pod(deployed, "plus", "a", "now\n", lastState=CRASHED, restartCount=1)
    put_pod(deployed, "plus", "b", "now\n")
    deployed.ended_logs[ended, "plus"] = "before\n"
    with reading_logs("plus", options()) as reading:
        assert [each.text for each in reading.read(previous=True)] == ["before\n", ""]


def test_one_model_or_one_pod_can_be_chosen(deployed: ApiServer) -> None:
    name = put_pod(deployed, "plus", "a", "one\n")
    put_pod(deployed, "plus", "b", "two\n")
    put_pod(deployed, "line", "a", "three\n")
    for chosen, expected in (
        ({"child": "line"}, ["three\n"]),
        ({"pod": name}, ["one\n"]),
        ({"pod": "b"}, ["two\n"]),
        ({"pod": "a", "child": "plus"}, ["one\n"]),
    ):
        with reading_logs("plus", options(), **chosen) as reading:  # type: ignore[arg-type]
            assert [each.text for each in reading.read()] == expected


def test_a_model_or_a_pod_that_is_not_there_is_named(deployed: ApiServer) -> None:
    with (
        reading_logs("plus", options(), child="lines") as reading,
        pytest.raises(DeploymentFailed, match="plus has no model 'lines'; it has plus, line"),
    ):
        reading.read()
    with reading_logs("plus", options(), pod="z") as reading:
        for read in (reading.read, lambda: next(reading.follow())):
            with pytest.raises(DeploymentFailed, match="plus has no pod 'z'; leave it out"):
                read()


def test_pods_whose_names_end_alike_have_their_whole_names(deployed: ApiServer) -> None:
    whole = put_pod(deployed, "plus", "1-a")
    put_pod(deployed, "plus", "2-a")
    with reading_logs("plus", options()) as reading:
        assert reading.read()[0].label == whole


def test_more_lines_than_the_api_can_count_are_all_lines(deployed: ApiServer) -> None:
    name = put_pod(deployed, "plus", "a", "one\n")
    assert logs("plus", options(), lines=10**20)["plus"][name] == "one\n"


def test_without_the_right_to_read_them_the_rule_is_named(deployed: ApiServer) -> None:
    put_pod(deployed, "plus", "a")
    deployed.fault("GET", "/log", 403, failure(403, "pods/log is forbidden"))
    with pytest.raises(DeploymentFailed, match="you may not get pods/log in the namespace"):
        logs("plus", options())


def test_new_lines_are_followed_until_it_is_undeployed(deployed: ApiServer) -> None:
    name = put_pod(deployed, "plus", "a", "one\ntwo\n")
    with reading_logs("plus", options()) as reading:
        following = reading.follow(lines=1)
        assert next(following).text == "two\n"
        deployed.logs[name, "plus"] += "three\nnot yet who"
        assert next(following).text == "three\n"
        deployed.logs[name, "plus"] += "le\n"
        assert next(following).text == "not yet whole\n"
        for kind, each in list(deployed.objects):
            deployed.drop(kind, each)
        assert next(following).note == "is gone"
        assert next(following, None) is None


def test_carriage_returns_and_words_of_the_kubelet_do_not_end_following(
    deployed: ApiServer,
) -> None:
    name = put_pod(deployed, "plus", "a", "10%\r20%\r\x85done\n")
    deployed.fault("GET", "/log", 200, "unable to retrieve container logs for containerd://1\n")
    with reading_logs("plus", options()) as reading:
        following = reading.follow()
        assert next(following).text == "10%\r20%\r\x85done\n"
        deployed.fault("GET", "/log", 200, "unable to retrieve container logs for containerd://1\n")
        deployed.logs[name, "plus"] += "more\n"
        assert next(following).text == "more\n"


def test_no_existing_lines_are_shown_if_none_are_requested(deployed: ApiServer) -> None:
    name = put_pod(deployed, "plus", "a", "one\ntwo\n")

    deployed.logs = _Growing({(name, "plus"): "one\ntwo\n"})
    with reading_logs("plus", options()) as reading:
        assert next(reading.follow(lines=0)).text == "three\n"


class _Growing(dict[tuple[str, str], str]):
    """Logs that are longer by a line each time they were read."""

    def get(self, key: Any, default: Any = None) -> Any:
        text = super().get(key, default)
        self[key] = f"{text}three\n"
        return text


def test_the_last_lines_before_a_crash_are_not_lost(deployed: ApiServer) -> None:
    name = put_pod(deployed, "plus", "a", "one\n")
    with reading_logs("plus", options()) as reading:
        following = reading.follow()
        assert next(following).text == "one\n"
        deployed.ended_logs[name, "plus"] = "one\nMemoryError\n"
        put_pod(deployed, "plus", "a", "again\n", lastState=CRASHED, restartCount=1)
        found = next(following)
    assert found.text == "MemoryError\nagain\n"
    assert found.note == "has ended with status 1 (Error), and was restarted; restarts: 1"


def test_a_pod_that_comes_later_is_followed_from_its_beginning(deployed: ApiServer) -> None:
    name = put_pod(deployed, "plus", "a", "one\n")
    with reading_logs("plus", options()) as reading:
        following = reading.follow(lines=1)
        assert next(following).label == "a"
        put_pod(deployed, "plus", "b", "two\nthree\n")
        deployed.drop("pods", name)
        assert [
            (each.label, each.text or each.note) for each in (next(following), next(following))
        ] == [
            ("b", "two\nthree\n"),
            ("a", "is gone"),
        ]
