"""Deploying on Kubernetes from Python."""

from __future__ import annotations

import difflib
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager
from typing import Any, overload

from typing_extensions import ParamSpec, TypeVar

from tempo_runtime._util.progress import telling
from tempo_runtime.artifact import freshness
from tempo_runtime.authoring.decorators import Pipeline
from tempo_runtime.authoring.details import ModelDetails
from tempo_runtime.deploy.client import RemoteModel
from tempo_runtime.deploy.kubernetes.api_errors import ApiCall, absent, check_name, not_managed
from tempo_runtime.deploy.kubernetes.connection import QUERY_SECONDS, Deadline, connect, connected
from tempo_runtime.deploy.kubernetes.deployment import ClusterDeployment
from tempo_runtime.deploy.kubernetes.manifests import RemotePlatform, documents, to_yaml
from tempo_runtime.deploy.kubernetes.manifests.options import SeldonCoreOptions
from tempo_runtime.deploy.kubernetes.manifests.pinning import pinned
from tempo_runtime.deploy.kubernetes.members import Key, key_of, listed, models, progress_of
from tempo_runtime.deploy.kubernetes.platforms import (
    OURS,
    check_ingress,
    common,
    details_of,
    is_ours,
    platform_of,
)
from tempo_runtime.deploy.kubernetes.pod_logs import LINES, PodLogs
from tempo_runtime.deploy.kubernetes.readiness import Following
from tempo_runtime.deploy.kubernetes.rollout import Rollout
from tempo_runtime.deploy.kubernetes.session import Api
from tempo_runtime.deploy.kubernetes.status import Progress
from tempo_runtime.deploy.kubernetes.undeploy import remove
from tempo_runtime.errors import DeploymentFailed

P = ParamSpec("P", default=...)
R = TypeVar("R", default=Any)
_TIMEOUT = 600.0
_THEIRS = (
    "creationTimestamp",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
)


@overload
def deploy_remote(
    model: Pipeline[P, Iterator[Any] | AsyncIterator[Any]],
    options: RemotePlatform | None = None,
    *,
    timeout: float = ...,
) -> RemoteModel[Any, P]: ...


@overload
def deploy_remote(
    model: Pipeline[P, Awaitable[R]],
    options: RemotePlatform | None = None,
    *,
    timeout: float = ...,
) -> RemoteModel[R, P]: ...


@overload
def deploy_remote(
    model: Pipeline[P, R],
    options: RemotePlatform | None = None,
    *,
    timeout: float = ...,
) -> RemoteModel[R, P]: ...


@overload
def deploy_remote(
    model: Pipeline[P, R] | Any, options: RemotePlatform | None = None, *, timeout: float = ...
) -> RemoteModel[R, P]: ...


def deploy_remote(
    model: Any, options: RemotePlatform | None = None, *, timeout: float = _TIMEOUT
) -> RemoteModel:
    """Deploy a pipeline and the models it calls on the cluster of the current context.

    Deployed again, what has changed is replaced, and what it does not call any more is removed. What
    fails or is interrupted leaves what was applied, as kubectl does, and its message names it.

    What is deployed is what was uploaded. So a pipeline that has changed since its artifact was saved is
    refused, before anything is applied, until it is uploaded again.

    Args:
        model: A pipeline (its class, an instance, or its function), a `Model`, or the folder of an
            artifact. Each model that is deployed was uploaded to its `uri`.
        options: The platform, and how; by default Seldon Core v1.
        timeout: Seconds until all of it is ready.

    Returns:
        The deployed model, to be called. It stays when this process ends.

    Raises:
        ArtifactError: If a folder holds no artifact, or a pipeline has changed since it was saved.
        AuthoringError: If `model` is not a model, or one has no `uri`.
        DeploymentFailed: If it cannot be deployed, or is not ready in time, with the reason.
        KeyboardInterrupt: If it is interrupted; what was applied is named.
        SettingsError: If settings are wrong.
    """
    options = options or SeldonCoreOptions()
    freshness.check_uploaded(model)
    objects = documents(model, options)
    check_ingress(options)
    deadline = Deadline(timeout)
    connection = connect()
    try:
        rollout = Rollout(connection, deadline, options, objects)
        try:
            with telling(f"Deploying {objects[0]['metadata']['name']}") as tell:
                rollout.read_live_state()
                rollout.check()
                deployment = rollout.run(tell)
        except DeploymentFailed as error:
            if not (left := rollout.describe_leftovers()):
                raise
            raise DeploymentFailed(f"{error}; {left}") from error
        except KeyboardInterrupt:
            raise KeyboardInterrupt(rollout.describe_leftovers()) from None
        return RemoteModel(_details(model, objects[0]), deployment)
    except BaseException:
        connection.close()
        raise


