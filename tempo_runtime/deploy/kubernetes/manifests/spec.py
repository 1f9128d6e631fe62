"""What is deployed: a pipeline, the models it calls, and what these call."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tempo_runtime._util import atomic_files
from tempo_runtime._util.layers import parse_json
from tempo_runtime.artifact import declaration, store, trust
from tempo_runtime.artifact.description import ChildDescription, Description
from tempo_runtime.authoring.details import ModelFramework
from tempo_runtime.authoring.models import Pipeline
from tempo_runtime.errors import ArtifactError, AuthoringError, SettingsError
from tempo_runtime.servers import repository
from tempo_runtime.settings import PipelineSettings

_OURS = (ModelFramework.TempoPipeline.value, ModelFramework.Custom.value)


@dataclass(frozen=True)
class ChildCall:
    """A child as its pipeline calls it.

    Attributes:
        model: Its name.
        transport: `http` or `grpc`.
    """

    model: str
    transport: str


@dataclass(frozen=True)
class DeployedModel:
    """A model that gets a deployment of its own.

    Attributes:
        name: Its name.
        platform: Its framework.
        uri: Where its artifact is downloaded from.
        description: A sentence for people.
        inputs: Its inputs as V2 metadata tensors.
        outputs: Its outputs, likewise.
        streams: Whether it gives its outputs one after the other.
        signed: Whether its inputs and outputs are known.
        stated: Settings of its children that are in its artifact.
        calls: The children that are deployed with it, by its names for them.
        folder: Its artifact on this machine, if it is pinned to that.
        digest: The digest of that artifact; empty if it is not pinned.
        demanded: The digests of which its pods must find one; empty if they cannot demand any. Those of
            pipelines inside of the artifact are among them: what a process demands, it demands of all
            that it loads.
    """

    name: str
    platform: ModelFramework
    uri: str
    description: str = ""
    inputs: tuple[dict[str, Any], ...] = ()
    outputs: tuple[dict[str, Any], ...] = ()
    streams: bool = False
    signed: bool = False
    stated: Mapping[str, Any] = field(default_factory=dict)
    calls: Mapping[str, ChildCall] = field(default_factory=dict)
    folder: str = ""
    digest: str = ""
    demanded: tuple[str, ...] = ()

    @property
    def ours(self) -> bool:
        """Whether it is a pipeline, or a custom model made as one."""
        return self.platform.value in _OURS


def resolve_models(
    model: Any, pins: Callable[[str], bool] = lambda name: True
) -> dict[str, DeployedModel]:
    """Return a pipeline and all that is deployed with it, by name, the pipeline first.

    A child that the pipeline's settings place at a URL, or in its process, is not deployed. Settings are
    those of its artifact; the environment is this machine's, and means nothing there.

    Args:
        model: A pipeline, a `Model`, or the folder of an artifact.
        pins: Whether a model of a name is pinned to its artifact on this machine, if there is one.

    Raises:
        ArtifactError: If a folder holds no artifact, or one cannot be read.
        AuthoringError: If `model` is not one, or one has no `uri`.
        SettingsError: If settings are wrong, or two models have one name.
    """
    found = _Found(pins)
    if isinstance(model, (str, os.PathLike)):
        found.folder(os.path.abspath(model))
    elif hasattr(model, "get_tempo"):
        found.model(model.get_tempo())
    else:
        raise AuthoringError(
            f"{model!r:.80} is neither a pipeline, nor a Model, nor the folder of an artifact"
        )
    return found.models


class _Found:
    def __init__(self, pins: Callable[[str], bool]) -> None:
        self._pins = pins
        self.models: dict[str, DeployedModel] = {}

    def model(self, model: Any) -> None:
        """Add a model as it was written."""
        details = model.details
        folder = details.home or ""
        # A reference to a pipeline has no code: what it calls is in its artifact.
        places: dict[str, tuple[str, Any]] = {}
        if details.served_by_us and _has_description(folder):
            places = _written(store.read_description(folder, to_run=False), folder)
        if isinstance(model, Pipeline):
            written, places = places, {}
            for alias, child in model.declared.items():
                known = alias in written and _is_reference(child)
                places[alias] = written[alias] if known else (child.details.name, child)
        signature = details.signature
        tensors = declaration.metadata(signature) if signature else {}
        self._add(
            DeployedModel(
                details.name,
                details.platform,
                details.uri,
                details.description,
                tuple(tensors.get("inputs", ())),
                tuple(tensors.get("outputs", ())),
                streams=signature is not None and signature.streams,
                signed=signature is not None,
            ),
            folder,
            places,
        )

    def folder(self, folder: str) -> None:
        """Add an artifact."""
        description = store.read_description(folder, to_run=False)
        tensors = description.signature.metadata()
        self._add(
            DeployedModel(
                description.name,
                ModelFramework.TempoPipeline,
                description.uri,
                description.description,
                tuple(tensors["inputs"]),
                tuple(tensors["outputs"]),
                streams=description.signature.streams,
                signed=True,
            ),
            folder,
            _written(description, folder),
        )

    def child(self, child: ChildDescription, folder: str) -> None:
        """Add a child as its pipeline's tempo.json has it."""
        platform = ModelFramework(child.platform)
        if platform.value in _OURS and _has_description(folder):
            self.folder(folder)
        else:
            self._add(DeployedModel(child.name, platform, child.uri or ""), "", {}, folder)

    def _add(
        self,
        model: DeployedModel,
        folder: str,
        children: Mapping[str, tuple[str, Any]],
        content: str | None = None,
    ) -> None:
        """Add a model.

        Args:
            model: The model.
            folder: Where its settings are.
            children: What it calls.
            content: Where its artifact is, if not in that folder.
        """
        if not model.uri:
            raise AuthoringError(
                f"{model.name} has no uri, from which the cluster would download it; give it one, and "
                "upload it"
            )
        known = self.models.get(model.name)
        if known is not None:
            # An artifact does not say whether it was written as a pipeline or as a custom model.
            alike = known.platform == model.platform or (known.ours and model.ours)
            if known.uri != model.uri or not alike:
                raise SettingsError(
                    f"two models are called {model.name!r}, at {known.uri} and at {model.uri}; rename one"
                )
            return
        extra = repository.parameters_of(_settings(folder)).get("extra") or {}
        settings = PipelineSettings.read(extra, {})
        calls = {}
        for alias, (name, _) in children.items():
            transport = _transport(settings, alias)
            if transport is not None:
                calls[alias] = ChildCall(name, transport)
        if self._pins(model.name):
            model = _pinned(model, folder if content is None else content)
        self.models[model.name] = replace(
            model,
            stated=parse_json(extra.get("models")) or {},
            calls=calls,
        )
        for alias, (_, child) in children.items():
            if alias not in calls:
                continue
            if isinstance(child, tuple):
                self.child(*child)
            else:
                self.model(child)


