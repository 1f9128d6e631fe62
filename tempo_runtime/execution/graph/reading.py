"""Read a graph from artifacts without running their code, or from a pipeline of this process.

A graph shows what `tempo-runtime serve` starts: `servers.model_set` decides it from the same settings.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tempo_runtime.artifact import store, topology
from tempo_runtime.artifact.description import Description
from tempo_runtime.authoring.decorators import Pipeline, describe
from tempo_runtime.authoring.details import ModelFramework
from tempo_runtime.authoring.models import Model
from tempo_runtime.errors import ArtifactError, SettingsError
from tempo_runtime.execution.frameworks import only_triton_serves
from tempo_runtime.execution.graph.nodes import Edge, Node
from tempo_runtime.settings import PipelineSettings


def of_folder(
    folder: str, environ: Mapping[str, str] = os.environ, *, in_process: bool = False
) -> Node:
    """Return the graph of an artifact, from its and its children's tempo.json and model-settings.json.

    Args:
        folder: The artifact.
        environ: The environment, whose settings take precedence.
        in_process: Whether children without a URL are in their pipeline's process.

    Raises:
        ArtifactError: If it is not one. A child without one is a node with a fault.
        SettingsError: If its settings are invalid.
    """
    return _Reader(environ, in_process).artifact(os.path.abspath(folder))


def of_loaded(folder: str, description: Description, settings: PipelineSettings) -> Node:
    """Return the graph of an artifact with the settings that it is loaded with.

    Args:
        folder: The artifact.
        description: Its description when it was loaded.
        settings: Its settings. Those of its children are read from their folders.
    """
    return _Reader(os.environ, served=False).described(folder, description, settings)


def of_pipeline(
    target: Any, environ: Mapping[str, str] = os.environ, *, in_process: bool = False
) -> Node:
    """Return the graph of a pipeline class, an instance of one, or a pipeline function.

    Its settings are those of its folder, which it need not have been saved to. The other arguments are
    those of `of_folder`.

    Raises:
        AuthoringError: If it is not one of them.
        ArtifactDamaged: If the settings in its folder cannot be read.
        SettingsError: If its settings are invalid.
    """
    return _Reader(environ, in_process).pipeline(describe(target))


def of_model(model: Model, environ: Mapping[str, str] = os.environ) -> Node:
    """Return the graph of a pipeline that is called in this process, or the node of any other model.

    Raises:
        ArtifactDamaged: If the settings in its folder cannot be read.
        SettingsError: If its settings are invalid.
    """
    reader = _Reader(environ, served=False)
    if isinstance(model, Pipeline):
        return reader.pipeline(model)
    return reader._child(topology.declared(model), PipelineSettings(), needed=False)


@dataclass(frozen=True)
class _Reader:
    """Reads the graph below pipelines.

    Attributes:
        environ: Their environment; that of a server elsewhere is unknown.
        in_process: Whether children without a URL are in their pipeline's process.
        callers: Names of these pipelines, outermost first.
        served: Whether children that the settings say nothing about are on the innermost one's server,
            and not in its process.
    """

    environ: Mapping[str, str]
    in_process: bool = False
    callers: tuple[str, ...] = ()
    served: bool = True

    def artifact(self, folder: str) -> Node:
        """Return the node of an artifact."""
        description = store.read_description(folder)
        settings = PipelineSettings.read(store.extra_of(folder), self.environ)
        return self.described(folder, description, settings)

    def described(self, folder: str, description: Description, settings: PipelineSettings) -> Node:
        """Return the node of an artifact whose description and settings are known."""
        pipeline = topology.Node(description.name, ModelFramework.TempoPipeline.value, folder)
        node = self._node(pipeline, topology.described(description, folder), settings)
        return replace(node, description=description.description)

    def pipeline(self, pipeline: Pipeline, settings: PipelineSettings | None = None) -> Node:
        """Return the node of a pipeline that is not read from its artifact.

        Args:
            pipeline: The pipeline.
            settings: Its settings; by default those of its folder.
        """
        if settings is None:
            home = pipeline.details.home
            settings = PipelineSettings.read(store.extra_of(home) if home else {}, self.environ)
        children = {alias: topology.declared(model) for alias, model in pipeline.declared.items()}
        node = self._node(topology.declared(pipeline), children, settings)
        return replace(node, description=pipeline.details.description)

    def _node(
        self,
        pipeline: topology.Node,
        children: dict[str, topology.Node],
        settings: PipelineSettings,
    ) -> Node:
        if pipeline.name in self.callers:
            circle = " -> ".join((*self.callers, pipeline.name))
            return Node(
                pipeline.name, pipeline.platform, pipeline.folder, f"they call each other: {circle}"
            )
        below = replace(self, callers=(*self.callers, pipeline.name))
        calls = topology.calls(
            children,
            settings,
            deployed=self.served,
            in_process=self.served and self.in_process,
        )
        edges = [below._edge(call, settings, pipeline.folder) for call in calls]
        return Node(pipeline.name, pipeline.platform, pipeline.folder, edges=tuple(edges))

    def _edge(self, call: topology.Call, settings: PipelineSettings, folder: str | None) -> Edge:
        alias, child, reach = call.alias, call.child, call.settings
        assert reach.transport is not None
        batching = reach.batching_of(child.batching)
        rows = None if batching is None else batching.max_rows
        output = reach.output_of(child.output)
        if call.place == "elsewhere":
            # The environment of its server is unknown here.
            node = replace(self, environ={}, served=True)._child(child, None, needed=False)
            return Edge(alias, reach.transport, reach.url or (), node, output, rows)
        if reach.uri:
            place = os.path.normpath(os.path.join(folder or "", reach.uri))
            child = replace(child, folder=place, model=None)
        beside = call.place == "beside"
        node = replace(self, served=beside)._child(
            child, None if beside else settings, foreign=reach.implementation is not None
        )
        return Edge(alias, reach.transport, (), node, output, rows)

    def _child(
        self,
        child: topology.Node,
        settings: PipelineSettings | None,
        *,
        needed: bool = True,
        foreign: bool = False,
    ) -> Node:
        """Return the node of a child.

        Args:
            child: The child.
            settings: The settings of a pipeline without an artifact; by default those of its folder.
            needed: Whether its folder must exist here.
            foreign: Whether another runtime serves it.
        """
        leaf = Node(child.name, child.platform, child.folder)
        if isinstance(child.model, Pipeline):
            home = child.model.details.home
            saved = home is not None and topology.has_description(home)
            return self.pipeline(child.model, None if saved else settings)
        if needed and not foreign and only_triton_serves(child.platform, child.folder):
            return replace(leaf, fault="Triton serves it, and MLServer does not; set its `url`")
        if child.folder is None or not os.path.exists(child.folder):
            missing = (
                f"its folder {child.folder} does not exist" if child.folder else "it has no folder"
            )
            return replace(leaf, fault=missing if needed else None)
        if foreign or not topology.is_artifact(child.platform, child.folder):
            return leaf
        try:
            return self.artifact(child.folder)
        except (ArtifactError, SettingsError) as error:
            return replace(leaf, fault=str(error) if needed else None)
