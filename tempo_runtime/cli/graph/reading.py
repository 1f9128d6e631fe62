"""Read a graph from artifacts without running their code, or from a pipeline of this process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tempo_runtime.artifact import store
from tempo_runtime.artifact.description import ChildDescription
from tempo_runtime.authoring.decorators import Model, Pipeline, describe
from tempo_runtime.authoring.details import ModelFramework
from tempo_runtime.cli.graph.nodes import Edge, Node
from tempo_runtime.errors import ArtifactError, SettingsError
from tempo_runtime.settings import PipelineSettings

_OURS = (ModelFramework.TempoPipeline.value, ModelFramework.Custom.value)


def of_folder(folder: str, environ: Mapping[str, str] = os.environ) -> Node:
    """Return the graph of an artifact, from its and its children's tempo.json and model-settings.json.

    Args:
        folder: The artifact.
        environ: The environment, whose settings take precedence.

    Raises:
        ArtifactError: If it is not one. A child without one is a node with a fault.
        SettingsError: If its settings are invalid.
    """
    return _Reader(environ).artifact(os.path.abspath(folder))


def of_pipeline(target: Any, environ: Mapping[str, str] = os.environ) -> Node:
    """Return the graph of a pipeline class, an instance of one, or a pipeline function.

    Raises:
        AuthoringError: If it is not one of them.
        SettingsError: If the environment's settings are invalid.
    """
    pipeline = describe(target)
    return _Reader(environ).pipeline(pipeline, PipelineSettings.read({}, environ))


@dataclass(frozen=True)
class _Child:
    """A model as its pipeline declares it or tempo.json records it."""

    name: str
    platform: str
    folder: str | None
    pipeline: Pipeline | None = None

    @classmethod
    def declared(cls, model: Model) -> _Child:
        details = model.details
        folder = os.path.abspath(details.home) if details.home else None
        pipeline = model if isinstance(model, Pipeline) else None
        return cls(details.name, details.platform.value, folder, pipeline)

    @classmethod
    def recorded(cls, described: ChildDescription, folder: str) -> _Child:
        path = described.folder
        full_path = os.path.normpath(os.path.join(folder, path)) if path else None
        return cls(described.name, described.platform, full_path)


@dataclass(frozen=True)
class _Reader:
    """Reads the graph below pipelines.

    Attributes:
        environ: Their environment; that of a server elsewhere is unknown.
        inside: Names of these pipelines, outermost first.
    """

    environ: Mapping[str, str]
    inside: tuple[str, ...] = ()

    def artifact(self, folder: str) -> Node:
        """Return the node of an artifact."""
        description = store.read_description(folder)
        settings = PipelineSettings.read(store.extra_of(folder), self.environ)
        children = {
            alias: _Child.recorded(described, folder)
            for alias, described in description.children.items()
        }
        pipeline = _Child(description.name, ModelFramework.TempoPipeline.value, folder)
        return self._node(pipeline, children, settings)

    def pipeline(self, pipeline: Pipeline, settings: PipelineSettings) -> Node:
        """Return the node of a pipeline that is not read from its artifact."""
        children = {alias: _Child.declared(model) for alias, model in pipeline.declared.items()}
        return self._node(_Child.declared(pipeline), children, settings)

    def _node(
        self, pipeline: _Child, children: dict[str, _Child], settings: PipelineSettings
    ) -> Node:
        if pipeline.name in self.inside:
            circle = " -> ".join((*self.inside, pipeline.name))
            return Node(
                pipeline.name, pipeline.platform, pipeline.folder, f"they call each other: {circle}"
            )
        below = replace(self, inside=(*self.inside, pipeline.name))
        edges = [
            below._edge(alias, child, settings, pipeline.folder)
            for alias, child in children.items()
        ]
        return Node(pipeline.name, pipeline.platform, pipeline.folder, edges=tuple(edges))

    def _edge(
        self, alias: str, child: _Child, settings: PipelineSettings, folder: str | None
    ) -> Edge:
        reach = settings.child(alias)
        assert reach.transport is not None
        if reach.transport != "in_process":
            # The environment of its server is unknown here.
            node = replace(self, environ={})._child(child, PipelineSettings(), needed=False)
            return Edge(alias, reach.transport, reach.url or (), node)
        if reach.uri:
            place = os.path.normpath(os.path.join(folder or "", reach.uri))
            child = replace(child, folder=place, pipeline=None)
        foreign = reach.implementation is not None
        return Edge(alias, reach.transport, (), self._child(child, settings, foreign=foreign))

    def _child(
        self,
        child: _Child,
        settings: PipelineSettings,
        *,
        needed: bool = True,
        foreign: bool = False,
    ) -> Node:
        """Return the node of a child.

        Args:
            child: The child.
            settings: Its pipeline's settings, which also apply to a pipeline without an artifact.
            needed: Whether its folder must exist here.
            foreign: Whether another runtime serves it.
        """
        leaf = Node(child.name, child.platform, child.folder)
        if child.pipeline is not None:
            return self.pipeline(child.pipeline, settings)
        if child.folder is None or not os.path.exists(child.folder):
            missing = (
                f"its folder {child.folder} does not exist" if child.folder else "it has no folder"
            )
            return replace(leaf, fault=missing if needed else None)
        if foreign or child.platform not in _OURS or store.is_other_model(child.folder):
            return leaf
        try:
            return self.artifact(child.folder)
        except (ArtifactError, SettingsError) as error:
            return replace(leaf, fault=str(error) if needed else None)
