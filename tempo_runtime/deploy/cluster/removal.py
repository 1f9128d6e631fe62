"""Taking a deployment off a cluster, and leaving what others still need."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tempo_runtime.deploy.cluster.api import Api, resource_of
from tempo_runtime.deploy.cluster.connection import Connection, Deadline
from tempo_runtime.deploy.cluster.following import until_gone
from tempo_runtime.deploy.cluster.platforms import Platform, is_ours
from tempo_runtime.deploy.cluster.refusals import Asked, Refused, foreign
from tempo_runtime.deploy.cluster.sharing import part_of, parts

Key = tuple[str, str]
"""Kind and name of an object."""


def key_of(item: dict[str, Any]) -> Key:
    """Kind and name of an object."""
    return item["kind"], item["metadata"]["name"]


def members(api: Api, platform: Platform, namespace: str, name: str) -> list[dict[str, Any]]:
    """The objects that were deployed with a model, and its own first.

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
        raise foreign(Asked("get", platform.model, namespace, name), main)
    found = {} if main is None else {key_of(main): main}
    for resource in (platform.model, *platform.others):
        try:
            items, _ = api.list(resource, namespace, {"labelSelector": part_of(name)})
        except Refused as refused:
            # Without the right to it, or without its kind, we deployed none.
            if resource is platform.model or refused.code not in (403, 404):
                raise
            continue
        found |= {key_of(item): item for item in items if is_ours(item)}
    return list(found.values())


def remove(
    connection: Connection,
    deadline: Deadline,
    platform: Platform,
    namespace: str,
    name: str,
    keep: Collection[Key] = (),
) -> list[str]:
    """Deletes what was deployed with a model, and waits until it is gone.

    What was deployed with another model as well stays, as that one's.

    Args:
        connection: Where the cluster is.
        deadline: Until when.
        platform: What deployed it.
        namespace: Its namespace.
        name: Name of the model.
        keep: What is left as it is.

    Returns:
        What was deleted, as kind and name.

    Raises:
        DeploymentFailed: If something may not be deleted, or is still there at the deadline.
    """
    api = Api(connection, deadline)
    deleted: dict[str, Asked] = {}
    for item in members(api, platform, namespace, name):
        if key_of(item) in keep:
            continue
        own = item["metadata"]["name"]
        if parts(item) - {name}:
            asked = Asked("patch", resource_of(item), namespace, own)
            api.relabel(asked, {part_of(name): None})
        else:
            asked = Asked("delete", resource_of(item), namespace, own)
            uid = item["metadata"]["uid"]
            api.delete(asked, uid)
            deleted[uid] = asked
    if deleted:
        until_gone(connection, deadline, namespace, deleted)
    return [str(asked) for asked in deleted.values()]
