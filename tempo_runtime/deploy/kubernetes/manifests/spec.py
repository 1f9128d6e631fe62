"""Resolve the models to deploy: a pipeline, the models it calls, and those that they call."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tempo_runtime._util import atomic_files
from tempo_runtime._util.layers import parse_json
from tempo_runtime.artifact import declaration, store, topology, trust
from tempo_runtime.artifact.description import Description
from tempo_runtime.authoring.details import (
    SERVED_BY_TRITON,
    SERVED_BY_US,
    ModelDetails,
    ModelFramework,
)
from tempo_runtime.authoring.models import Model, Pipeline
from tempo_runtime.errors import ArtifactError, AuthoringError, SettingsError
from tempo_runtime.settings import PipelineSettings


@dataclass(frozen=True)
class DeployedModel:
    """A model that gets its own object on the platform.

    Attributes:
        name: Its name.
        platform: Its framework.
        uri: URI of its artifact.
        description: A sentence for people.
        inputs: Its inputs as V2 metadata tensors.
        outputs: Its outputs as V2 metadata tensors.
        streams: Whether it streams its outputs.
        signed: Whether its inputs and outputs are known.
        stated: Settings of its children in its artifact.
        calls: The children that are deployed with it, by alias.
        folder: Its artifact on this machine, if it is pinned to it.
        digest: The digest of that artifact; empty if it is not pinned.
        in_memory: The pipelines in its process whose state is in memory, by the settings in the artifact.
        demanded: The digests that its pods accept; empty if they accept any. They include those of
            pipelines inside the artifact, because a process checks every artifact that it loads.
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
    calls: Mapping[str, topology.Call] = field(default_factory=dict)
    folder: str = ""
    digest: str = ""
    in_memory: tuple[str, ...] = ()
    demanded: tuple[str, ...] = ()

    @property
    def ours(self) -> bool:
        """Whether it is a pipeline, or a custom model that was made as one."""
        return self.platform in SERVED_BY_US

    @property
    def on_triton(self) -> bool:
        """Whether Triton serves it, and not MLServer."""
        return self.platform in SERVED_BY_TRITON


def resolve_models(
    model: Any, pins: Callable[[str], bool] = lambda name: True
) -> dict[str, DeployedModel]:
    """Return a pipeline and all models deployed with it, by name, the pipeline first.

    A child with a URL in the pipeline's settings, or in its process, is not deployed. Only settings in
    the artifact count, because this machine's environment does not apply on the cluster.

    Args:
        model: A pipeline, a `Model`, or the folder of an artifact.
        pins: Returns whether the model with a name is pinned to its artifact on this machine, if any.

    Raises:
        ArtifactError: If a folder holds no artifact, or one cannot be read.
        AuthoringError: If `model` is not a model, or a model has no `uri`.
        SettingsError: If settings are invalid, or two models have the same name.
    """
    resolver = _Resolver(pins)
    if isinstance(model, (str, os.PathLike)):
        resolver.folder(os.path.abspath(model))
    elif hasattr(model, "get_tempo"):
        resolver.model(model.get_tempo())
    else:
        raise AuthoringError(
            f"{model!r:.80} is neither a pipeline, nor a Model, nor the folder of an artifact"
        )
    return resolver.models


class _Resolver:
    def __init__(self, pins: Callable[[str], bool]) -> None:
        self._pins = pins
        self.models: dict[str, DeployedModel] = {}

    def model(self, model: Model) -> None:
        """Add a model as its author declares it."""
        details = model.details
        folder = details.home or ""
        # A reference to a pipeline has no code: its artifact names the models it calls.
        children: dict[str, topology.Node] = {}
        if details.served_by_us and _has_description(folder):
            children = topology.described(store.read_description(folder, to_run=False), folder)
        if isinstance(model, Pipeline):
            described, children = children, {}
            for alias, child in model.declared.items():
                reference = child.details.served_by_us and not isinstance(child, Pipeline)
                known = described.get(alias) if reference else None
                children[alias] = known or topology.declared(child)
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
                in_memory=_states_in_memory(folder, details),
            ),
            folder,
            children,
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
                in_memory=_states_in_memory(folder),
            ),
            folder,
            topology.described(description, folder),
        )

    def _child(self, child: topology.Node) -> None:
        folder = child.folder or ""
        if child.model is not None:
            self.model(child.model)
        elif child.platform in SERVED_BY_US and _has_description(folder):
            self.folder(folder)
        else:
            model = DeployedModel(child.name, ModelFramework(child.platform), child.uri)
            self._add(model, "", {}, folder)

    def _add(
        self,
        model: DeployedModel,
        folder: str,
        children: Mapping[str, topology.Node],
        content: str | None = None,
    ) -> None:
        """Add a model.

        Args:
            model: The model.
            folder: Folder of its settings.
            children: The models it calls.
            content: Folder of its artifact, if it is another one.
        """
        if not model.uri:
            raise AuthoringError(
                f"{model.name} has no uri from which the cluster can download it; give it one, and "
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
        extra = store.extra_of(folder) if folder else {}
        settings = PipelineSettings.read(extra, {})
        calls = topology.calls(children, settings, deployed=True)
        beside = {call.alias: call for call in calls if call.place == "beside"}
        if self._pins(model.name):
            model = _pinned(model, folder if content is None else content)
        self.models[model.name] = replace(
            model,
            stated=parse_json(extra.get("models")) or {},
            calls=beside,
        )
        for call in beside.values():
            self._child(call.child)


def _pinned(model: DeployedModel, folder: str) -> DeployedModel:
    """Add the digest of a model's artifact on this machine, if there is one.

    A pipeline's digest is that of its tempo.json. The digest of another model is computed from its files,
    and only serves to notice changes.

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


def _states_in_memory(folder: str, details: ModelDetails | None = None) -> tuple[str, ...]:
    """Return the names of the pipelines in a pipeline's process whose state is in memory.

    Args:
        folder: Its artifact, if it has one.
        details: What its author declares, where that is in this process.
    """
    if _has_description(folder):
        return tuple(topology.states_in_memory(folder, {}, deployed=True))
    state = None if details is None else PipelineSettings().state_of(details.state)
    return () if details is None or state is None or state.url is not None else (details.name,)


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
    """Return a digest of the files that `upload` would send; empty without files."""
    try:
        digests = {
            path: atomic_files.sha256_of(folder, path) for path in sorted(atomic_files.walk(folder))
        }
    except OSError as error:
        raise ArtifactError(
            f"{error.filename or folder} cannot be read: {error.strerror}; correct that, or set "
            "pin_artifact to false"
        ) from error
    return trust.digest_of_files(digests) if digests else ""


def _has_description(folder: str) -> bool:
    return bool(folder) and os.path.isfile(os.path.join(folder, atomic_files.DESCRIPTION))
