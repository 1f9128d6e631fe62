"""Ownership of objects that several deployments share, and what each may change.

An object has one label for each model that it is deployed with. Labels are set separately from the
rest of the object: otherwise a deployment would remove the labels of the others, which it does not
state.

A Server of Seldon Core 2 has no such labels: its pods get the same labels, so a new label would
replace them (operator/controllers/reconcilers/server/statefulset_reconciler.go, toStatefulSet). It
belongs to the pipelines whose Models need it; see `members.sharers`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tempo_runtime.deploy.kubernetes.manifests import pinning
from tempo_runtime.deploy.kubernetes.manifests.pods import MANAGER
from tempo_runtime.deploy.kubernetes.session import MODEL, RUNTIME, SERVER
from tempo_runtime.errors import DeploymentFailed

_PART = "deployment.tempo-runtime"
_OPTION = {SERVER.kind: "server", RUNTIME.kind: "runtime"}
# Fields that no option decides: replicas never become fewer, the others are the same for all
# deployments, and `dedicated` only makes a failed Model load again.
_FREE = {
    SERVER.kind: (
        "spec.replicas",
        "spec.capabilities",
        "spec.extraCapabilities",
        "spec.statefulSetPersistentVolumeClaimRetentionPolicy",
    ),
    MODEL.kind: ("spec.dedicated",),
}
# From 2.9 on the scheduler removes a Server's replicas that have no model, and its operator then owns
# the field (shouldScaleDown in scheduler/pkg/server/utils.go, scaleServerReplicas in
# operator/scheduler/server.go). It adds none for a new Model (serverScaleUp in
# scheduler/pkg/scheduler/scheduler.go), so they are set here, where they are only ever raised.
TAKEN = {SERVER.kind: ("spec.replicas",)}
"""Fields, by kind, that are taken over from other managers."""
_MANY = 5


def part_of(name: str) -> str:
    """Return the label of objects deployed with a model; a child of two pipelines has two labels."""
    return f"{_PART}/{name}"


def parts(item: Mapping[str, Any]) -> set[str]:
    """Return the names of the models that an object is deployed with."""
    labels: Iterable[str] = item["metadata"].get("labels") or {}
    return {label.partition("/")[2] for label in labels if label.startswith(f"{_PART}/")}


def claimed(item: Mapping[str, Any], name: str) -> dict[str, str]:
    """Return the labels that an object still needs to belong to a model.

    An object that was applied from a manifest belongs to no model, and must not be deleted with a
    pipeline that is deployed over it. So it is also made to belong to itself.

    Args:
        item: The object.
        name: Name of the model.
    """
    existing = parts(item)
    managers = [entry.get("manager") for entry in item["metadata"].get("managedFields") or []]
    is_deployed = existing or MANAGER in managers  # an interrupt may have come before the labels
    names = set() if is_deployed else {item["metadata"]["name"]}
    if item["kind"] != SERVER.kind:
        names.add(name)
    return {part_of(model): "" for model in sorted(names - existing)}


def at_least(document: dict[str, Any], live: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a Server with at least the replicas that others need, and any other object unchanged."""
    if document["kind"] != SERVER.kind or live is None:
        return document
    most = max(document["spec"]["replicas"], live["spec"].get("replicas") or 0)
    return {**document, "spec": {**document["spec"], "replicas": most}}


def keep_pin(document: dict[str, Any], live: Mapping[str, Any] | None, name: str) -> dict[str, Any]:
    """Keep the digest with which another pipeline deployed a shared child.

    Without the artifact on this machine no digest is known, and the others keep theirs.

    Args:
        document: The object to apply.
        live: The object on the cluster; None if it does not exist.
        name: Name of the model that is being deployed.
    """
    if live is None or document["kind"] not in pinning.KINDS or pinning.pinned(document):
        return document
    shared = parts(live) - {name} and document["metadata"]["name"] != name
    digest = pinning.pinned(live)
    if shared and digest and pinning.uri_of(live) == pinning.uri_of(document):
        document = copy.deepcopy(document)
        pinning.pin(document, digest, pinning.demanded_by(live))
    return document


def refuse_change(live: Mapping[str, Any], new: Mapping[str, Any], sharers: set[str]) -> None:
    """Refuse to change a shared object that other models were deployed with.

    Args:
        live: The object on the cluster.
        new: The object as it would become.
        sharers: Names of the other models that it is deployed with.

    Raises:
        DeploymentFailed: If the object would change for other models.
    """
    kind, name = live["kind"], live["metadata"]["name"]
    changed = [*_changed(live.get("spec") or {}, new.get("spec") or {}, "spec")]
    if kind == SERVER.kind:  # its pods get them, too, and would be replaced
        for part in ("labels", "annotations"):
            old, now = (item["metadata"].get(part) or {} for item in (live, new))
            changed += _changed(old, now, f"metadata.{part}")
    fields = sorted(field for field in changed if not field.startswith(_FREE.get(kind, ())))
    others = sorted(sharers)
    if fields and others:
        changes = ", ".join(fields[:_MANY]) + (", ..." if len(fields) > _MANY else "")
        remedy = (
            f"name another with the option {_OPTION[kind]}"
            if kind in _OPTION
            else "deploy it by itself to change it for all"
        )
        raise DeploymentFailed(
            f"{kind} {name} was also deployed with {', '.join(others)}, for which {changes} would "
            f"change; give it the same options as there, or {remedy}"
        )


def _changed(old: Any, new: Any, path: str) -> Iterator[str]:
    """Yield the paths at which two values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {*old, *new}:
            yield from _changed(old.get(key), new.get(key), f"{path}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, pair in enumerate(zip(old, new, strict=True)):
            yield from _changed(*pair, f"{path}[{index}]")
    elif old != new:
        yield path
