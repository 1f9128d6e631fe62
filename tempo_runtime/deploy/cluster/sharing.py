"""Objects that several deployments have in common: whose they are, and what one may change of them.

Labels say it, one for each model that an object is deployed with. They are set by themselves and not
with the rest of an object, where what one deployment does not state would be taken from the others.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tempo_runtime.deploy.cluster.api import RUNTIME, SERVER
from tempo_runtime.deploy.manifests import pinning
from tempo_runtime.deploy.manifests.pods import MANAGER
from tempo_runtime.errors import DeploymentFailed

_PART = "deployment.tempo-runtime"
_OPTION = {SERVER.kind: "server", RUNTIME.kind: "runtime"}
_MANY = 5


def part_of(name: str) -> str:
    """The label of what is deployed with a model; a child of two pipelines has one for each."""
    return f"{_PART}/{name}"


def parts(item: Mapping[str, Any]) -> set[str]:
    """Names of the models that an object is deployed with."""
    labels: Iterable[str] = item["metadata"].get("labels") or {}
    return {label.partition("/")[2] for label in labels if label.startswith(f"{_PART}/")}


def claimed(item: Mapping[str, Any], name: str) -> dict[str, str]:
    """The labels that an object still lacks to be deployed with a model.

    What a manifest was applied from is nobody's part, and is not to go with a pipeline that was
    deployed over it: it becomes its own part.

    Args:
        item: The object.
        name: Name of the model.
    """
    there = parts(item)
    managers = [each.get("manager") for each in item["metadata"].get("managedFields") or []]
    by_us = there or MANAGER in managers  # an interrupt may have come before the labels
    names = {name} if by_us else {name, item["metadata"]["name"]}
    return {part_of(each): "" for each in sorted(names - there)}


def at_least(document: dict[str, Any], live: Mapping[str, Any] | None) -> dict[str, Any]:
    """A Server with the replicas that others need; another object as it is."""
    if document["kind"] != SERVER.kind or live is None:
        return document
    most = max(document["spec"]["replicas"], live["spec"].get("replicas") or 0)
    return {**document, "spec": {**document["spec"], "replicas": most}}


def keep_pin(document: dict[str, Any], live: Mapping[str, Any] | None, name: str) -> dict[str, Any]:
    """Keep the digest that another pipeline deployed a shared child with.

    Who deploys without that artefact on the machine knows no digest, and takes none from the others.

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


def refuse_change(live: Mapping[str, Any], new: Mapping[str, Any], name: str) -> None:
    """Refuses to change under others what they were deployed with.

    Args:
        live: The object as it is.
        new: As it would be.
        name: Name of the model that is deployed.

    Raises:
        DeploymentFailed: If others have it, and would have another.
    """
    kind, own = live["kind"], live["metadata"]["name"]
    others = sorted(parts(live) - {name})
    if not others or own == name:
        return
    fields = sorted(_changed(live.get("spec") or {}, new.get("spec") or {}, "spec"))
    if kind == SERVER.kind and fields == ["spec.replicas"]:
        return  # there are never less than there were
    if fields:
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
