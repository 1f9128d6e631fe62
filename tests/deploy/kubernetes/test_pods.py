"""Problems of pods, the options that solve them, and whether pods are replaced."""

from __future__ import annotations

from typing import Any

import pytest

from tempo_runtime.deploy.kubernetes.pods import Log, Trouble, is_ready, rolling, trouble
from tests.deploy.kubernetes.api_server import Object


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


def crashed(restarts: int) -> Log:
    return Log("p", "c", ended=True, restarts=restarts)


def unscheduled(message: str) -> Object:
    condition = {"type": "PodScheduled", "status": "False", "message": message}
    return pod([], conditions=[condition])


def reason(
    given: Object, logs: dict[Log, str] | None = None, keys: str = "auth_secret_name"
) -> str:
    found = trouble(given, logs, keys)
    assert found is not None
    return found.reason


PULL = "pod p: image i:1 cannot be pulled ({}: m); correct image, or set image_pull_secrets"
CRASH = "pod p: container c ended with 1 (restarts: {})"
MEMORY = (
    "pod p: container c was killed because it used too much memory (OOMKilled); raise memory in the "
    "limits of resources"
)
INIT = "pod p: init container c ended with 1 (restarts: {})"
HINT = "; check its uri and the keys of auth_secret_name"


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
        (pod([waiting("CreateContainerError", "")]), Trouble("pod p: CreateContainerError: ")),
        (
            pod([{"name": "c", "state": {"terminated": {"exitCode": 1}}}]),
            Trouble(CRASH.format(0), False, Log("p", "c", ended=False)),
        ),
        # It runs for the third time, and may come up.
        (
            pod([{**ended(1, 2), "state": {"running": {}}}]),
            Trouble(CRASH.format(2), False, crashed(2)),
        ),
        (pod([ended(1, 1)]), Trouble(CRASH.format(1), True, crashed(1))),
        # As MLServer ends whose model does not load, in an image from before it ended with 1.
        (
            pod([ended(0, 1)]),
            Trouble(CRASH.replace("with 1", "with 0").format(1), True, crashed(1)),
        ),
        (
            pod([{"name": "c", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]),
            Trouble(MEMORY),
        ),
        (pod([ended(137, 1, "OOMKilled")]), Trouble(MEMORY, True)),
        (
            pod([{"name": "c", "ready": False, "state": {"running": {}}}]),
            Trouble("", log=Log("p", "c", ended=False, running=True)),
        ),
        (pod([ended(1, 5, ready=True)]), None),
        (
            pod([], initContainerStatuses=[ended(1, 1)]),
            Trouble(INIT.format(1) + HINT, True, crashed(1)),
        ),
        (
            pod(
                [waiting("PodInitializing")],
                initContainerStatuses=[{"name": "c", "state": {"terminated": {"exitCode": 1}}}],
            ),
            Trouble(INIT.format(0) + HINT, False, Log("p", "c", ended=False)),
        ),
        (
            pod(
                [], initContainerStatuses=[{"name": "c", "state": {"terminated": {"exitCode": 0}}}]
            ),
            None,
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
def test_the_problem_of_a_pod_is_found(given: Object, found: Trouble | None) -> None:
    assert trouble(given) == found


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        (
            "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.",
            "correct node_selector, or add nodes",
        ),
        (
            "0/2 nodes are available: 2 node(s) had untolerated taint {gpu: yes}.",
            "name the taint in tolerations, or add nodes",
        ),
        (
            "0/2 nodes are available: 1 Insufficient memory, 1 node(s) had untolerated taint "
            "{node-role.kubernetes.io/control-plane: }.",
            "request less with resources, or add nodes",
        ),
        (
            'persistentvolumeclaim "models" not found',
            "check that the volume claim of its uri exists and is bound, or add nodes",
        ),
        (
            "0/1 nodes are available: 1 node(s) were unschedulable.",
            "check that nodes are up, or add",
        ),
    ],
)
def test_the_option_that_keeps_a_pod_from_every_node_is_named(message: str, remedy: str) -> None:
    assert reason(unscheduled(message)).startswith(f"no node takes pod p ({message}); {remedy}")


@pytest.mark.parametrize(
    ("kind", "keys", "option"),
    [
        ("containerStatuses", "auth_secret_name", "env_secrets or env_from"),
        ("initContainerStatuses", "auth_secret_name", "auth_secret_name"),
        ("initContainerStatuses", "service_account_name", "service_account_name"),
    ],
)
@pytest.mark.parametrize(
    "message", ['secret "s" not found', "couldn't find key K in Secret production/s"]
)
def test_a_missing_secret_is_waited_for_and_its_option_named(
    message: str, kind: str, keys: str, option: str
) -> None:
    given = pod([], **{kind: [waiting("CreateContainerConfigError", message)]})
    assert trouble(given, keys=keys) == Trouble(
        f"pod p: CreateContainerConfigError: {message}; create it, or correct {option}; the deployment "
        "waits for it"
    )


