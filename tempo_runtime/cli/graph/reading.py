"""Reads a graph from artifacts, none of which is run, or from a pipeline that is not saved yet."""

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
    """Return the graph of an artifact: of tempo.json and model-settings.json, its own and its children's.

    Args:
        folder: The artifact.
        environ: The environment, whose settings win.

    Raises:
        ArtifactError: If it is not one. A child without one is a node with a fault.
        SettingsError: If its settings are wrong.
    """
    return _Reader(environ).artifact(os.path.abspath(folder))


def of_pipeline(target: Any, environ: Mapping[str, str] = os.environ) -> Node:
    """Return the graph of a pipeline class, an instance of one, or a pipeline function.

    Raises:
        AuthoringError: If it is not one of them.
        SettingsError: If the environment's settings are wrong.
    """
    pipeline = describe(target)
    return _Reader(environ).pipeline(pipeline, PipelineSettings.read({}, environ))


@dataclass(frozen=True)
class _Child:
    """A model as its pipeline declares it, or as tempo.json records it."""

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
        own = described.folder
        place = os.path.normpath(os.path.join(folder, own)) if own else None
        return cls(described.name, described.platform, place)


@dataclass(frozen=True)
class _Reader:
    """Reads what is below some pipelines.

    Attributes:
        environ: The environment that they are in; that of a server elsewhere is not known.
        inside: Names of those pipelines, outermost first.
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
        own = _Child(description.name, ModelFramework.TempoPipeline.value, folder)
        return self._node(own, children, settings)

    def pipeline(self, pipeline: Pipeline, settings: PipelineSettings) -> Node:
        """Return the node of a pipeline that is not read from its artifact."""
        children = {alias: _Child.declared(model) for alias, model in pipeline.declared.items()}
        return self._node(_Child.declared(pipeline), children, settings)

    def _node(self, own: _Child, children: dict[str, _Child], settings: PipelineSettings) -> Node:
        if own.name in self.inside:
            circle = " -> ".join((*self.inside, own.name))
            return Node(own.name, own.platform, own.folder, f"they call each other: {circle}")
        below = replace(self, inside=(*self.inside, own.name))
        edges = [
            below._edge(alias, child, settings, own.folder) for alias, child in children.items()
        ]
        return Node(own.name, own.platform, own.folder, edges=tuple(edges))

    def _edge(
        self, alias: str, child: _Child, settings: PipelineSettings, folder: str | None
    ) -> Edge:
        reach = settings.child(alias)
        assert reach.transport is not None
        if reach.transport != "in_process":
            # What its server's environment says is not known here.
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
            settings: Those of its pipeline, which hold for a pipeline that has no artifact.
            needed: Whether its folder has to be here.
            foreign: Whether a class of others serves it.
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
