"""Deploying on this machine, as processes or as containers."""

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

_FRAMEWORKS = {runtime: each for each, runtime in frameworks.IMPLEMENTATIONS.items()}
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


@overload
def deploy_local(
    model: Pipeline[P, R] | Any, options: AnyLocalOptions | None = None, *, stale: Stale = ...
) -> RemoteModel[R, P]: ...


def deploy_local(
    model: Any,
    options: AnyLocalOptions | None = None,
    *,
    stale: Stale = "save",
) -> RemoteModel:
    """Serve a pipeline and the models it calls on this machine, each by a server of its own.

    A child that the settings place nowhere is deployed as well, and its address given to whatever calls
    it. Deployed again under its name, what has not changed goes on, and the rest is replaced, without
    a request that fails. All of it ends with this process, however that ends, unless it is detached.

    Args:
        model: A pipeline (its class, an instance, or its function) that was saved, a `Model`, or the
            folder of an artifact.
        options: `LocalOptions` for processes, which is the default; `DockerOptions` for containers;
            `SeldonCoreOptions` for containers as Seldon Core v1 would run them.
        stale: What to do if a pipeline, or one that it calls, has changed since its artifact was saved:
            `save` it anew, or `refuse`. A folder is deployed as it is.

    Returns:
        The deployed model, to be called.

    Raises:
        ArtifactError: If a model's artifact is not there, cannot be served here, or is stale and cannot
            be saved anew, or is not to be.
        AuthoringError: If `model` is not a model.
        DeploymentFailed: If a model does not get ready, with the reason; then nothing of it is left, and
            what ran before under that name still does.
        SettingsError: If settings are wrong.
    """
    details = _details(model)
    chosen = _here(options)
    name = chosen.name or details.name
    # A process has this one's environment; a container has what it is given.
    inherited = isinstance(chosen, LocalOptions)
    environ = {**(os.environ if inherited else {}), **chosen.env}
    freshness.ensure(model, stale, environ)
    models = model_set.gather_model(details, environ, here=inherited, demands=_demanded(model))
    # Another process may deploy the same name to stay.
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
        each: "unchanged" if each not in started else "replaced" if each in before else "started"
        for each in models
    }
    return RemoteModel(details, deployment, changes)


def _details(model: Any) -> ModelDetails:
    if isinstance(model, (str, os.PathLike)):
        return _described(os.fspath(model))
    return model_set.details_of(model)


def _demanded(model: Any) -> trust.TrustPolicy | None:
    """Return the demands that a pipeline met when it was loaded."""
    get_tempo = getattr(model, "get_tempo", None)
    demands: trust.TrustPolicy | None = get_tempo().demands if get_tempo is not None else None
    return demands


def _described(folder: str) -> ModelDetails:
    """Return a model as the model-settings.json in its folder has it."""
    [*others, path] = repository.settings_files(folder)
    if others:
        raise SettingsError(f"{folder} has several models; name the folder of one")
    settings = repository.read(path)
    implementation = str(settings.get("implementation"))
    platform = _FRAMEWORKS.get(implementation, ModelFramework.Custom)
    ours = implementation == IMPLEMENTATION
    inputs = settings.get("inputs")
    home = os.path.dirname(path)
    return ModelDetails(
        name=str(settings.get("name") or os.path.basename(home)),
        platform=ModelFramework.TempoPipeline if ours else platform,
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
        f"deploy_local takes LocalOptions, DockerOptions or SeldonCoreOptions, and not {options!r:.80}"
    )


def _target(options: LocalOptions | DockerOptions) -> Any:
    if isinstance(options, LocalOptions):
        return processes
    from tempo_runtime.deploy.local import containers

    return containers


def _running(target: Any, name: str, detached: bool) -> LocalDeployment | None:
    """Return what was deployed under that name, by this process or to stay."""
    if not detached:
        deployment = _owned.get((target.KIND, name))
        return deployment if deployment is not None and deployment.up else None
    from tempo_runtime.deploy.local import find

    # The other target is not asked: its engine may not answer.
    return next(
        (each for each in find.find(name, target.list_deployments()) if not each.owner), None
    )


@atexit.register
def _undeploy_all() -> None:
    for deployment in _owned.values():
        deployment.undeploy()


def _disown() -> None:
    """In a fork of this process, whose deployments they are not."""
    global _lock
    _owned.clear()
    _lock = threading.Lock()  # a thread that is not there may have it


os.register_at_fork(after_in_child=_disown)
