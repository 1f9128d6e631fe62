"""Deploy on this machine, as processes or containers."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any, overload

from typing_extensions import ParamSpec, TypeVar

from tempo_runtime._util.progress import shown
from tempo_runtime.artifact import freshness, trust
from tempo_runtime.artifact.declaration import IMPLEMENTATION
from tempo_runtime.artifact.freshness import Stale
from tempo_runtime.authoring.decorators import Pipeline
from tempo_runtime.authoring.details import ModelDetails, ModelFramework
from tempo_runtime.deploy.client import RemoteModel
from tempo_runtime.deploy.deployment import LocalDeployment
from tempo_runtime.deploy.kubernetes.manifests.options import SeldonCoreOptions
from tempo_runtime.deploy.local import processes, records
from tempo_runtime.deploy.options import DockerOptions, LocalOptions
from tempo_runtime.errors import SettingsError
from tempo_runtime.execution import frameworks
from tempo_runtime.protocol import codec
from tempo_runtime.protocol.signature import Signature
from tempo_runtime.servers import model_set, repository

P = ParamSpec("P", default=...)
R = TypeVar("R", default=Any)
AnyLocalOptions = LocalOptions | DockerOptions | SeldonCoreOptions

_owned: dict[tuple[str, str], LocalDeployment] = {}
"""Deployments that end with this process, by target and name."""
_lock = threading.Lock()


@overload
def deploy_local(
    model: Pipeline[P, Iterator[Any] | AsyncIterator[Any]],
    options: AnyLocalOptions | None = None,
    *,
    stale: Stale = ...,
) -> RemoteModel[Any, P]: ...


@overload
def deploy_local(
    model: Pipeline[P, Awaitable[R]],
    options: AnyLocalOptions | None = None,
    *,
    stale: Stale = ...,
) -> RemoteModel[R, P]: ...


@overload
def deploy_local(
    model: Pipeline[P, R],
    options: AnyLocalOptions | None = None,
    *,
    stale: Stale = ...,
) -> RemoteModel[R, P]: ...


@overload  # repeats the one before: pyright infers Any where two differ and an argument contains Any
def deploy_local(
    model: Pipeline[P, R] | Any, options: AnyLocalOptions | None = None, *, stale: Stale = ...
) -> RemoteModel[R, P]: ...


def deploy_local(
    model: Any,
    options: AnyLocalOptions | None = None,
    *,
    stale: Stale = "save",
) -> RemoteModel:
    """Serve a pipeline and the models it calls on this machine, each with its own server.

    A child without an address in the settings is also deployed, and its callers get its address.
    Deploying again under the same name replaces what has changed, without a failed request, and leaves
    the rest running. Unless it is detached, the deployment ends with this process, for any reason.

    Args:
        model: A pipeline (its class, an instance, or its function) that was saved, a `Model`, or the
            folder of an artifact.
        options: `LocalOptions` for processes, which is the default; `DockerOptions` for containers;
            `SeldonCoreOptions` for containers as Seldon Core v1 would run them.
        stale: How to handle pipelines that have changed since their artifact was saved: `save` them
            again, or `refuse`. A folder is deployed as it is.

    Returns:
        The deployed model, which can be called.

    Raises:
        ArtifactError: If a model's artifact does not exist, cannot be served here, or is out of date and
            cannot or must not be saved again.
        AuthoringError: If `model` is not a model.
        DeploymentFailed: If a model does not become ready; the message says why. Then nothing new is
            left, and the previous deployment of that name still runs.
        SettingsError: If settings are invalid.

    Example:
        >>> from tempo_runtime import deploy_local, model, save
        >>> @model("double", local_folder="artifacts/double")
        ... def double(value: int) -> int:
        ...     return 2 * value
        >>> folder = save(double)
        >>> with deploy_local(double) as remote:
        ...     remote.predict(21)
        42
    """
    details = _details(model)
    chosen = _here(options)
    name = chosen.name or details.name
    # A server process inherits the environment; a container does not.
    inherited = isinstance(chosen, LocalOptions)
    environ = {**(os.environ if inherited else {}), **chosen.env}
    freshness.ensure(model, stale, environ)
    models = model_set.gather_model(details, environ, here=inherited, demands=_demanded(model))
    # Another process may deploy the same name, detached.
    with _lock, records.exclusive(name) if chosen.detached else contextlib.nullcontext():
        target = _target(chosen)
        deployment = _running(target, name, chosen.detached) or target.create(name, chosen)
        before = {model.name for model in deployment.models()}
        try:
            with shown(f"Deploying {name}", total=len(models)) as advance:
                started = deployment.replace(models, chosen, lambda _: advance(1))
                advance(len(models) - len(started))
        except BaseException:
            if not deployment.up:
                deployment.undeploy()
            raise
        if not chosen.detached:
            _owned[target.KIND, name] = deployment
    changes = {
        model_name: "unchanged"
        if model_name not in started
        else "replaced"
        if model_name in before
        else "started"
        for model_name in models
    }
    return RemoteModel(details, deployment, changes)


def _details(model: Any) -> ModelDetails:
    if isinstance(model, (str, os.PathLike)):
        return _described(os.fspath(model))
    return model_set.details_of(model)


def _demanded(model: Any) -> trust.TrustPolicy | None:
    """Return the trust policy that a pipeline met when it was loaded."""
    get_tempo = getattr(model, "get_tempo", None)
    demands: trust.TrustPolicy | None = get_tempo().demands if get_tempo is not None else None
    return demands


def _described(folder: str) -> ModelDetails:
    """Return a model's details from the model-settings.json in its folder."""
    [*others, path] = repository.settings_files(folder)
    if others:
        raise SettingsError(f"{folder} has several models; name the folder of one")
    settings = repository.read(path)
    implementation = str(settings.get("implementation"))
    platform = frameworks.framework_of(implementation)
    is_pipeline = implementation == IMPLEMENTATION
    inputs = settings.get("inputs")
    home = os.path.dirname(path)
    return ModelDetails(
        name=str(settings.get("name") or os.path.basename(home)),
        platform=ModelFramework.TempoPipeline if is_pipeline else platform,
        local_folder=home,
        signature=Signature(tuple(map(codec.spec_described, inputs))) if inputs else None,
    )


def _here(
    options: AnyLocalOptions | None,
) -> LocalOptions | DockerOptions:
    if options is None:
        return LocalOptions()
    if isinstance(options, SeldonCoreOptions):
        return options.local_options
    if isinstance(options, (LocalOptions, DockerOptions)):
        return options
    raise SettingsError(
        f"expected LocalOptions, DockerOptions or SeldonCoreOptions, not {options!r:.80}"
    )


def _target(options: LocalOptions | DockerOptions) -> Any:
    if isinstance(options, LocalOptions):
        return processes
    from tempo_runtime.deploy.local import containers

    return containers


def _running(target: Any, name: str, detached: bool) -> LocalDeployment | None:
    """Return the deployment of a name, of this process or if `detached` of any process."""
    if not detached:
        deployment = _owned.get((target.KIND, name))
        return deployment if deployment is not None and deployment.up else None
    from tempo_runtime.deploy.local import find

    # The other target is not searched, because its engine may not answer.
    return next(
        (known for known in find.find(name, target.list_deployments()) if not known.owner), None
    )


@atexit.register
def _undeploy_all() -> None:
    for deployment in _owned.values():
        deployment.undeploy()


def _disown() -> None:
    """Forget the deployments in a fork of this process, to which they do not belong."""
    global _lock
    _owned.clear()
    _lock = threading.Lock()  # a thread that does not exist in the fork may hold it


os.register_at_fork(after_in_child=_disown)