def undeploy(
    model: Any, options: RemotePlatform | None = None, *, timeout: float = _TIMEOUT
) -> list[str]:
    """Delete a model and what was deployed with it, and wait until it is gone.

    A child that another pipeline was deployed with stays.

    Args:
        model: The model, or its name.
        options: Those it was deployed with.
        timeout: Seconds until it is gone.

    Returns:
        What was deleted, as kind and name; nothing if nothing was there.

    Raises:
        DeploymentFailed: If it is not ours, may not be deleted, or is still there in the end.
    """
    options = options or SeldonCoreOptions()
    name, deadline = _name(model), Deadline(timeout)
    with connected() as connection, telling(f"Undeploying {name}"):
        space = common(options).namespace
        return remove(connection, deadline, platform_of(options), space, name)


def status(model: Any, options: RemotePlatform | None = None) -> dict[str, Progress]:
    """Return how a model and those that were deployed with it get on, by name, its own first.

    Args:
        model: The model, or its name.
        options: Those it was deployed with.

    Raises:
        DeploymentFailed: If the cluster cannot be asked, or the name is another's.
    """
    options = options or SeldonCoreOptions()
    name, platform, space = _name(model), platform_of(options), common(options).namespace
    with connected() as connection:
        api = Api(connection, Deadline(QUERY_SECONDS))
        return progress_of(api, platform, space, _names(api, name, options))


def wait(model: Any, options: RemotePlatform | None = None, *, timeout: float = _TIMEOUT) -> None:
    """Wait until a model and those that were deployed with it are ready.

    Args:
        model: The model, or its name.
        options: Those it was deployed with.
        timeout: Seconds for it.

    Raises:
        DeploymentFailed: If one fails, goes away or is not ready in time, with the reason.
    """
    options = options or SeldonCoreOptions()
    name, deadline = _name(model), Deadline(timeout)
    platform, space = platform_of(options), common(options).namespace
    with connected() as connection, telling(f"Waiting for {name}") as tell:
        names = _names(Api(connection, deadline), name, options)
        with Following(connection, deadline, platform, space) as following:
            following.until_ready(names, tell)


def logs(
    model: Any,
    options: RemotePlatform | None = None,
    *,
    lines: int | None = LINES,
    previous: bool = False,
) -> dict[str, dict[str, str]]:
    """Read what the pods of a model, and of those that were deployed with it, have printed.

    Args:
        model: The model, or its name.
        options: Those it was deployed with.
        lines: How many of the last lines of each pod; all that are kept if None.
        previous: Whether of the container before, which has ended.

    Returns:
        The text by the name of a model, and then by the name of a pod. A pod of Seldon Core 2 serves
        several models, and has the same text for each.

    Raises:
        DeploymentFailed: If they may not be read, or the model is not there.
    """
    found: dict[str, dict[str, str]] = {}
    with reading_logs(model, options) as reading:
        for pod in reading.read(lines, previous=previous):
            for name in pod.models:
                found.setdefault(name, {})[pod.pod] = pod.text
    return found


@contextmanager
def reading_logs(
    model: Any,
    options: RemotePlatform | None = None,
    *,
    child: str | None = None,
    pod: str | None = None,
) -> Iterator[PodLogs]:
    """Connect to the logs of a model and of those that were deployed with it.

    Args:
        model: The model, or its name.
        options: Those it was deployed with.
        child: One of these models, if only its pods count.
        pod: Name of a pod, or the end of it, if only that one counts.

    Raises:
        DeploymentFailed: If the model is not there.
    """
    options = options or SeldonCoreOptions()
    name, platform, space = _name(model), platform_of(options), common(options).namespace
    with connected() as connection:
        _names(Api(connection, Deadline(QUERY_SECONDS)), name, options)
        yield PodLogs(connection, platform, space, name, model=child, pod=pod)


