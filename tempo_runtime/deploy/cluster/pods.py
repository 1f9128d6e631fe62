"""What is wrong with pods, and whether they are replaced: pure functions of what the cluster says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tempo_runtime.deploy.cluster.refusals import line

# What waiting does not heal.
_PULLS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
_PULL_FAILED = _PULLS[1:]
_CRASHES = 3  # restarts, of which the last two are half a minute apart
_OUT_OF_MEMORY = "OOMKilled"
_TEMPLATE = "pod-template-hash"  # label of the pods of a Deployment
_LAST_LINES = 3
# What our runtime says of an artefact that is not the one it is to serve (`trust.Demands.check`).
_OTHER_ARTEFACT = re.compile(
    r"has the digest (sha256:[0-9a-f]{64}), but \S+ demands (sha256:[0-9a-f]{64})"
)


@dataclass(frozen=True)
class Log:
    """A log that would tell more.

    Attributes:
        pod: Name of the pod.
        container: Name of its container.
        ended: Whether it is the one before, which has ended.
    """

    pod: str
    container: str
    ended: bool


@dataclass(frozen=True)
class Trouble:
    """Why a pod is not ready.

    Attributes:
        reason: In a sentence.
        lasting: Whether only a change can help.
        log: The log that tells more, if one does.
    """

    reason: str
    lasting: bool = False
    log: Log | None = None


def trouble(pod: Mapping[str, Any], logs: Mapping[Log, str] | None = None) -> Trouble | None:
    """What keeps a pod from being ready; None if nothing is known to.

    Args:
        pod: The pod.
        logs: The logs that were read.
    """
    name = pod["metadata"]["name"]
    status = pod.get("status") or {}
    if pod["metadata"].get("deletionTimestamp"):
        return None  # on its way out, it is of no matter any more
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            message = line(condition.get("message") or condition.get("reason") or "")
            return Trouble(
                f"pod {name} finds no node ({message}); ask for less with resources, or add nodes"
            )
    for kind, key in (("init container", "initContainerStatuses"), ("", "containerStatuses")):
        for container in status.get(key) or []:
            found = _container(name, kind, container, logs or {})
            if found is not None:
                return found
    if status.get("phase") == "Failed":
        message = status.get("message") or status.get("reason") or "no reason is given"
        return Trouble(f"pod {name} has failed: {line(message)}")
    return None


def restarts(pod: Mapping[str, Any]) -> int:
    """How often a pod's containers were started again."""
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
    """Whether pods of what a Deployment was before are there beside those of what it is now."""
    versions = set()
    for pod in pods:
        over = (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded")
        over = over or bool(pod["metadata"].get("deletionTimestamp"))
        if not over and (made := replica_set(pod)):
            versions.add((made.removesuffix(pod["metadata"]["labels"][_TEMPLATE]), made))
    return len(versions) > len({deployment for deployment, _ in versions})


def warned(events: Iterable[Mapping[str, Any]], name: str, others: Iterable[str] = ()) -> str:
    """The last warning about a model, or what was made of it; empty without any.

    Args:
        events: Events of its namespace.
        name: Its name.
        others: Names of other models, of which one may go on where this one ends.
    """
    longer = [each for each in others if each.startswith(f"{name}-")]
    found = ""
    for event in sorted(events, key=_when):
        about = subject(event)
        quiet = event.get("type") != "Warning" or event.get("reason") in ("Unhealthy", "BackOff")
        if not quiet and _of(about, name) and not any(_of(about, each) for each in longer):
            message = line(event.get("message") or "")
            found = f"{event.get('reason')}: {message}" + _remedy(message)
    return found


def subject(event: Mapping[str, Any]) -> str:
    """Name of the object that an event is about."""
    return str((event.get("involvedObject") or {}).get("name", ""))


def _of(about: str, name: str) -> bool:
    return about == name or about.startswith(f"{name}-")


def _container(
    pod: str, kind: str, container: Mapping[str, Any], logs: Mapping[Log, str]
) -> Trouble | None:
    name = container.get("name", "")
    state = container.get("state") or {}
    waiting = state.get("waiting") or {}
    reason, message = waiting.get("reason") or "", line(waiting.get("message") or "")
    if reason in _PULLS:
        return Trouble(
            f"pod {pod}: image {container.get('image')} cannot be pulled ({reason}: {message}); correct "
            "image, or name image_pull_secrets",
            reason in _PULL_FAILED,
        )
    if reason.startswith("Create") or reason == "RunContainerError":
        return Trouble(f"pod {pod}: {reason}: {message}")
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
    if not ended or container.get("ready"):
        return None
    if kind and ended.get("exitCode") == 0:
        return None  # a server does not end by itself, but MLServer ends with 0 without its model
    restarts = int(container.get("restartCount") or 0)
    lasting = reason == "CrashLoopBackOff" and restarts >= _CRASHES
    if ended.get("reason") == _OUT_OF_MEMORY:
        return Trouble(
            f"pod {pod}: {kind or 'container'} {name} was killed for the memory it took "
            f"({_OUT_OF_MEMORY}); raise memory in the limits of resources",
            lasting,
        )
    log = Log(pod, name, "terminated" not in state)
    text = logs.get(log, "") or ended.get("message") or ""
    told = _end_of(text)
    hint = "; is its uri right, and auth_secret_name's secret?" if kind else ""
    return Trouble(
        f"pod {pod}: {kind or 'container'} {name} ends with {ended.get('exitCode')}, "
        f"{restarts} restarts" + (f": {line(told)}" if told else "") + hint,
        lasting,
        log,
    )


def other_artefact(text: str) -> tuple[str, str] | None:
    """Return the digests of the artefact that a pod found and of the one that it should serve.

    None where that is not what kept it from being ready.

    Args:
        text: What the pod, or the platform, says of a model that was not loaded.
    """
    found = _OTHER_ARTEFACT.search(text)
    return (found[1], found[2]) if found else None


def _end_of(log: str) -> str:
    """Summarise the end of a log in a line: why an artefact is not served, or the last line."""
    lines = log.strip().splitlines()
    told = [found[0] for each in lines if (found := _OTHER_ARTEFACT.search(each))]
    return told[-1] if told else " / ".join(lines[-_LAST_LINES:])


def _when(event: Mapping[str, Any]) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")


def _remedy(message: str) -> str:
    if "exceeded quota" in message:
        return "; ask for less with resources or replicas, or have the quota raised"
    return ""
