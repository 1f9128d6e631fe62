"""Find the objects that were deployed with a model, and their progress."""

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
"""Return the kind and the name of an object."""


def key_of(item: dict[str, Any]) -> Key:
    """Return the kind and the name of an object."""
    return item["kind"], item["metadata"]["name"]


def members(api: Api, platform: Platform, namespace: str, name: str) -> list[dict[str, Any]]:
    """Return the objects that were deployed with a model, its own first.

    Args:
        api: The cluster's API.
        platform: The platform that deploys them.
        namespace: Their namespace.
        name: Name of the model.

    Raises:
        DeploymentFailed: If they may not be listed, or someone else has an object of this name.
    """
    main = api.get(platform.model, namespace, name)
    if main is not None and not is_ours(main):
        raise not_managed(ApiCall("get", platform.model, namespace, name), main)
    by_key = {} if main is None else {key_of(main): main}
    selector = {"labelSelector": part_of(name)}
    items, _ = api.list(platform.model, namespace, selector)
    for resource in platform.others:
        if resource is SERVER:
            items += _servers(api, namespace, [*by_key.values(), *items])
        else:
            items += listed(api, resource, namespace, selector)
    by_key |= {key_of(item): item for item in items if is_ours(item)}
    return list(by_key.values())


def sharers(api: Api, item: Mapping[str, Any]) -> set[str]:
    """Return the names of the models that an object is deployed with.

    A Server of Seldon Core 2 is deployed with the models whose Models need it. A Model that was not
    deployed with another one counts as deployed with itself.

    Raises:
        DeploymentFailed: If the Models may not be listed.
    """
    if item["kind"] != SERVER.kind:
        return parts(item)
    metadata = item["metadata"]
    names = parts(item) & {metadata["name"]}  # earlier versions set other labels, too
    for model in api.list(MODEL, metadata["namespace"], {})[0]:
        if needs(model, metadata["name"]):
            names |= parts(model) or {model["metadata"]["name"]}
    return names


def models(api: Api, platform: Platform, namespace: str, name: str) -> dict[str, dict[str, Any]]:
    """Return the models that were deployed with a model, by name, its own first.

    The arguments and errors are those of `members`.
    """
    items = members(api, platform, namespace, name)
    return {item["metadata"]["name"]: item for item in items if item["kind"] == platform.model.kind}


def progress_of(
    api: Api, platform: Platform, namespace: str, names: Iterable[str]
) -> dict[str, Progress]:
    """Return the current progress of models.

    Args:
        api: The cluster's API.
        platform: The platform that deploys them.
        namespace: Their namespace.
        names: Their names.

    Raises:
        DeploymentFailed: If they may not be listed.
    """
    items, _ = api.list(platform.model, namespace, OURS)
    by_name = {item["metadata"]["name"]: item for item in items}
    pods = _listed_or_none(api, PODS, namespace, {"labelSelector": platform.pods})
    events = listed(api, EVENTS, namespace, WARNINGS)
    servers = listed(api, SERVER, namespace, OURS) if platform.shared else []
    by_server = {item["metadata"]["name"]: item for item in servers}
    logs = Logs(api.connection, namespace)

    def progress_by(name: str, read: Mapping[Log, str]) -> Progress:
        item = by_name.get(name)
        model_pods = [pod for pod in pods or () if item is not None and platform.of(pod, item)]
        server = None if item is None else wait_of(by_server.get(server_of(item)), model_pods)
        result = progress(item, model_pods, events, read, others=by_name, server=server)
        return without_pods(result, namespace) if pods is None else result

    return {name: logs.explain(partial(progress_by, name)) for name in names}


def _servers(api: Api, namespace: str, models: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return our Servers that these Models need, and those that no Model needs any longer."""
    return [
        server
        for server in listed(api, SERVER, namespace, OURS)
        if any(needs(model, server["metadata"]["name"]) for model in models)
        or not sharers(api, server)
    ]


def listed(
    api: Api, resource: Resource, namespace: str, selector: Mapping[str, str]
) -> list[dict[str, Any]]:
    """List objects that are helpful but not required; empty if they may not be listed."""
    return _listed_or_none(api, resource, namespace, selector) or []


def _listed_or_none(
    api: Api, resource: Resource, namespace: str, selector: Mapping[str, str]
) -> list[dict[str, Any]] | None:
    """List objects; None if the caller lacks the right or the cluster lacks their kind."""
    try:
        return api.list(resource, namespace, selector)[0]
    except ApiError as refused:
        if refused.code not in (403, 404):
            raise
        return None
