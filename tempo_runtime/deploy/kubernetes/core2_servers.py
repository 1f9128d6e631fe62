"""Whether a Server of Seldon Core 2 has the pods that it should have: pure functions.

A Server becomes a StatefulSet, and its status does not say which generation it is of
(operator/controllers/mlops/server_controller.go). Its pods do.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tempo_runtime.deploy.kubernetes.api_errors import line
from tempo_runtime.deploy.kubernetes.pods import is_over, is_ready

_REVISION = ("controller-revision-hash", "pod-template-hash")  # of a StatefulSet, of a Deployment
# What the operator does not write into the pods.
_NOT_OF_PODS = frozenset(
    (
        "deploymentStrategy",
        "disableAutoUpdate",
        "maxReplicas",
        "minReplicas",
        "replicas",
        "statefulSetPersistentVolumeClaimRetentionPolicy",
    )
)
# What the condition of a Server says without an error (GetConditions in
# operator/controllers/reconcilers/server), and errors after which the operator tries again.
_NO_ERROR = re.compile("desired replicas$|the object has been modified")


@dataclass(frozen=True)
class Wait:
    """What a Server waits for.

    Attributes:
        reason: In a sentence; empty for nothing.
        holds: Whether models that are loaded wait for it as well.
    """

    reason: str = ""
    holds: bool = False


def wait_of(
    server: Mapping[str, Any] | None,
    pods: Sequence[Mapping[str, Any]],
    old: Collection[str] = (),
    *,
    counted: bool = False,
) -> Wait:
    """Return what a Server waits for until all its pods are ready, and of one version.

    Args:
        server: The Server; None if it is not one of ours.
        pods: Its pods; none if they may not be seen.
        old: Uids of the pods that are to be replaced.
        counted: Whether models that are loaded wait until as many pods are ready as are wanted.
    """
    if server is None:
        return Wait()
    every = _unready(server, pods, old, counted=True)
    if every and (error := _error(server)):
        every = f"{every} ({error})"
    return Wait(every, bool(_unready(server, pods, old, counted=counted)))


def _unready(
    server: Mapping[str, Any],
    pods: Sequence[Mapping[str, Any]],
    old: Collection[str],
    *,
    counted: bool,
) -> str:
    name = f"Server {server['metadata']['name']}"
    there = [pod for pod in pods if not is_over(pod)]
    if len(set(map(_revision, there))) > 1:
        return f"{name}: its pods are replaced one by one"
    if not counted:
        return ""
    if not pods:
        return "" if is_ready(server) else f"{name} has no pods yet"
    wanted = int(server["spec"].get("replicas", 1))
    ready = sum(is_ready(pod) and pod["metadata"].get("uid") not in old for pod in there)
    return "" if ready >= wanted else f"{name}: {ready} of {wanted} pods are ready"


def replaced(before: Mapping[str, Any] | None, server: Mapping[str, Any]) -> bool:
    """Return whether a change of a Server replaces its pods."""
    return before is not None and _of_pods(before) != _of_pods(server)


def _of_pods(server: Mapping[str, Any]) -> list[Any]:
    metadata, spec = server["metadata"], server["spec"]
    made = {key: spec[key] for key in spec if key not in _NOT_OF_PODS}
    return [made, metadata.get("labels") or {}, metadata.get("annotations") or {}]


def _error(server: Mapping[str, Any]) -> str:
    """Return why the operator cannot make what a Server asks for; empty if it can."""
    for condition in (server.get("status") or {}).get("conditions") or []:
        said = str(condition.get("message") or condition.get("reason") or "")
        if condition.get("status") == "False" and not _NO_ERROR.search(said):
            return line(said)
    return ""


def _revision(pod: Mapping[str, Any]) -> str:
    labels = pod["metadata"].get("labels") or {}
    return next((str(labels[key]) for key in _REVISION if key in labels), "")
