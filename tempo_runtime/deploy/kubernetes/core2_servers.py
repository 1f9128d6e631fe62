"""Decide whether a Server of Seldon Core 2 has all its pods, by pure functions.

A Server becomes a StatefulSet. Its status does not say which generation it describes
(operator/controllers/mlops/server_controller.go), but its pods do.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tempo_runtime.deploy.kubernetes.api_errors import line
from tempo_runtime.deploy.kubernetes.pods import is_over, is_ready

_REVISION = (
    "controller-revision-hash",
    "pod-template-hash",
)  # labels of the pods of a StatefulSet, and of a Deployment
# Fields that the operator does not write into the pods.
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
# Messages of a Server's condition that are not errors (GetConditions in
# operator/controllers/reconcilers/server), or after which the operator tries again.
_NO_ERROR = re.compile("desired replicas$|the object has been modified")


@dataclass(frozen=True)
class Wait:
    """The reason why models on a Server wait.

    Attributes:
        reason: The reason as a sentence; empty if nothing is waited for.
        holds: Whether models that are already loaded wait as well.
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
    """Return what a Server waits for, until all its pods are ready and have the same version.

    Args:
        server: The Server; None if we do not manage it.
        pods: Its pods; empty if they may not be listed.
        old: Uids of the pods that will be replaced.
        counted: Whether loaded models wait until the wanted number of pods is ready.
    """
    if server is None:
        return Wait()
    reason = _unready(server, pods, old, counted=True)
    if reason and (error := _error(server)):
        reason = f"{reason} ({error})"
    return Wait(reason, bool(_unready(server, pods, old, counted=counted)))


def _unready(
    server: Mapping[str, Any],
    pods: Sequence[Mapping[str, Any]],
    old: Collection[str],
    *,
    counted: bool,
) -> str:
    name = f"Server {server['metadata']['name']}"
    current = [pod for pod in pods if not is_over(pod)]
    if len(set(map(_revision, current))) > 1:
        return f"{name}: its pods are being replaced one by one"
    if not counted:
        return ""
    if not pods:
        return "" if is_ready(server) else f"{name} has no pods yet"
    wanted = int(server["spec"].get("replicas", 1))
    ready = sum(is_ready(pod) and pod["metadata"].get("uid") not in old for pod in current)
    return "" if ready >= wanted else f"{name}: {ready} of {wanted} pods are ready"


def replaced(before: Mapping[str, Any] | None, server: Mapping[str, Any]) -> bool:
    """Return whether changing a Server replaces its pods."""
    return before is not None and _of_pods(before) != _of_pods(server)


def _of_pods(server: Mapping[str, Any]) -> list[Any]:
    metadata, spec = server["metadata"], server["spec"]
    made = {key: spec[key] for key in spec if key not in _NOT_OF_PODS}
    return [made, metadata.get("labels") or {}, metadata.get("annotations") or {}]


def _error(server: Mapping[str, Any]) -> str:
    """Return why the operator cannot create what a Server specifies; empty if it can."""
    for condition in (server.get("status") or {}).get("conditions") or []:
        message = str(condition.get("message") or condition.get("reason") or "")
        if condition.get("status") == "False" and not _NO_ERROR.search(message):
            return line(message)
    return ""


def _revision(pod: Mapping[str, Any]) -> str:
    labels = pod["metadata"].get("labels") or {}
    return next((str(labels[key]) for key in _REVISION if key in labels), "")
