"""Taking a deployment off a cluster, and leaving what others still need."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from tempo_runtime.deploy.kubernetes.api_errors import ApiCall, ApiError
from tempo_runtime.deploy.kubernetes.connection import ApiConnection, Deadline
from tempo_runtime.deploy.kubernetes.members import Key, key_of, members, sharers
from tempo_runtime.deploy.kubernetes.ownership import part_of, parts
from tempo_runtime.deploy.kubernetes.platforms import Platform
from tempo_runtime.deploy.kubernetes.readiness import until_gone
from tempo_runtime.deploy.kubernetes.session import SERVER, Api, resource_of
from tempo_runtime.errors import DeploymentFailed

_CHANGED = 409
_DELAY = 0.1


def remove(
    connection: ApiConnection,
    deadline: Deadline,
    platform: Platform,
    namespace: str,
    name: str,
    keep: Collection[Key] = (),
) -> list[str]:
    """Delete what was deployed with a model, and wait until it is gone.

    What was deployed with another model as well stays, as that one's. Models are deleted before what
    they run on: the agent of a Seldon Core 2 Server that still has some holds its pods for two minutes,
    and the finalizers of the Models wait for the agent.

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
    found = [item for item in members(api, platform, namespace, name) if key_of(item) not in keep]
    first = [item for item in found if item["kind"] == platform.model.kind]
    then = [item for item in found if item["kind"] != platform.model.kind]
    deleted = []
    for items, rest in ((first, then), (then, [])):
        going: dict[str, ApiCall] = {}
        for item in items:
            asked = ApiCall("delete", resource_of(item), namespace, item["metadata"]["name"])
            if _release(api, asked, item, name):
                going[item["metadata"]["uid"]] = asked
        deleted += [str(asked) for asked in going.values()]
        if going:
            _wait(connection, deadline, namespace, going, rest)
    return deleted


def _wait(
    connection: ApiConnection,
    deadline: Deadline,
    namespace: str,
    going: Mapping[str, ApiCall],
    rest: Collection[dict[str, Any]],
) -> None:
    """Wait until objects are gone; the error names the rest, which is not deleted before."""
    try:
        until_gone(connection, deadline, namespace, going)
    except DeploymentFailed as error:
        if not rest:
            raise
        later = ", ".join(" ".join(key_of(item)) for item in rest)
        raise DeploymentFailed(
            f"{error}; then undeploy again: {later} can only be deleted after that"
        ) from error


def _release(api: Api, asked: ApiCall, item: dict[str, Any], name: str) -> bool:
    """Take an object from a model; delete it if it is nobody's then, and say whether it did.

    Others may take it, or let go of it, at the same time: it is deleted as it was looked at, or looked
    at again.
    """
    uid = item["metadata"]["uid"]
    current: dict[str, Any] | None = item
    while current is not None and current["metadata"]["uid"] == uid:
        if current["kind"] == SERVER.kind:
            if sharers(api, current) - {name}:
                return False
        elif parts(current) - {name}:
            current = api.relabel(replace(asked, verb="patch"), {part_of(name): None})
            if current is None or parts(current):
                return False
        try:
            api.delete(asked, current)
            return True
        except ApiError as refused:
            if refused.code != _CHANGED:
                raise
            api.pause(refused, _DELAY)
        current = api.get(asked.resource, asked.namespace, asked.name)
    return True
