"""Taking a deployment off a cluster, and leaving what others still need."""

from __future__ import annotations

from collections.abc import Collection

from tempo_runtime.deploy.cluster.api import Api, resource_of
from tempo_runtime.deploy.cluster.connection import Connection, Deadline
from tempo_runtime.deploy.cluster.following import until_gone
from tempo_runtime.deploy.cluster.members import Key, key_of, members
from tempo_runtime.deploy.cluster.platforms import Platform
from tempo_runtime.deploy.cluster.refusals import Asked
from tempo_runtime.deploy.cluster.sharing import part_of, parts


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
