"""Pipelines of models, from a notebook to production.

MLServer imports this module again each time it looks up `tempo_runtime.TempoPipelineRuntime`, so it
holds names only, and each is imported when it is first used. `_NAMES` lists them; the imports below it
show them to type checkers, and a test compares the two.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_NAMES = {
    "artifact.store": ("inspect", "load", "save"),
    "authoring.children": ("Child", "Children"),
    "authoring.decorators": (
        "Model",
        "ModelFramework",
        "Pipeline",
        "PipelineModels",
        "describe",
        "loadmethod",
        "model",
        "pipeline",
        "predictmethod",
    ),
    "deploy.client": ("RemoteModel",),
    "deploy.connect": ("connect",),
    "deploy.kubernetes.deploy": ("deploy_remote",),
    "deploy.kubernetes.manifests": ("manifest",),
    "deploy.kubernetes.manifests.options": ("KServeOptions", "Seldon2Options", "SeldonCoreOptions"),
    "deploy.local.deploy": ("deploy_local",),
    "deploy.options": ("DockerOptions", "LocalOptions"),
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
        "OriginRefused",
        "Overloaded",
        "PayloadError",
        "PipelineFailed",
        "RequestError",
        "RequestNotLogged",
        "ServingFailed",
        "SettingsError",
        "StateError",
        "StateUnavailable",
        "StorageError",
        "TempoError",
    ),
    "explanations.explanation": ("Explanation",),
    "protocol.columns": ("Columns",),
    "request.current": ("CurrentRequest", "current_request"),
    "runtime.pipeline_runtime": ("TempoPipelineRuntime",),
    "settings": ("Batching", "InsightsOptions", "StateOptions"),
    "state.state": ("State",),
    "storage": ("download", "upload"),
    "storage.minio": ("create_minio_rclone",),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}
__all__ = sorted(_HOMES)

if TYPE_CHECKING:
    from tempo_runtime.artifact.store import inspect as inspect
    from tempo_runtime.artifact.store import load as load
    from tempo_runtime.artifact.store import save as save
    from tempo_runtime.authoring.children import Child as Child
    from tempo_runtime.authoring.children import Children as Children
    from tempo_runtime.authoring.decorators import Model as Model
    from tempo_runtime.authoring.decorators import ModelFramework as ModelFramework
    from tempo_runtime.authoring.decorators import Pipeline as Pipeline
    from tempo_runtime.authoring.decorators import PipelineModels as PipelineModels
    from tempo_runtime.authoring.decorators import describe as describe
    from tempo_runtime.authoring.decorators import loadmethod as loadmethod
    from tempo_runtime.authoring.decorators import model as model
    from tempo_runtime.authoring.decorators import pipeline as pipeline
    from tempo_runtime.authoring.decorators import predictmethod as predictmethod
    from tempo_runtime.deploy.client import RemoteModel as RemoteModel
    from tempo_runtime.deploy.connect import connect as connect
    from tempo_runtime.deploy.kubernetes.deploy import deploy_remote as deploy_remote
    from tempo_runtime.deploy.kubernetes.manifests import manifest as manifest
    from tempo_runtime.deploy.kubernetes.manifests.options import KServeOptions as KServeOptions
    from tempo_runtime.deploy.kubernetes.manifests.options import Seldon2Options as Seldon2Options
    from tempo_runtime.deploy.kubernetes.manifests.options import (
        SeldonCoreOptions as SeldonCoreOptions,
    )
    from tempo_runtime.deploy.local.deploy import deploy_local as deploy_local
    from tempo_runtime.deploy.options import DockerOptions as DockerOptions
    from tempo_runtime.deploy.options import LocalOptions as LocalOptions
    from tempo_runtime.errors import ArtifactDamaged as ArtifactDamaged
    from tempo_runtime.errors import ArtifactError as ArtifactError
    from tempo_runtime.errors import ArtifactIncompatible as ArtifactIncompatible
    from tempo_runtime.errors import ArtifactMissing as ArtifactMissing
    from tempo_runtime.errors import ArtifactUntrusted as ArtifactUntrusted
    from tempo_runtime.errors import AuthoringError as AuthoringError
    from tempo_runtime.errors import BudgetExceeded as BudgetExceeded
    from tempo_runtime.errors import CheckFailed as CheckFailed
    from tempo_runtime.errors import ChildError as ChildError
    from tempo_runtime.errors import ChildFailed as ChildFailed
    from tempo_runtime.errors import ChildNotFound as ChildNotFound
    from tempo_runtime.errors import ChildUnavailable as ChildUnavailable
    from tempo_runtime.errors import DeadlineExceeded as DeadlineExceeded
    from tempo_runtime.errors import DeploymentFailed as DeploymentFailed
    from tempo_runtime.errors import EnvironmentFailed as EnvironmentFailed
    from tempo_runtime.errors import NotReady as NotReady
    from tempo_runtime.errors import OriginRefused as OriginRefused
    from tempo_runtime.errors import Overloaded as Overloaded
    from tempo_runtime.errors import PayloadError as PayloadError
    from tempo_runtime.errors import PipelineFailed as PipelineFailed
    from tempo_runtime.errors import RequestError as RequestError
    from tempo_runtime.errors import RequestNotLogged as RequestNotLogged
    from tempo_runtime.errors import ServingFailed as ServingFailed
    from tempo_runtime.errors import SettingsError as SettingsError
    from tempo_runtime.errors import StateError as StateError
    from tempo_runtime.errors import StateUnavailable as StateUnavailable
    from tempo_runtime.errors import StorageError as StorageError
    from tempo_runtime.errors import TempoError as TempoError
    from tempo_runtime.explanations.explanation import Explanation as Explanation
    from tempo_runtime.protocol.columns import Columns as Columns
    from tempo_runtime.request.current import CurrentRequest as CurrentRequest
    from tempo_runtime.request.current import current_request as current_request
    from tempo_runtime.runtime.pipeline_runtime import TempoPipelineRuntime as TempoPipelineRuntime
    from tempo_runtime.settings import Batching as Batching
    from tempo_runtime.settings import InsightsOptions as InsightsOptions
    from tempo_runtime.settings import StateOptions as StateOptions
    from tempo_runtime.state.state import State as State
    from tempo_runtime.storage import download as download
    from tempo_runtime.storage import upload as upload
    from tempo_runtime.storage.minio import create_minio_rclone as create_minio_rclone
else:  # a type checker would take any name for one that this function knows

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
