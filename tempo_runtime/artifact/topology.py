"""The models that a pipeline calls, and where each of them runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tempo_runtime._util import atomic_files
from tempo_runtime.artifact import declaration, store
from tempo_runtime.artifact.description import Description
from tempo_runtime.authoring.details import SERVED_BY_US
from tempo_runtime.authoring.models import Model
from tempo_runtime.settings import Batching, ChildSettings, PipelineSettings


@dataclass(frozen=True)
class Node:
    """A model, as its author declares it or as a tempo.json describes it.

    Attributes:
        name: Its name.
        platform: Its framework.
        folder: Its folder on this machine; None if it is not known.
        uri: URI of its artifact.
        modules: The author's modules that unpickling it needs.
        model: The author's declaration, if that is in this process.
        batching: How its callers put their calls together; None if they do not.
        output: Output that its callers ask for; None for the one that its server gives.
    """

    name: str
    platform: str
    folder: str | None
    uri: str = ""
    modules: Sequence[str] = ()
    model: Model | None = None
    batching: Batching | None = None
    output: str | None = None


@dataclass(frozen=True)
class Call:
    """How a pipeline calls a model.

    Attributes:
        alias: The name by which the pipeline calls it.
        child: The model.
        settings: The settings of the calls.
    """

    alias: str
    child: Node
    settings: ChildSettings

    @property
    def place(self) -> Literal["inside", "beside", "elsewhere"]:
        """Whether it is in the pipeline's process, deployed with the pipeline, or at a URL."""
        if self.settings.transport == "in_process":
            return "inside"
        return "elsewhere" if self.settings.url else "beside"

    @property
    def way(self) -> str:
        """How the model is reached when one server has both, for people."""
        return way(self.settings.transport, self.settings.url or ())


def way(transport: str | None, urls: Sequence[str]) -> str:
    """Return how a pipeline reaches a model, for people.

    Args:
        transport: The transport of the calls.
        urls: URLs of the model's servers; empty if it has the pipeline's.
    """
    if transport == "in_process":
        return "in process"
    return ", ".join(urls) or "same server"


def is_artifact(platform: str, folder: str) -> bool:
    """Return whether a model's folder has to be an artifact, and not another MLServer runtime's."""
    names = (store.MODEL_SETTINGS, atomic_files.DESCRIPTION)
    settings, ours = (os.path.isfile(os.path.join(folder, name)) for name in names)
    return platform in SERVED_BY_US and (ours or not settings)


def declared(model: Model) -> Node:
    """Return the node of a model of this process."""
    details = model.details
    folder = os.path.abspath(details.home) if details.home else None
    return Node(
        details.name,
        details.platform.value,
        folder,
        details.uri,
        model=model,
        batching=details.batching,
        output=details.output,
    )


def described(description: Description, folder: str) -> dict[str, Node]:
    """Return the models that the artifact in a folder calls, by alias."""
    nodes = {}
    for alias, child in description.children.items():
        place = os.path.normpath(os.path.join(folder, child.folder)) if child.folder else None
        nodes[alias] = Node(
            child.name,
            child.platform,
            place,
            child.uri or "",
            child.modules,
            batching=declaration.batching_of(child),
            output=child.output,
        )
    return nodes


def calls(
    children: Mapping[str, Node],
    settings: PipelineSettings,
    *,
    deployed: bool = False,
    in_process: bool = False,
) -> Iterator[Call]:
    """Return how a pipeline with these settings calls its models.

    With `deployed`, a model is deployed beside the pipeline and called over HTTP unless the settings
    choose a transport; otherwise it is then in the pipeline's process. With `in_process`, every model
    without a URL is there, whatever its transport.
    """
    for alias, child in children.items():
        reach = settings.child(alias)
        chosen = settings.stated(alias).transport or settings.transport or reach.fast_sklearn
        if in_process and not reach.url:
            reach = reach.model_copy(update={"transport": "in_process"})
        elif deployed and reach.transport == "in_process" and not chosen:
            reach = reach.model_copy(update={"transport": "http"})
        yield Call(alias, child, reach)


def states_in_memory(
    folder: str, environ: Mapping[str, str] = os.environ, *, deployed: bool = False
) -> list[str]:
    """List the pipelines in the process of an artifact whose state is in that process's memory.

    Args:
        folder: The artifact.
        environ: The environment of the process.
        deployed: As `calls` takes it.

    Raises:
        ArtifactError: If an artifact cannot be read.
        SettingsError: If settings are invalid.
    """
    return list(_states_in_memory(folder, environ, deployed, frozenset()))


def _states_in_memory(
    folder: str, environ: Mapping[str, str], deployed: bool, entered: frozenset[str]
) -> Iterator[str]:
    description = store.read_description(folder, to_run=False)
    settings = PipelineSettings.read(store.extra_of(folder), environ)
    state = settings.state_of(declaration.state_of(description))
    if state is not None and state.url is None:
        yield description.name
    for call in calls(described(description, folder), settings, deployed=deployed):
        place = call.settings.uri or call.child.folder
        if call.place != "inside" or place is None:
            continue
        place = os.path.normpath(os.path.join(folder, place))
        if place not in entered and has_description(place):
            yield from _states_in_memory(place, environ, deployed, entered | {place})


def has_description(folder: str) -> bool:
    """Return whether a folder is an artifact."""
    return os.path.isfile(os.path.join(folder, atomic_files.DESCRIPTION))
