"""Artifacts that earlier versions saved.

Their pickles name private modules of this package, which have moved since, and hold the declaration that
format 2 has in tempo.json. Only reading uses this: pickles that are saved now use the names in `saved`.
"""

from __future__ import annotations

import importlib.util
from typing import Any

from tempo_runtime.artifact import pickle_graph
from tempo_runtime.authoring.models import Pipeline

# Old module, or module.name, -> the module, or module.name, that has it now.
MOVED = {
    "tempo_runtime.artifact": "tempo_runtime",
    "tempo_runtime.authoring": "tempo_runtime.authoring.decorators",
    "tempo_runtime.authoring._LoadingFirst": "tempo_runtime.authoring.decorators._Direct",
    "tempo_runtime.authoring._Recording": "tempo_runtime.authoring.decorators._Method",
    "tempo_runtime.children.child": "tempo_runtime.clients.child",
    "tempo_runtime.deploy.cluster.deploying": "tempo_runtime",
    "tempo_runtime.deploy.local": "tempo_runtime",
    "tempo_runtime.deploy.manifests": "tempo_runtime",
    "tempo_runtime.deploy.manifests.options": "tempo_runtime",
    "tempo_runtime.deploy.options": "tempo_runtime",
    "tempo_runtime.deploy.remote": "tempo_runtime",
    "tempo_runtime.details": "tempo_runtime.authoring.details",
    "tempo_runtime.direct": "tempo_runtime.execution.direct_call",
    "tempo_runtime.models": "tempo_runtime.authoring.models",
    "tempo_runtime.runtime": "tempo_runtime",
    "tempo_runtime.signature": "tempo_runtime.protocol.signature",
    "tempo_runtime.states.Reference": "tempo_runtime.artifact.saved.ChildReference",
    "tempo_runtime.storage": "tempo_runtime",
    "tempo_runtime.storage.minio": "tempo_runtime",
    "tempo_runtime.tensor": "tempo_runtime.protocol.tensor",
}
_PARTS_OF_A_CLASS = 2  # its Pipeline and itself; an instance has a third


def current(module: str, name: str) -> tuple[str, str]:
    """Return the module and the name of something that a pickle looks up by an earlier name."""
    if moved := MOVED.get(f"{module}.{name}"):
        module, _, name = moved.rpartition(".")
        return module, name
    return MOVED.get(module, module), name


def current_module(name: str) -> str:
    """Return the name of a module that a pickle imports by an earlier name.

    Pickles also import modules that their code never uses, such as `tempo_runtime.context` because it has
    an attribute `context`. The package takes the place of one that is gone.
    """
    name = MOVED.get(name, name)
    if name.startswith("tempo_runtime.") and not _exists(name):
        return "tempo_runtime"
    return name


def _exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # its package is gone
        return False


def pipeline(held: Any) -> Pipeline:
    """Return the pipeline of a pickle of format 1.

    Args:
        held: The unpickled object: a Pipeline, its class or None for a function, and an instance of the
            class or what the function keeps in its context.

    Raises:
        TypeError, ValueError: If it is something else.
    """
    found, target, *state = held
    if not isinstance(found, Pipeline):
        raise TypeError("it holds no pipeline")
    if target is not None:
        found.target = target
        found.saved = state[0] if state else None
    else:
        found._loaded = False
        vars(vars(found)["context"]).update(state[0] if state else {})
    return found


def holds_state(pickle: bytes) -> bool:
    """Tell whether a pickle of format 1 holds more than a class or function.

    Args:
        pickle: Its content.

    Raises:
        ArtifactDamaged: If it is not a pickle.
    """
    more = pickle_graph.parts(pickle) > _PARTS_OF_A_CLASS
    return more or pickle_graph.has_constructor_arguments(pickle)