def list_models(
    options: RemotePlatform | None = None, *, timeout: float = QUERY_SECONDS
) -> list[ModelDetails]:
    """List the models that were deployed by us in the namespace, by name.

    Args:
        options: The platform and the namespace; by default Seldon Core v1, and `default`.
        timeout: Seconds for it.

    Raises:
        DeploymentFailed: If they may not be listed.
    """
    options = options or SeldonCoreOptions()
    with connected() as connection:
        api = Api(connection, Deadline(timeout))
        items, _ = api.list(platform_of(options).model, common(options).namespace, OURS)
    return sorted(map(details_of, items), key=lambda each: each.name)


def get_client(name: str, options: RemotePlatform | None = None) -> RemoteModel:
    """Return a model that is deployed already, to be called.

    Args:
        name: Its name.
        options: Those it was deployed with.

    Raises:
        DeploymentFailed: If it is not there, or not ours.
    """
    options, name = options or SeldonCoreOptions(), _name(name)
    check_ingress(options)
    connection = connect()
    try:
        item = _found(Api(connection, Deadline(QUERY_SECONDS)), name, options)
        return RemoteModel(details_of(item), ClusterDeployment(connection, options, item))
    except BaseException:
        connection.close()
        raise


def diff(model: Any, options: RemotePlatform | None = None, *, timeout: float = 60.0) -> str:
    """Return what `deploy_remote` would change, as a unified diff of YAML; nothing is changed.

    Args:
        model: As `deploy_remote` takes it.
        options: Likewise.
        timeout: Seconds for it.

    Raises:
        ArtifactError: If a folder holds no artifact.
        AuthoringError: If `model` is not a model, or one has no `uri`.
        DeploymentFailed: If the cluster refuses it.
        SettingsError: If settings are wrong.
    """
    options = options or SeldonCoreOptions()
    freshness.check_uploaded(model)
    objects = documents(model, options)
    with connected() as connection:
        rollout = Rollout(connection, Deadline(timeout), options, objects)
        rollout.read_live_state()
        found: list[str] = []
        for item in rollout.check():
            kind, name = key_of(item)
            live = rollout.live[kind, name]
            old = to_yaml([_stated(live)]) if live else ""
            if live and (before := pinned(live)) != (after := pinned(item)):
                found.append(
                    f"# {kind}/{name} is loaded anew: its artifact is {after or 'any'}, and was "
                    f"{before or 'any'}\n"
                )
            found.extend(_compared((kind, name), old, to_yaml([_stated(item)])))
        for item in rollout.superfluous():
            found.extend(_compared(key_of(item), to_yaml([_stated(item)]), ""))
    return "".join(found)


def _compared(key: Key, old: str, new: str) -> Iterator[str]:
    name = "/".join(key)
    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    return difflib.unified_diff(before, after, f"live/{name}", f"new/{name}")


def _names(api: Api, name: str, options: RemotePlatform) -> list[str]:
    platform, space = platform_of(options), common(options).namespace
    found = models(api, platform, space, name)
    if name not in found:
        raise _absent(api, ApiCall("get", platform.model, space, name))
    return list(found)


def _found(api: Api, name: str, options: RemotePlatform) -> dict[str, Any]:
    asked = ApiCall("get", platform_of(options).model, common(options).namespace, name)
    item = api.get(asked.resource, asked.namespace, name)
    if item is None:
        raise _absent(api, asked)
    if not is_ours(item):
        raise not_managed(asked, item)
    return item


def _absent(api: Api, asked: ApiCall) -> DeploymentFailed:
    items = listed(api, asked.resource, asked.namespace, OURS)
    return absent(asked, [item["metadata"]["name"] for item in items])


def _name(model: Any) -> str:
    if isinstance(model, str):
        check_name(model)
        return model
    details = model.details if isinstance(model, RemoteModel) else model.get_tempo().details
    return str(details.name)


def _details(model: Any, document: dict[str, Any]) -> ModelDetails:
    """Return a model as its author declares it; of a folder, as its object has it."""
    if hasattr(model, "get_tempo"):
        found: ModelDetails = model.get_tempo().details
        return found
    return details_of(document)


def _stated(item: dict[str, Any]) -> dict[str, Any]:
    """Return an object without what the cluster says of it."""
    metadata = {key: value for key, value in item["metadata"].items() if key not in _THEIRS}
    return {**{key: item[key] for key in item if key != "status"}, "metadata": metadata}
