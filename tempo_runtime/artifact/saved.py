"""The names of this package that a saved pickle may hold.

A pickle looks up by module and name whatever makes its objects again, and an artifact outlives the
version that saved it. So these names never move, and accept forever what they accept today. Beside them,
a pickle holds public names of this package (those of `tempo_runtime` and of its modules `explain`,
`kubernetes` and `testing`), and no others.

A declaration is JSON as in tempo.json: see `description.PipelineDescription` and `ModelDescription`. That
of the artifact's own pipeline is in tempo.json only. `types` are the parts that JSON cannot hold, as
`declaration.types_of` returns them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tempo_runtime.artifact import declaration
from tempo_runtime.artifact.description import (
    ModelDescription,
    PipelineDescription,
    SignatureDescription,
)
from tempo_runtime.authoring import decorators
from tempo_runtime.authoring.details import ModelDetails
from tempo_runtime.authoring.models import Model, Pipeline, PipelineModels, model_of
from tempo_runtime.protocol.signature import Signature

_described: ContextVar[PipelineDescription] = ContextVar("tempo_described")


@contextmanager
def described(description: PipelineDescription) -> Iterator[None]:
    """Give the declaration of the artifact whose pickle is read in the block."""
    token = _described.set(description)
    try:
        yield
    finally:
        _described.reset(token)


# -- named by pickles: do not move or rename -------------------------------------------------------


def model(declared: Mapping[str, Any], types: Any, local_folder: str | None) -> Model:
    """Make a `Model` that the author's code refers to."""
    return model_of(details(declared, types, local_folder))


def models(by_alias: Mapping[str, Any]) -> PipelineModels:
    """Make a `PipelineModels` that the author's code refers to."""
    return PipelineModels(**by_alias)


def details(declared: Mapping[str, Any], types: Any, local_folder: str | None) -> ModelDetails:
    """Make the details of a model."""
    description = ModelDescription.model_validate(declared)
    return declaration.details(description, types, local_folder)


def signature(declared: Mapping[str, Any], types: Any) -> Signature:
    """Make a signature."""
    return declaration.signature(SignatureDescription.model_validate(declared), types)


def pipeline_of(owner: Any) -> Pipeline:
    """Look up the Pipeline of a pipeline class, or of an instance of one."""
    return decorators.describe(owner)


def pipeline_class(cls: type, state: Mapping[str, Any]) -> None:
    """Make a class, as its author wrote it, the pipeline class that it was.

    Args:
        cls: The class.
        state: `declared_types`; `declaration`, or None for the artifact's own pipeline; and
            `is_decorated`, whether the class was decorated itself and does not only derive from one that
            was.
    """
    made = declaration.pipeline(_declared(state), state["declared_types"], cls)
    install = decorators.install if state["is_decorated"] else decorators.install_derived
    install(made)


def predict_method(function: Any) -> Any:
    """Make the predict method of a pipeline class from the author's function."""
    return decorators.predict_method(function)


def function_pipeline() -> Pipeline:
    """Make an empty function pipeline; `fill_function_pipeline` fills it."""
    return Pipeline.__new__(Pipeline)


def fill_function_pipeline(made: Pipeline, state: Mapping[str, Any]) -> None:
    """Make an empty function pipeline the one that it was.

    Args:
        made: The pipeline. Its function may refer to it.
        state: `function`; `load`, its load function or None; `attributes` that its author set on it;
            `declared_types`; and `declaration`, or None for the artifact's own pipeline.
    """
    function = state["function"]
    vars(made).update(
        vars(declaration.pipeline(_declared(state), state["declared_types"], function))
    )
    functools.update_wrapper(made, function)
    vars(made).update(state["attributes"])
    made._load_function = state["load"]


class ChildReference:
    """A child, or all children, of the pipeline whose code holds it."""

    def __init__(self, holder: Any = None, alias: str | None = None) -> None:
        self._holder = holder
        self._alias = alias

    def _found(self) -> Any:
        children = self._holder.models
        return children if self._alias is None else getattr(children, self._alias)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("_holder", "_alias"):
            raise AttributeError(name)
        return getattr(self._found(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the child."""
        return self._found()(*args, **kwargs)

    def __iter__(self) -> Iterator[str]:
        return iter(self._found())

    def __len__(self) -> int:
        return len(self._found())


# --------------------------------------------------------------------------------------------------


def _declared(state: Mapping[str, Any]) -> PipelineDescription:
    if state["declaration"] is None:
        return _described.get()
    return PipelineDescription.model_validate(state["declaration"])
