"""Explain why pods are not ready, by pure functions of their state."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tempo_runtime.deploy.kubernetes import remedies
from tempo_runtime.deploy.kubernetes.api_errors import line
from tempo_runtime.servers.log import TRACEBACK, reason

# Problems that waiting does not solve.
_PULLS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
_PULL_FAILED = _PULLS[1:]
_OUT_OF_MEMORY = "OOMKilled"
_CRASH_LOOP = "CrashLoopBackOff"
_KILLED = (0, 128 + signal.SIGTERM, 128 + signal.SIGKILL)  # 0 if the server reacts to the signal
_NEVER_RAN = ("StartError", "ContainerCannotRun")
# Number of times that a container ends until only a change is expected to help. Kubernetes restarts it
# at once after the first time, and 10 seconds after the second.
_ENDS = 2
# Containers next to the server: Seldon Core's engine, Knative's proxy, service meshes, KServe's agent.
_SIDECARS = ("seldon-container-engine", "queue-proxy", "istio-proxy", "linkerd-proxy", "agent")
_TEMPLATE = "pod-template-hash"  # label of the pods of a Deployment
_LAST_LINES = 3
_LONGEST = 400
# Our runtime's message about an artifact that is not the required one (`trust.TrustPolicy.check`).
_OTHER_ARTIFACT = re.compile(
    r"has the digest (sha256:[0-9a-f]{64}), but \S+ demands (sha256:[0-9a-f]{64})"
)


@dataclass(frozen=True)
class Log:
    """A log that would explain more.

    Attributes:
        pod: Name of the pod.
        container: Name of its container.
        ended: Whether it is that of the previous container, which has ended.
        restarts: How often the container had been restarted.
        running: Whether the container still runs.
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
        reason: The reason as a sentence; empty if it is unknown until the log is read.
        lasting: Whether only a change can help.
        log: The log that would explain more; None if no log would.
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
    """Return what keeps a pod from being ready; None if no problem is known.

    Args:
        pod: The pod.
        logs: The logs that were read.
        keys: The option that names the Secret for downloading artifacts.
        unhealthy: Names of pods whose liveness probe failed, with its message.
    """
    name = pod["metadata"]["name"]
    probe = (unhealthy or {}).get(name, "")
    status = pod.get("status") or {}
    if pod["metadata"].get("deletionTimestamp"):
        return None  # it is being deleted, so its state does not matter
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            message = line(condition.get("message") or condition.get("reason") or "")
            return Trouble(f"no node takes pod {name} ({message}); {remedies.of_no_node(message)}")
    unread = None
    for kind, key in (("init container", "initContainerStatuses"), ("", "containerStatuses")):
        for container in status.get(key) or []:
            problem = _container(name, kind, container, logs or {}, keys, probe)
            if problem is not None and problem.reason:
                return problem
            unread = unread or problem
    if status.get("phase") == "Failed":
        message = status.get("message") or status.get("reason") or "no reason is given"
        return Trouble(f"pod {name} has failed: {line(message)}")
    return unread


def restarts(pod: Mapping[str, Any]) -> int:
    """Return how often a pod's containers were restarted."""
    status = pod.get("status") or {}
    containers = [
        *(status.get("initContainerStatuses") or []),
        *(status.get("containerStatuses") or []),
    ]
    return sum(int(container.get("restartCount") or 0) for container in containers)


def replica_set(pod: Mapping[str, Any]) -> str:
    """Return the name of the ReplicaSet that created a pod, one for each version; empty if none did."""
    metadata = pod["metadata"]
    made = (metadata.get("labels") or {}).get(_TEMPLATE)
    return str(metadata.get("generateName", "")).removesuffix("-") if made else ""


def rolling(pods: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether pods of an older version of a Deployment still run next to the new ones."""
    versions = set()
    for pod in pods:
        if not is_over(pod) and (made := replica_set(pod)):
            versions.add((made.removesuffix(pod["metadata"]["labels"][_TEMPLATE]), made))
    return len(versions) > len({deployment for deployment, _ in versions})


def is_ready(item: Mapping[str, Any]) -> bool:
    """Return whether a pod or another object with conditions is ready."""
    conditions = (item.get("status") or {}).get("conditions") or []
    return any(
        condition.get("type") == "Ready" and condition.get("status") == "True"
        for condition in conditions
    )


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
        remedy = remedies.of_container(message, keys if kind else "env_secrets or env_from")
        return Trouble("; ".join(filter(None, [f"pod {pod}: {why}: {message}", remedy])))
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
    if container.get("ready"):
        return None
    if not ended:
        is_server = "running" in state and not kind and name not in _SIDECARS
        return _unready(pod, name, logs) if is_server else None
    if kind and ended.get("exitCode") == 0:
        return None  # a server is not expected to end, but MLServer ends with 0 if its model is missing
    restarts = int(container.get("restartCount") or 0)
    running = not (why == _CRASH_LOOP or "terminated" in state)  # so it may become ready now
    lasting = not running and restarts + 1 >= _ENDS
    if ended.get("reason") == _OUT_OF_MEMORY:
        return Trouble(
            f"pod {pod}: {kind or 'container'} {name} was killed because it used too much memory "
            f"({_OUT_OF_MEMORY}); raise memory in the limits of resources",
            lasting,
        )
    if probe and not kind and ended.get("exitCode") in _KILLED:
        return Trouble(
            f"pod {pod}: container {name} was killed ({probe}); give it more time with liveness",
            lasting,
        )
    log = Log(pod, name, "terminated" not in state, restarts)
    cause = summary(_text(log, logs) or ended.get("message") or "")
    if ended.get("reason") in _NEVER_RAN:
        remedy = remedies.of_container(cause, keys)
    else:
        remedy = f"check its uri and the keys of {keys}" if kind else ""
    what = f"{kind or 'container'} {name} ended with {ended.get('exitCode')} (restarts: {restarts})"
    parts = [": ".join(filter(None, [f"pod {pod}: {what}", cause])), remedy]
    return Trouble("; ".join(filter(None, parts)), lasting, log)


def _text(log: Log, logs: Mapping[Log, str]) -> str:
    """Return a log, or if it cannot be read that of an earlier run of the container."""
    runs = [other for other in logs if (other.pod, other.container) == (log.pod, log.container)]
    runs = [other for other in runs if other.restarts < log.restarts and not other.running]
    earlier = max(runs, key=lambda other: other.restarts, default=log)
    return logs.get(log) or logs.get(earlier, "")


def _unready(pod: str, name: str, logs: Mapping[Log, str]) -> Trouble:
    """Return why a running server is not ready: MLServer stays up without a model that it cannot read."""
    log = Log(pod, name, ended=False, running=True)
    text = logs.get(log, "")
    cause = summary(text) if TRACEBACK in text else ""
    return Trouble(
        cause and f"pod {pod}: container {name} runs without its model: {cause}", log=log
    )


def other_artifact(text: str) -> tuple[str, str] | None:
    """Return the digest of the artifact that a pod got, and of the one that it should serve.

    Return None if this is not the reason that it is not ready.

    Args:
        text: The message of the pod or of the platform about a model that was not loaded.
    """
    match = _OTHER_ARTIFACT.search(text)
    return (match[1], match[2]) if match else None


def summary(log: str) -> str:
    """Summarize a log on one line: the wrong artifact, the last exception, or the last lines."""
    if mismatches := [
        match[0] for log_line in log.splitlines() if (match := _OTHER_ARTIFACT.search(log_line))
    ]:
        return mismatches[-1]
    return line(" / ".join(reason(log, _LONGEST).splitlines()[-_LAST_LINES:]))
