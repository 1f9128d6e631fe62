"""Objects that several deployments have in common: whose they are, and what one may change of them.

Labels say it, one for each model that an object is deployed with. They are set by themselves and not
with the rest of an object, where what one deployment does not state would be taken from the others.

A Server of Seldon Core 2 has none of them: its labels are also those of its pods, which a new label
would replace (operator/controllers/reconcilers/server/statefulset_reconciler.go, toStatefulSet). It
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
# What no option decides: there are never fewer replicas than there were, the rest is written the same for
# all, and a Model that failed is only tried again.
_FREE = {
    SERVER.kind: (
        "spec.replicas",
        "spec.capabilities",
        "spec.extraCapabilities",
        "spec.statefulSetPersistentVolumeClaimRetentionPolicy",
    ),
    MODEL.kind: ("spec.dedicated",),
}
# From 2.9 on the scheduler takes from a Server the replicas that have no model, and its operator owns the
# field then (shouldScaleDown in scheduler/pkg/server/utils.go, scaleServerReplicas in
# operator/scheduler/server.go). For a new Model it adds none (serverScaleUp in
# scheduler/pkg/scheduler/scheduler.go), so they are asked for here, where they are only ever raised.
TAKEN = {SERVER.kind: ("spec.replicas",)}
"""Fields by kind that are taken from other managers."""
_MANY = 5


def part_of(name: str) -> str:
    """Return the label of what is deployed with a model; a child of two pipelines has one for each."""
    return f"{_PART}/{name}"


def parts(item: Mapping[str, Any]) -> set[str]:
    """Name of the models that an object is deployed with."""
    labels: Iterable[str] = item["metadata"].get("labels") or {}
    return {label.partition("/")[2] for label in labels if label.startswith(f"{_PART}/")}


def claimed(item: Mapping[str, Any], name: str) -> dict[str, str]:
    """Return the labels that an object still lacks to be deployed with a model.

    What a manifest was applied from is nobody's part, and is not to go with a pipeline that was
    deployed over it: it becomes its own part.

    Args:
        item: The object.
        name: Name of the model.
    """
    there = parts(item)
    managers = [each.get("manager") for each in item["metadata"].get("managedFields") or []]
    by_us = there or MANAGER in managers  # an interrupt may have come before the labels
    names = set() if by_us else {item["metadata"]["name"]}
    if item["kind"] != SERVER.kind:
        names.add(name)
    return {part_of(each): "" for each in sorted(names - there)}


def at_least(document: dict[str, Any], live: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a Server with the replicas that others need; another object as it is."""
    if document["kind"] != SERVER.kind or live is None:
        return document
    most = max(document["spec"]["replicas"], live["spec"].get("replicas") or 0)
    return {**document, "spec": {**document["spec"], "replicas": most}}


def keep_pin(document: dict[str, Any], live: Mapping[str, Any] | None, name: str) -> dict[str, Any]:
    """Keep the digest that another pipeline deployed a shared child with.

    Who deploys without that artifact on the machine knows no digest, and takes none from the others.

    Args:
        document: The object as it is to be.
        live: The object as it is; None if there is none.
        name: Name of the model that is deployed.
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
    """Refuse to change under others what they were deployed with.

    Args:
        live: The object as it is.
        new: As it would be.
        sharers: Names of the other models that it is deployed with.

    Raises:
        DeploymentFailed: If others have it, and would have another.
    """
    kind, own = live["kind"], live["metadata"]["name"]
    changed = [*_changed(live.get("spec") or {}, new.get("spec") or {}, "spec")]
    if kind == SERVER.kind:  # its pods have them too, and would be replaced
        for part in ("labels", "annotations"):
            old, now = (item["metadata"].get(part) or {} for item in (live, new))
            changed += _changed(old, now, f"metadata.{part}")
    fields = sorted(field for field in changed if not field.startswith(_FREE.get(kind, ())))
    others = sorted(sharers)
    if fields and others:
        told = ", ".join(fields[:_MANY]) + (", ..." if len(fields) > _MANY else "")
        remedy = (
            f"name another with the option {_OPTION[kind]}"
            if kind in _OPTION
            else "deploy it by itself to change it for all"
        )
        raise DeploymentFailed(
            f"{kind} {own} was deployed with {', '.join(others)} as well, for which {told} would "
            f"change; give it the same options as there, or {remedy}"
        )


def _changed(old: Any, new: Any, path: str) -> Iterator[str]:
    """Paths of what differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {*old, *new}:
            yield from _changed(old.get(key), new.get(key), f"{path}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, pair in enumerate(zip(old, new, strict=True)):
            yield from _changed(*pair, f"{path}[{index}]")
    elif old != new:
        yield path
