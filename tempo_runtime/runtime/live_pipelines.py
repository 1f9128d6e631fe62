"""Describe the pipelines of a server and their state now, as JSON: `GET /pipelines.json`.

Everything is read when it is asked for: the state from the objects that answer requests, in the workers
if those answer them, and the figures from the metrics.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlserver import MLModel
from mlserver.errors import MLServerError
from mlserver.handlers import DataPlane

from tempo_runtime import __version__
from tempo_runtime.artifact import declaration
from tempo_runtime.execution.frameworks import framework_of
from tempo_runtime.execution.graph.nodes import Edge, Node
from tempo_runtime.execution.live_state import LiveState, of_workers
from tempo_runtime.request import call_figures
from tempo_runtime.request.breaker import State
from tempo_runtime.request.call_figures import CallFigures, quantile
from tempo_runtime.request.metrics import SHARED
from tempo_runtime.runtime.parallel import PipelineInWorkers, is_pipeline

_LIVE = "live"
"""Method of a pipeline's runtime, called here or in the workers: `() -> tuple[Node, LiveState]`."""

_UNKNOWN = LiveState()
Figures = Mapping[tuple[str, ...], CallFigures]
Key = tuple[str, str | None]


@dataclass(frozen=True)
class _Served:
    """A model that the server serves.

    Attributes:
        name: Its name.
        version: Its version, if it has one.
        ready: Whether it is ready.
        kind: The kind of model, for people.
        live: Of a pipeline: what it calls, and its state; None if no worker says so.
    """

    name: str
    version: str | None
    ready: bool
    kind: str
    live: tuple[Node, LiveState] | None = None


async def describe(data_plane: DataPlane, problem: str | None = None) -> dict[str, Any]:
    """Return the models of a server and their state, as JSON.

    Args:
        data_plane: MLServer's data plane.
        problem: Why the models are not those that their author has just saved.
    """
    models = await data_plane._model_registry.get_models()
    served = await asyncio.gather(*(_served(data_plane, model) for model in models))
    if SHARED in os.environ:
        figures = await asyncio.to_thread(call_figures.read)  # from files
    else:
        figures = call_figures.read()
    writer = _Writer(served, figures)
    pipelines = [model for model in served if model.kind == "pipeline"]
    others = [model for model in served if model.kind != "pipeline"]
    return {
        "version": __version__,
        "problem": problem,
        "pipelines": [writer.pipeline(model) for model in sorted(pipelines, key=_order)],
        "models": [
            {"name": model.name, "kind": model.kind, "ready": model.ready}
            for model in sorted(others, key=_order)
        ],
    }


async def _served(data_plane: DataPlane, model: MLModel) -> _Served:
    live = await _live(model) if is_pipeline(model) else None
    ready = bool(await data_plane.model_ready(model.name, model.version))
    kind = "pipeline" if is_pipeline(model) else framework_of(_implementation(model)).value
    return _Served(model.name, model.version, ready, kind, live)


async def _live(model: MLModel) -> tuple[Node, LiveState] | None:
    if isinstance(model, PipelineInWorkers):
        answers = await model.ask_workers(_LIVE)
    else:
        try:
            answers = [await getattr(model, _LIVE)()]
        except MLServerError:  # it is being unloaded
            answers = []
    if not answers:
        return None
    return answers[0][0], of_workers([state for _, state in answers])


def _implementation(model: MLModel) -> str:
    settings = model.settings
    implementation: str = settings.implementation_
    if implementation == declaration.WITH_CODE:
        implementation = settings.parameters.extra[declaration.CODE]["implementation"]
    return implementation


def _order(model: _Served) -> tuple[str, str]:
    return model.name, model.version or ""


class _Writer:
    """Writes the nodes of pipelines and of what they call.

    Args:
        served: All models of the server.
        figures: The calls of pipelines and of their children.
    """

    def __init__(self, served: Sequence[_Served], figures: Figures) -> None:
        self._figures = figures
        self._served: dict[Key, _Served] = {}
        for model in served:
            self._served[model.name, model.version] = model
            self._served.setdefault((model.name, None), model)

    def pipeline(self, model: _Served) -> dict[str, Any]:
        """Return the node of a pipeline that the server serves."""
        node, state = model.live or (Node(model.name, "tempo"), _UNKNOWN)
        problem = None
        if not model.ready:
            problem = state.problem or "it is not loaded, or none of its workers answers"
        return {
            "name": model.name,
            "kind": model.kind,
            "description": node.description,
            "version": model.version,
            "ready": model.ready,
            "problem": problem,
            "breakers": {},
            "calls": _calls(self._figures.get((node.name,))),
            "children": self._children(node, state, ((model.name, model.version),)),
        }

    def _children(self, node: Node, state: LiveState, inside: tuple[Key, ...]) -> list[Any]:
        """Return the nodes of a pipeline's children.

        Args:
            node: The pipeline.
            state: Its state, with that of its children if it is in a process of this server.
            inside: The served pipelines that it is part of, outermost first.
        """
        states = state.children
        return [
            self._child(node, edge, None if states is None else states.get(edge.alias), inside)
            for edge in node.edges
        ]

    def _child(
        self, parent: Node, edge: Edge, state: LiveState | None, inside: tuple[Key, ...]
    ) -> dict[str, Any]:
        node, below, version = edge.node, state or _UNKNOWN, None
        ready, problem = below.ready, below.problem or node.fault
        figures = self._figures.get((parent.name, edge.alias)) if state is not None else None
        served = self._served.get(below.served_as) if below.served_as is not None else None
        if below.served_as is not None and served is None:
            ready = False
            problem = problem or f"this server does not have the model {below.served_as[0]}"
        if served is not None:
            ready, version = served.ready and ready is not False, served.version
            key = (served.name, served.version)
            if served.live is not None and key not in inside:
                node, inner = served.live
                problem = problem or (None if served.ready else inner.problem)
                below, inside = inner, (*inside, key)
            elif served.live is not None:  # they call each other
                node = Node(node.name, node.platform, description=node.description)
        written = {
            "name": node.name if served is None else served.name,
            "alias": edge.alias,
            "kind": node.kind,
            "description": node.description,
            "version": version,
            "way": edge.way,
            "ready": ready,
            "problem": problem,
            "breakers": {
                url: _WORDS[breaker] for url, breaker in (state or _UNKNOWN).breakers.items()
            },
            "calls": _calls(figures),
            "children": self._children(node, below, inside),
        }
        if state is None:
            # The settings of a server elsewhere are not known here.
            del written["way"]
        return written


_WORDS = {state: state.name.lower().replace("_", " ") for state in State}


def _calls(figures: CallFigures | None) -> dict[str, Any] | None:
    if figures is None:
        return None
    seconds = None
    if figures.mean is not None:
        p50, p95 = (quantile(share, figures.buckets) for share in (0.5, 0.95))
        seconds = {"mean": figures.mean, "p50": p50, "p95": p95}
    return {"running": figures.running, "outcomes": figures.outcomes, "seconds": seconds}
