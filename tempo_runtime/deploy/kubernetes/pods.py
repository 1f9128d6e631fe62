"""What is wrong with pods, and whether they are replaced: pure functions of what the cluster says."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tempo_runtime.deploy.kubernetes import remedies
from tempo_runtime.deploy.kubernetes.api_errors import line
from tempo_runtime.servers.log import TRACEBACK, reason

# What waiting does not heal.
_PULLS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
_PULL_FAILED = _PULLS[1:]
_OUT_OF_MEMORY = "OOMKilled"
_CRASH_LOOP = "CrashLoopBackOff"
_KILLED = (0, 128 + signal.SIGTERM, 128 + signal.SIGKILL)  # 0 where the server heeds the signal
_NEVER_RAN = ("StartError", "ContainerCannotRun")
# How often a container ends until only a change is thought to help. Kubernetes starts it again at once
# after the first end, and 10 seconds after the second.
_ENDS = 2
# Containers beside the server: Seldon Core's engine, Knative's, those of service meshes, KServe's agent.
_SIDECARS = ("seldon-container-engine", "queue-proxy", "istio-proxy", "linkerd-proxy", "agent")
_TEMPLATE = "pod-template-hash"  # label of the pods of a Deployment
_LAST_LINES = 3
_LONGEST = 400
# What our runtime says of an artifact that is not the one it is to serve (`trust.Demands.check`).
_OTHER_ARTIFACT = re.compile(
    r"has the digest (sha256:[0-9a-f]{64}), but \S+ demands (sha256:[0-9a-f]{64})"
)


@dataclass(frozen=True)
class Log:
    """A log that would tell more.

    Attributes:
        pod: Name of the pod.
        container: Name of its container.
        ended: Whether it is the one before, which has ended.
        restarts: How often the container had been started again.
        running: Whether it goes on.
    """

    pod: str
    container: str
    ended: bool
    restarts: int = 0
    running: bool = False


@dataclass(frozen=True)
class Trouble:
    """Why a pod is not ready.

    Attributes:
        reason: In a sentence; empty if nothing is known before the log is read.
        lasting: Whether only a change can help.
        log: The log that tells more, if one does.
    """

    reason: str
    lasting: bool = False
    log: Log | None = None


def trouble(
    pod: Mapping[str, Any],
    logs: Mapping[Log, str] | None = None,
    keys: str = "auth_secret_name",
    unhealthy: Mapping[str, str] | None = None,
) -> Trouble | None:
    """Return what keeps a pod from being ready; None if nothing is known to.

    Args:
        pod: The pod.
        logs: The logs that were read.
        keys: The option that names the Secrets that artifacts are downloaded with.
        unhealthy: The pods whose liveness probe failed, with what it says.
    """
    name = pod["metadata"]["name"]
    probe = (unhealthy or {}).get(name, "")
    status = pod.get("status") or {}
    if pod["metadata"].get("deletionTimestamp"):
        return None  # on its way out, it is of no matter any more
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            message = line(condition.get("message") or condition.get("reason") or "")
            return Trouble(f"pod {name} finds no node ({message}); {remedies.of_no_node(message)}")
    unread = None
    for kind, key in (("init container", "initContainerStatuses"), ("", "containerStatuses")):
        for container in status.get(key) or []:
            found = _container(name, kind, container, logs or {}, keys, probe)
            if found is not None and found.reason:
                return found
            unread = unread or found
    if status.get("phase") == "Failed":
        message = status.get("message") or status.get("reason") or "no reason is given"
        return Trouble(f"pod {name} has failed: {line(message)}")
    return unread


def restarts(pod: Mapping[str, Any]) -> int:
    """Return how often a pod's containers were started again."""
    status = pod.get("status") or {}
    containers = [
        *(status.get("initContainerStatuses") or []),
        *(status.get("containerStatuses") or []),
    ]
    return sum(int(each.get("restartCount") or 0) for each in containers)


def replica_set(pod: Mapping[str, Any]) -> str:
    """Name of the ReplicaSet that made a pod, one for each version of its Deployment; empty without."""
    metadata = pod["metadata"]
    made = (metadata.get("labels") or {}).get(_TEMPLATE)
    return str(metadata.get("generateName", "")).removesuffix("-") if made else ""


