"""Deploy on Kubernetes from Python."""

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
from tempo_runtime.deploy.deployment import DeploymentGone
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
    details_of,
    is_ours,
    platform_of,
)
from tempo_runtime.deploy.kubernetes.pod_logs import LINES, PodLogs
from tempo_runtime.deploy.kubernetes.readiness import ReadinessMonitor
from tempo_runtime.deploy.kubernetes.rollout import Rollout
from tempo_runtime.deploy.kubernetes.session import Api
from tempo_runtime.deploy.kubernetes.status import Progress
from tempo_runtime.deploy.kubernetes.undeploy import remove
from tempo_runtime.errors import DeploymentFailed

P = ParamSpec("P", default=...)
R = TypeVar("R", default=Any)
_TIMEOUT = 600.0
_SET_BY_CLUSTER = (
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


@overload  # repeats the one before: pyright infers Any where two differ and an argument contains Any
def deploy_remote(
    model: Pipeline[P, R] | Any, options: RemotePlatform | None = None, *, timeout: float = ...
) -> RemoteModel[R, P]: ...


def deploy_remote(
    model: Any, options: RemotePlatform | None = None, *, timeout: float = _TIMEOUT
) -> RemoteModel:
    """Deploy a pipeline and the models it calls on the cluster of the current context.

    Deploying again replaces what has changed, and removes models that are no longer called. If it fails
    or is interrupted, the applied objects stay, as with kubectl, and the message names them.

    The cluster runs the uploaded artifact. So a pipeline that has changed since its artifact was saved
    is refused, before anything is applied, until it is uploaded again.

    Args:
        model: A pipeline (its class, an instance, or its function), a `Model`, or the folder of an
            artifact. Each deployed model must have been uploaded to its `uri`.
        options: The platform and its options; by default Seldon Core v1.
        timeout: Seconds until all models are ready.

    Returns:
        The deployed model, which can be called. It stays when this process ends.

    Raises:
        ArtifactError: If a folder holds no artifact, or a pipeline has changed since it was saved.
        AuthoringError: If `model` is not a model, or a model has no `uri`.
        DeploymentFailed: If it cannot be deployed or is not ready in time; the message says why.
        KeyboardInterrupt: If it is interrupted; the message names the applied objects.
        SettingsError: If settings are invalid.
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
            if not (leftovers := rollout.describe_leftovers()):
                raise
            raise DeploymentFailed(f"{error}; {leftovers}") from error
        except KeyboardInterrupt:
            raise KeyboardInterrupt(rollout.describe_leftovers()) from None
        return RemoteModel(_details(model, objects[0]), deployment)
    except BaseException:
        connection.close()
        raise


def undeploy(
    model: Any, options: RemotePlatform | None = None, *, timeout: float = _TIMEOUT
) -> list[str]:
    """Delete a model and the models deployed with it, and wait until they are gone.

    A model that was deployed with another pipeline as well stays.

    Args:
        model: The model, or its name.
        options: Options that it was deployed with.
        timeout: Seconds until all are gone.

    Returns:
        Kind and name of each deleted object.

    Raises:
        DeploymentFailed: If tempo-runtime did not deploy it, or it cannot be deleted in time.
    """
    options = options or SeldonCoreOptions()
    name, deadline = _name(model), Deadline(timeout)
    with connected() as connection, telling(f"Undeploying {name}"):
        space = options.remote_options.namespace
        return remove(connection, deadline, platform_of(options), space, name)


def status(model: Any, options: RemotePlatform | None = None) -> dict[str, Progress]:
    """Return the progress of a model and of those deployed with it, by name, its own first.

    Args:
        model: The model, or its name.
        options: Options that it was deployed with.

    Raises:
        DeploymentFailed: If the cluster cannot be asked, or someone else has an object of this name.
    """
    options = options or SeldonCoreOptions()
    name, platform, space = _name(model), platform_of(options), options.remote_options.namespace
    with connected() as connection:
        api = Api(connection, Deadline(QUERY_SECONDS))
        return progress_of(api, platform, space, _names(api, name, options))


def wait(model: Any, options: RemotePlatform | None = None, *, timeout: float = _TIMEOUT) -> None:
    """Wait until a model and those deployed with it are ready.

    Args:
        model: The model, or its name.
        options: Options that it was deployed with.
        timeout: Seconds that this may take.

    Raises:
        DeploymentFailed: If a model fails, is deleted or is not ready in time; the message says why.
    """
    options = options or SeldonCoreOptions()
    name, deadline = _name(model), Deadline(timeout)
    platform, space = platform_of(options), options.remote_options.namespace
    with connected() as connection, telling(f"Waiting for {name}") as tell:
        names = _names(Api(connection, deadline), name, options)
        with ReadinessMonitor(connection, deadline, platform, space) as monitor:
            monitor.wait_until_ready(names, tell)


def logs(
    model: Any,
    options: RemotePlatform | None = None,
    *,
    lines: int | None = LINES,
    previous: bool = False,
) -> dict[str, dict[str, str]]:
    """Read the logs of a model's pods and of the pods of models deployed with it.

    Args:
        model: The model, or its name.
        options: Options that it was deployed with.
        lines: Number of last lines of each pod; None for all that are kept.
        previous: Whether to read the previous container, which has ended.

    Returns:
        The text by name of the model, then by name of the pod. A pod of Seldon Core 2 serves several
        models and has the same text for each.

    Raises:
        DeploymentFailed: If they may not be read, or the model does not exist.
    """
    texts: dict[str, dict[str, str]] = {}
    with reading_logs(model, options) as reading:
        for pod in reading.read(lines, previous=previous):
            for name in pod.models:
                texts.setdefault(name, {})[pod.pod] = pod.text
    return texts


@contextmanager
def reading_logs(
    model: Any,
    options: RemotePlatform | None = None,
    *,
    child: str | None = None,
    pod: str | None = None,
) -> Iterator[PodLogs]:
    """Connect to the logs of a model and of those deployed with it.

    Args:
        model: The model, or its name.
        options: Options that it was deployed with.
        child: One of these models, to read only its pods.
        pod: Name of a pod, or the end of its name, to read only this pod.

    Raises:
        DeploymentFailed: If the model does not exist.
    """
    options = options or SeldonCoreOptions()
    name, platform, space = _name(model), platform_of(options), options.remote_options.namespace
    with connected() as connection:
        _names(Api(connection, Deadline(QUERY_SECONDS)), name, options)
        yield PodLogs(connection, platform, space, name, model=child, pod=pod)


def list_models(
    options: RemotePlatform | None = None, *, timeout: float = QUERY_SECONDS
) -> list[ModelDetails]:
    """List the models that tempo-runtime deployed in the namespace, sorted by name.

    Args:
        options: The platform and the namespace; by default Seldon Core v1, and `default`.
        timeout: Seconds that this may take.

    Raises:
        DeploymentFailed: If they may not be listed.
    """
    options = options or SeldonCoreOptions()
    with connected() as connection:
        api = Api(connection, Deadline(timeout))
        items, _ = api.list(platform_of(options).model, options.remote_options.namespace, OURS)
    return sorted(map(details_of, items), key=lambda details: details.name)


def get_client(name: str, options: RemotePlatform | None = None) -> RemoteModel:
    """Return a model that is already deployed, to call it.

    Args:
        name: Its name.
        options: Options that it was deployed with.

    Raises:
        DeploymentFailed: If it does not exist, or tempo-runtime did not deploy it.
    """
    options, name = options or SeldonCoreOptions(), _name(name)
    check_ingress(options)
    connection = connect()
    try:
        item = _managed_object(Api(connection, Deadline(QUERY_SECONDS)), name, options)
        return RemoteModel(details_of(item), ClusterDeployment(connection, options, item))
    except BaseException:
        connection.close()
        raise


def find_deployment(name: str, uid: str, options: RemotePlatform) -> ClusterDeployment:
    """Return a deployment, for a client of it that was pickled.

    Args:
        name: Its name.
        uid: Its id.
        options: Options that it was deployed with.

    Raises:
        DeploymentFailed: If it does not exist, or another has its name now.
    """
    deployment = get_client(name, options).deployment
    assert isinstance(deployment, ClusterDeployment)
    if deployment.id != uid:
        deployment.close()
        raise DeploymentGone(
            f"{name} was undeployed, and another deployment has its name now; get a client of that with "
            f"`get_client({name!r})`"
        )
    return deployment


def diff(model: Any, options: RemotePlatform | None = None, *, timeout: float = 60.0) -> str:
    """Return what `deploy_remote` would change, as a unified diff of YAML, and change nothing.

    Args:
        model: See `deploy_remote`.
        options: See `deploy_remote`.
        timeout: Seconds that this may take.

    Raises:
        ArtifactError: If a folder holds no artifact.
        AuthoringError: If `model` is not a model, or a model has no `uri`.
        DeploymentFailed: If the cluster refuses an object.
        SettingsError: If settings are invalid.
    """
    options = options or SeldonCoreOptions()
    freshness.check_uploaded(model)
    objects = documents(model, options)
    with connected() as connection:
        rollout = Rollout(connection, Deadline(timeout), options, objects)
        rollout.read_live_state()
        parts: list[str] = []
        for item in rollout.check():
            kind, name = key_of(item)
            live = rollout.live[kind, name]
            old = to_yaml([_without_cluster_fields(live)]) if live else ""
            if live and (before := pinned(live)) != (after := pinned(item)):
                parts.append(
                    f"# {kind}/{name} is loaded again: its artifact is {after or 'any'} instead of "
                    f"{before or 'any'}\n"
                )
            parts.extend(_compared((kind, name), old, to_yaml([_without_cluster_fields(item)])))
        for item in rollout.obsolete():
            parts.extend(_compared(key_of(item), to_yaml([_without_cluster_fields(item)]), ""))
    return "".join(parts)


def _compared(key: Key, old: str, new: str) -> Iterator[str]:
    name = "/".join(key)
    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    return difflib.unified_diff(before, after, f"live/{name}", f"new/{name}")


def _names(api: Api, name: str, options: RemotePlatform) -> list[str]:
    platform, space = platform_of(options), options.remote_options.namespace
    by_name = models(api, platform, space, name)
    if name not in by_name:
        raise _not_found(api, ApiCall("get", platform.model, space, name))
    return list(by_name)


def _managed_object(api: Api, name: str, options: RemotePlatform) -> dict[str, Any]:
    call = ApiCall("get", platform_of(options).model, options.remote_options.namespace, name)
    item = api.get(call.resource, call.namespace, name)
    if item is None:
        raise _not_found(api, call)
    if not is_ours(item):
        raise not_managed(call, item)
    return item


def _not_found(api: Api, call: ApiCall) -> DeploymentFailed:
    items = listed(api, call.resource, call.namespace, OURS)
    return absent(call, [item["metadata"]["name"] for item in items])


def _name(model: Any) -> str:
    if isinstance(model, str):
        check_name(model)
        return model
    details = model.details if isinstance(model, RemoteModel) else model.get_tempo().details
    return str(details.name)


def _details(model: Any, document: dict[str, Any]) -> ModelDetails:
    """Return a model's details as its author declares them, or for a folder as its object has them."""
    if hasattr(model, "get_tempo"):
        details: ModelDetails = model.get_tempo().details
        return details
    return details_of(document)


def _without_cluster_fields(item: dict[str, Any]) -> dict[str, Any]:
    """Return an object without the fields that the cluster sets."""
    metadata = {key: value for key, value in item["metadata"].items() if key not in _SET_BY_CLUSTER}
    return {**{key: item[key] for key in item if key != "status"}, "metadata": metadata}