def _transport(settings: PipelineSettings, alias: str) -> str | None:
    """Return how a child is called that is deployed; None for one that is somewhere else."""
    child = settings.child(alias)
    if child.transport == "in_process":
        stated = settings.stated(alias).transport or settings.transport or child.fast_sklearn
        return None if stated else "http"
    return None if child.url else child.transport


def _written(description: Description, folder: str) -> dict[str, tuple[str, Any]]:
    """Return the children in a tempo.json: name, and what is known, with their folders here if any."""
    return {
        alias: (
            child.name,
            (child, _beside(folder, child.folder)),
        )
        for alias, child in description.children.items()
    }


def _beside(folder: str, path: str | None) -> str:
    return os.path.normpath(os.path.join(folder, path)) if path else ""


def _pinned(model: DeployedModel, folder: str) -> DeployedModel:
    """Add the digest of a model's artifact on this machine, if there is one.

    A pipeline's is that of its tempo.json. Other models have none: theirs is of their files, and only
    tells when they change.

    Raises:
        ArtifactError: If it cannot be read.
    """
    demanded: tuple[str, ...] = ()
    if model.ours:
        if not _has_description(folder):
            return model
        description = store.read_description(folder, to_run=False)
        digest = description.digest
        demanded = (digest, *_digests_inside(folder, description))
    else:
        digest = _digest_of_files(folder)
    return replace(model, folder=folder, digest=digest, demanded=demanded)


def _digests_inside(folder: str, description: Description) -> list[str]:
    """Return the digests of the artifacts inside an artifact."""
    places = [
        os.path.join(folder, os.path.dirname(path))
        for path in description.files
        if os.path.basename(path) == atomic_files.DESCRIPTION
    ]
    return sorted(
        store.read_description(place, to_run=False).digest
        for place in places
        if _has_description(place)
    )


def _digest_of_files(folder: str) -> str:
    """Return a digest of the files that `upload` would send; empty if there are none."""
    try:
        found = {
            path: atomic_files.sha256_of(folder, path) for path in sorted(atomic_files.walk(folder))
        }
    except OSError as error:
        raise ArtifactError(
            f"{error.filename or folder} cannot be read: {error.strerror}; correct that, or set "
            "pin_artifact to false"
        ) from error
    return trust.digest_of_files(found) if found else ""


def _has_description(folder: str) -> bool:
    return bool(folder) and os.path.isfile(os.path.join(folder, atomic_files.DESCRIPTION))


def _is_reference(model: Any) -> bool:
    """Return whether it is a pipeline without its code, as those are that a saved pipeline calls."""
    return model.details.served_by_us and not isinstance(model, Pipeline)


def _settings(folder: str) -> dict[str, Any]:
    path = os.path.join(folder, store.MODEL_SETTINGS)
    return repository.read(path) if folder and os.path.isfile(path) else {}