@pytest.mark.parametrize("code", [0, 137, 143])
def test_a_container_that_its_liveness_probe_killed_names_liveness(code: int) -> None:
    found = trouble(pod([ended(code, 1)]), unhealthy={"p": "Liveness probe failed: timeout"})
    assert found == Trouble(
        "pod p: container c was killed (Liveness probe failed: timeout); give it more time with liveness",
        lasting=True,
    )
    other = trouble(pod([ended(1, 1)]), unhealthy={"p": "Liveness probe failed: refused"})
    assert other == Trouble(CRASH.format(1), True, crashed(1))


def test_an_image_that_runs_as_root_names_run_as_user() -> None:
    message = "container has runAsNonRoot and image will run as root"
    given = pod([waiting("CreateContainerConfigError", message)])
    assert reason(given).endswith(
        f"{message}; set run_as_user to a number other than 0, or correct image"
    )


def test_an_image_without_the_servers_program_names_image() -> None:
    message = 'exec: "tempo-serve": executable file not found in $PATH'
    given = pod([ended(128, 1, "StartError")])
    given["status"]["containerStatuses"][0]["lastState"]["terminated"]["message"] = message
    assert reason(given).endswith(
        f"{message}; correct image: it has no such program for this machine"
    )


def test_the_image_of_an_init_container_is_the_platforms() -> None:
    given = pod([], initContainerStatuses=[waiting("ImagePullBackOff")])
    assert reason(given).endswith("the platform's own image: correct the platform's configuration")


TRACEBACK = """Traceback (most recent call last):
  File "/mnt/models/code/shop.py", line 8, in load
    self.rate = rates["south"]
KeyError: 'south'
INFO:     Shutting down
INFO:     Waiting for application shutdown.
INFO:     Application shutdown complete.
INFO:     Finished server process [1]
"""


def test_the_last_exception_of_a_log_is_reported_with_the_authors_line() -> None:
    told = reason(pod([ended(1, 1)]), {crashed(1): TRACEBACK})
    assert told == CRASH.format(1) + ": KeyError: 'south' at /mnt/models/code/shop.py:8"


def test_an_unreadable_log_is_replaced_by_that_of_the_previous_run() -> None:
    first = Log("p", "c", ended=False)
    told = reason(pod([ended(1, 1)]), {first: TRACEBACK, Log("q", "c", ended=False): "other"})
    assert told == CRASH.format(1) + ": KeyError: 'south' at /mnt/models/code/shop.py:8"


def test_without_an_exception_the_last_lines_of_a_log_are_reported() -> None:
    told = reason(pod([ended(1, 1)]), {crashed(1): "a\nb\nc  c\nd\nINFO: shutting down\n"})
    assert told == CRASH.format(1) + ": b / c c / d"


def test_the_last_of_many_errors_is_reported() -> None:
    log = "Traceback (most recent call last):\nValueError: {}\n"
    told = reason(pod([ended(1, 1)]), {crashed(1): log.format("x" * 500) + log.format("the cause")})
    assert told == CRASH.format(1) + ": ValueError: the cause"


def test_the_authors_line_of_a_too_long_exception_is_reported() -> None:
    log = TRACEBACK.replace("'south'", "x" * 10_000)
    told = reason(pod([ended(1, 1)]), {crashed(1): log})
    assert told.startswith(CRASH.format(1) + ": KeyError: xxx")
    assert told.endswith("xxx at /mnt/models/code/shop.py:8")


def test_a_server_that_runs_without_its_model_is_recognised_by_its_log() -> None:
    given = pod([{"name": "c", "ready": False, "state": {"running": {}}}])
    log = Log("p", "c", ended=False, running=True)
    assert reason(given, {log: TRACEBACK}) == (
        "pod p: container c runs without its model: KeyError: 'south' at /mnt/models/code/shop.py:8"
    )
    assert reason(given, {log: "INFO: loading\n"}) == ""


def test_the_log_that_is_read_is_not_that_of_a_container_beside_the_server() -> None:
    running = {"ready": False, "state": {"running": {}}}
    sidecars = ({"name": name, **running} for name in ("agent", "istio-proxy"))
    found = trouble(pod([*sidecars, {"name": "model", **running}]))
    assert found == Trouble("", log=Log("p", "model", ended=False, running=True))


def test_ready_pods_are_counted() -> None:
    condition = {"type": "Ready", "status": "True"}
    assert (
        sum(map(is_ready, [pod([]), pod([], conditions=[condition]), {"metadata": {"name": "p"}}]))
        == 1
    )


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
def test_versions_of_a_deployment_are_distinguished(pods: list[Object], expected: bool) -> None:
    assert rolling(pods) is expected