def rolling(pods: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether pods of what a Deployment was before are there beside those of what it is now."""
    versions = set()
    for pod in pods:
        if not is_over(pod) and (made := replica_set(pod)):
            versions.add((made.removesuffix(pod["metadata"]["labels"][_TEMPLATE]), made))
    return len(versions) > len({deployment for deployment, _ in versions})


def is_ready(item: Mapping[str, Any]) -> bool:
    """Return whether a pod, or another object with conditions, is ready."""
    conditions = (item.get("status") or {}).get("conditions") or []
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)


def is_over(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod has ended, or is ending."""
    ended = (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded")
    return ended or bool(pod["metadata"].get("deletionTimestamp"))


def _container(
    pod: str,
    kind: str,
    container: Mapping[str, Any],
    logs: Mapping[Log, str],
    keys: str,
    probe: str,
) -> Trouble | None:
    name = container.get("name", "")
    state = container.get("state") or {}
    waiting = state.get("waiting") or {}
    why, message = waiting.get("reason") or "", line(waiting.get("message") or "")
    if why in _PULLS:
        return Trouble(
            f"pod {pod}: image {container.get('image')} cannot be pulled ({why}: {message}); "
            + remedies.of_image(bool(kind)),
            why in _PULL_FAILED,
        )
    if why.startswith("Create") or why == "RunContainerError":
        remedy = remedies.of_container(message, keys if kind else "env_from")
        return Trouble("; ".join(filter(None, [f"pod {pod}: {why}: {message}", remedy])))
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
    if container.get("ready"):
        return None
    if not ended:
        own = "running" in state and not kind and name not in _SIDECARS
        return _unready(pod, name, logs) if own else None
    if kind and ended.get("exitCode") == 0:
        return None  # a server does not end by itself, but MLServer ends with 0 without its model
    restarts = int(container.get("restartCount") or 0)
    running = not (why == _CRASH_LOOP or "terminated" in state)  # so that it may come up now
    lasting = not running and restarts + 1 >= _ENDS
    if ended.get("reason") == _OUT_OF_MEMORY:
        return Trouble(
            f"pod {pod}: {kind or 'container'} {name} was killed for the memory it took "
            f"({_OUT_OF_MEMORY}); raise memory in the limits of resources",
            lasting,
        )
    if probe and not kind and ended.get("exitCode") in _KILLED:
        return Trouble(
            f"pod {pod}: container {name} was killed ({probe}); give it more time with liveness",
            lasting,
        )
    log = Log(pod, name, "terminated" not in state, restarts)
    told = summary(_text(log, logs) or ended.get("message") or "")
    if ended.get("reason") in _NEVER_RAN:
        remedy = remedies.of_container(told, keys)
    else:
        remedy = f"is its uri right, and are the keys of {keys}?" if kind else ""
    what = f"{kind or 'container'} {name} ended with {ended.get('exitCode')} (restarts: {restarts})"
    parts = [": ".join(filter(None, [f"pod {pod}: {what}", told])), remedy]
    return Trouble("; ".join(filter(None, parts)), lasting, log)


def _text(log: Log, logs: Mapping[Log, str]) -> str:
    """Return a log, or that of an earlier end of the container where the log cannot be read."""
    ends = [each for each in logs if (each.pod, each.container) == (log.pod, log.container)]
    ends = [each for each in ends if each.restarts < log.restarts and not each.running]
    earlier = max(ends, key=lambda each: each.restarts, default=log)
    return logs.get(log) or logs.get(earlier, "")


def _unready(pod: str, name: str, logs: Mapping[Log, str]) -> Trouble:
    """Return why a server that runs is not ready: MLServer stays up without a model it cannot read."""
    log = Log(pod, name, ended=False, running=True)
    text = logs.get(log, "")
    told = summary(text) if TRACEBACK in text else ""
    return Trouble(told and f"pod {pod}: container {name} runs without its model: {told}", log=log)


def other_artifact(text: str) -> tuple[str, str] | None:
    """Return the digests of the artifact that a pod found and of the one that it should serve.

    None where that is not what kept it from being ready.

    Args:
        text: What the pod, or the platform, says of a model that was not loaded.
    """
    found = _OTHER_ARTIFACT.search(text)
    return (found[1], found[2]) if found else None


def summary(log: str) -> str:
    """Summarize a log in a line: why an artifact is not served, the last exception, or the last lines."""
    if told := [found[0] for each in log.splitlines() if (found := _OTHER_ARTIFACT.search(each))]:
        return told[-1]
    return line(" / ".join(reason(log, _LONGEST).splitlines()[-_LAST_LINES:]))
