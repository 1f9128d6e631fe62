"""Pipelines of models, from a notebook to production.

MLServer imports this module again each time it looks up `tempo_runtime.TempoPipelineRuntime`, so it
holds names only, and each is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tempo_runtime.artifact.store import load, save
    from tempo_runtime.authoring.decorators import (
        Model,
        ModelFramework,
        PipelineModels,
        loadmethod,
        model,
        pipeline,
        predictmethod,
    )
    from tempo_runtime.deploy.client import RemoteModel
    from tempo_runtime.deploy.kubernetes.deploy import deploy_remote
    from tempo_runtime.deploy.kubernetes.manifests import manifest
    from tempo_runtime.deploy.kubernetes.manifests.options import (
        KServeOptions,
        Seldon2Options,
        SeldonCoreOptions,
    )
    from tempo_runtime.deploy.local.deploy import deploy_local
    from tempo_runtime.deploy.options import DockerOptions, LocalOptions
    from tempo_runtime.errors import (
        ArtifactDamaged,
        ArtifactError,
        ArtifactIncompatible,
        ArtifactMissing,
        ArtifactUntrusted,
        AuthoringError,
        BudgetExceeded,
        CheckFailed,
        ChildError,
        ChildFailed,
        ChildNotFound,
        ChildUnavailable,
        DeadlineExceeded,
        DeploymentFailed,
        EnvironmentFailed,
        NotReady,
        Overloaded,
        PayloadError,
        PipelineFailed,
        ServingFailed,
        SettingsError,
        StorageError,
        TempoError,
    )
    from tempo_runtime.runtime.pipeline_runtime import TempoPipelineRuntime
    from tempo_runtime.storage import download, upload
    from tempo_runtime.storage.minio import create_minio_rclone

_HOMES = {
    "artifact.store": ("load", "save"),
    "authoring.decorators": (
        "Model",
        "ModelFramework",
        "PipelineModels",
        "loadmethod",
        "model",
        "pipeline",
        "predictmethod",
    ),
    "deploy.kubernetes.deploy": ("deploy_remote",),
    "deploy.local.deploy": ("deploy_local",),
    "deploy.kubernetes.manifests": ("manifest",),
    "deploy.kubernetes.manifests.options": ("KServeOptions", "Seldon2Options", "SeldonCoreOptions"),
    "deploy.options": ("DockerOptions", "LocalOptions"),
    "deploy.client": ("RemoteModel",),
    "errors": (
        "ArtifactDamaged",
        "ArtifactError",
        "ArtifactIncompatible",
        "ArtifactMissing",
        "ArtifactUntrusted",
        "AuthoringError",
        "BudgetExceeded",
        "CheckFailed",
        "ChildError",
        "ChildFailed",
        "ChildNotFound",
        "ChildUnavailable",
        "DeadlineExceeded",
        "DeploymentFailed",
        "EnvironmentFailed",
        "NotReady",
        "Overloaded",
        "PayloadError",
        "PipelineFailed",
        "ServingFailed",
        "SettingsError",
        "StorageError",
        "TempoError",
    ),
    "runtime.pipeline_runtime": ("TempoPipelineRuntime",),
    "storage": ("download", "upload"),
    "storage.minio": ("create_minio_rclone",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__version__ = "0.1.0"
__all__ = [
    "ArtifactDamaged",
    "ArtifactError",
    "ArtifactIncompatible",
    "ArtifactMissing",
    "ArtifactUntrusted",
    "AuthoringError",
    "BudgetExceeded",
    "CheckFailed",
    "ChildError",
    "ChildFailed",
    "ChildNotFound",
    "ChildUnavailable",
    "DeadlineExceeded",
    "DeploymentFailed",
    "DockerOptions",
    "EnvironmentFailed",
    "KServeOptions",
    "LocalOptions",
    "Model",
    "ModelFramework",
    "NotReady",
    "Overloaded",
    "PayloadError",
    "PipelineFailed",
    "PipelineModels",
    "RemoteModel",
    "Seldon2Options",
    "SeldonCoreOptions",
    "ServingFailed",
    "SettingsError",
    "StorageError",
    "TempoError",
    "TempoPipelineRuntime",
    "create_minio_rclone",
    "deploy_local",
    "deploy_remote",
    "download",
    "load",
    "loadmethod",
    "manifest",
    "model",
    "pipeline",
    "predictmethod",
    "save",
    "upload",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
