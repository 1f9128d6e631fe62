"""Delete a deployment from a cluster, except what others still need."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from tempo_runtime.deploy.kubernetes.api_errors import ApiCall, ApiError
from tempo_runtime.deploy.kubernetes.connection import ApiConnection, Deadline
from tempo_runtime.deploy.kubernetes.members import Key, key_of, members, sharers
from tempo_runtime.deploy.kubernetes.ownership import part_of, parts
from tempo_runtime.deploy.kubernetes.platforms import Platform
from tempo_runtime.deploy.kubernetes.readiness import wait_until_gone
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
    """Delete the objects deployed with a model, and wait until they are gone.

    An object that was also deployed with another model stays with that model. Models are deleted before
    their servers: the agent of a Seldon Core 2 Server that still has Models keeps its pods for two
    minutes, and the finalizers of the Models wait for the agent.

    Args:
        connection: The connection to the cluster.
        deadline: The deadline.
        platform: The platform that deployed it.
        namespace: Namespace of the objects.
        name: Name of the model.
        keep: Objects that must stay.

    Returns:
        Kind and name of each deleted object.

    Raises:
        DeploymentFailed: If an object may not be deleted, or still exists at the deadline.
    """
    api = Api(connection, deadline)
    objects = [item for item in members(api, platform, namespace, name) if key_of(item) not in keep]
    model_objects = [item for item in objects if item["kind"] == platform.model.kind]
    other_objects = [item for item in objects if item["kind"] != platform.model.kind]
    deleted = []
    for items, rest in ((model_objects, other_objects), (other_objects, [])):
        deleting: dict[str, ApiCall] = {}
        for item in items:
            call = ApiCall("delete", resource_of(item), namespace, item["metadata"]["name"])
            if _release(api, call, item, name):
                deleting[item["metadata"]["uid"]] = call
        deleted += [str(call) for call in deleting.values()]
        if deleting:
            _wait(connection, deadline, namespace, deleting, rest)
    return deleted


def _wait(
    connection: ApiConnection,
    deadline: Deadline,
    namespace: str,
    deleting: Mapping[str, ApiCall],
    remaining: Collection[dict[str, Any]],
) -> None:
    """Wait until objects are gone; the error names the remaining objects, which must be deleted later."""
    try:
        wait_until_gone(connection, deadline, namespace, deleting)
    except DeploymentFailed as error:
        if not remaining:
            raise
        later = ", ".join(" ".join(key_of(item)) for item in remaining)
        raise DeploymentFailed(
            f"{error}; then undeploy again: {later} can only be deleted after that"
        ) from error


def _release(api: Api, call: ApiCall, item: dict[str, Any], name: str) -> bool:
    """Release an object from a model, delete it if no model has it then, and return whether it did.

    Others may take or release it at the same time: it is only deleted in the state in which it was read,
    otherwise it is read again.
    """
    uid = item["metadata"]["uid"]
    current: dict[str, Any] | None = item
    while current is not None and current["metadata"]["uid"] == uid:
        if current["kind"] == SERVER.kind:
            if sharers(api, current) - {name}:
                return False
        elif parts(current) - {name}:
            current = api.relabel(replace(call, verb="patch"), {part_of(name): None})
            if current is None or parts(current):
                return False
        try:
            api.delete(call, current)
            return True
        except ApiError as refused:
            if refused.code != _CHANGED:
                raise
            api.pause(refused, _DELAY)
        current = api.get(call.resource, call.namespace, call.name)
    return True
