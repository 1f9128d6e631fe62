"""What was deployed with a model, and how it gets on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from tempo_runtime.deploy.kubernetes.api_errors import ApiCall, ApiError, Resource, not_managed
from tempo_runtime.deploy.kubernetes.core2_servers import wait_of
from tempo_runtime.deploy.kubernetes.failure_logs import Logs
from tempo_runtime.deploy.kubernetes.ownership import part_of, parts
from tempo_runtime.deploy.kubernetes.platforms import (
    OURS,
    WARNINGS,
    Platform,
    is_ours,
    needs,
    server_of,
)
from tempo_runtime.deploy.kubernetes.pods import Log
from tempo_runtime.deploy.kubernetes.session import EVENTS, MODEL, PODS, SERVER, Api
from tempo_runtime.deploy.kubernetes.status import Progress, progress, without_pods

Key = tuple[str, str]
"""Kind and name of an object."""


def key_of(item: dict[str, Any]) -> Key:
    """Kind and name of an object."""
    return item["kind"], item["metadata"]["name"]


def members(api: Api, platform: Platform, namespace: str, name: str) -> list[dict[str, Any]]:
    """Return the objects that were deployed with a model, and its own first.

    Args:
        api: The cluster's API.
        platform: What deploys them.
        namespace: Their namespace.
        name: Name of the model.

    Raises:
        DeploymentFailed: If they may not be listed, or the name is another's.
    """
    main = api.get(platform.model, namespace, name)
    if main is not None and not is_ours(main):
        raise not_managed(ApiCall("get", platform.model, namespace, name), main)
    found = {} if main is None else {key_of(main): main}
    selector = {"labelSelector": part_of(name)}
    items, _ = api.list(platform.model, namespace, selector)
    for resource in platform.others:
        if resource is SERVER:
            items += _servers(api, namespace, [*found.values(), *items])
        else:
            items += listed(api, resource, namespace, selector)
    found |= {key_of(item): item for item in items if is_ours(item)}
    return list(found.values())


def sharers(api: Api, item: Mapping[str, Any]) -> set[str]:
    """Return the names of the models that an object is deployed with.

    A Server of Seldon Core 2 is deployed with those whose Models need it; a Model that nobody deployed
    with another is its own.

    Raises:
        DeploymentFailed: If the Models may not be listed.
    """
    if item["kind"] != SERVER.kind:
        return parts(item)
    metadata = item["metadata"]
    found = parts(item) & {metadata["name"]}  # the others are labels of earlier versions
    for model in api.list(MODEL, metadata["namespace"], {})[0]:
        if needs(model, metadata["name"]):
            found |= parts(model) or {model["metadata"]["name"]}
    return found


def models(api: Api, platform: Platform, namespace: str, name: str) -> dict[str, dict[str, Any]]:
    """Return the models that were deployed with a model, by name, and its own first.

    The arguments and errors are those of `members`.
    """
    items = members(api, platform, namespace, name)
    return {item["metadata"]["name"]: item for item in items if item["kind"] == platform.model.kind}


def progress_of(
    api: Api, platform: Platform, namespace: str, names: Iterable[str]
) -> dict[str, Progress]:
    """Return how models get on at this moment.

    Args:
        api: The cluster's API.
        platform: What deploys them.
        namespace: Their namespace.
        names: Their names.

    Raises:
        DeploymentFailed: If they may not be listed.
    """
    items, _ = api.list(platform.model, namespace, OURS)
    by_name = {item["metadata"]["name"]: item for item in items}
    pods = _seen(api, PODS, namespace, {"labelSelector": platform.pods})
    events = listed(api, EVENTS, namespace, WARNINGS)
    servers = listed(api, SERVER, namespace, OURS) if platform.shared else []
    by_server = {item["metadata"]["name"]: item for item in servers}
    logs = Logs(api.connection, namespace)

    def progress_by(name: str, read: Mapping[Log, str]) -> Progress:
        item = by_name.get(name)
        own = [pod for pod in pods or () if item is not None and platform.of(pod, item)]
        server = None if item is None else wait_of(by_server.get(server_of(item)), own)
        found = progress(item, own, events, read, others=by_name, server=server)
        return without_pods(found, namespace) if pods is None else found

    return {name: logs.explain(partial(progress_by, name)) for name in names}


def _servers(api: Api, namespace: str, models: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the Servers of ours that some Models need, and those that no Model needs any more."""
    return [
        server
        for server in listed(api, SERVER, namespace, OURS)
        if any(needs(model, server["metadata"]["name"]) for model in models)
        or not sharers(api, server)
    ]


def listed(
    api: Api, resource: Resource, namespace: str, selector: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Objects that tell more; none without the right to see them, or without their kind."""
    return _seen(api, resource, namespace, selector) or []


def _seen(
    api: Api, resource: Resource, namespace: str, selector: Mapping[str, str]
) -> list[dict[str, Any]] | None:
    """Return the same; None without the right to see them, or without their kind."""
    try:
        return api.list(resource, namespace, selector)[0]
    except ApiError as refused:
        if refused.code not in (403, 404):
            raise
        return None
