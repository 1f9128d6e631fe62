"""Check the arguments of `explain` in a pipeline, and accept many rows."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from tempo_runtime.errors import PayloadError, TempoError
from tempo_runtime.execution.blame import author_line
from tempo_runtime.execution.explain import predictors
from tempo_runtime.execution.explain.batches import explain_each
from tempo_runtime.execution.explain.copies import copied, of_class

_ARGUMENT_ERRORS = (
    TypeError,
    ValueError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    NotImplementedError,
)


def of_guarded_class(explainer: Any, *, together: bool) -> Any:
    """Return an explainer with a guarded `explain`, and all attributes of an explainer.

    It is an instance of a subclass. A function set as an attribute would refer back to the explainer, and
    the state of an explanation would stay in memory until Python's cycle collector runs.

    Args:
        explainer: One of alibi's explainers, which must not be used any more.
        together: Whether many rows may share calls of the predictor.
    """
    explainer_class: Any = type(explainer)
    if not issubclass(
        explainer_class, Guarded
    ):  # `tempo_runtime.execution.explain.fast` returns these
        explainer_class = _guarded(explainer_class, together)
    guarded = of_class(explainer_class, explainer)
    guarded._given = predictors.places(guarded)
    return guarded


@cache
def _guarded(explainer_class: type, together: bool) -> type:
    attributes = {"_together": together, "__module__": __name__}
    return type(explainer_class.__name__, (Guarded, explainer_class), attributes)


class Guarded:
    """A mixin that precedes a class of alibi in the bases of a class."""

    _together: bool
    _given: dict[str, Any]

    def explain(self, *args: Any, **kwargs: Any) -> Any:
        """Explain any number of rows; alibi's tabular anchors accept only one.

        Raises:
            PayloadError: If alibi refuses an argument, or would ignore it.
            PipelineFailed: If it would explain another model than its predictor, or one with another
                number of outputs.
            Exception: Any exception of the author's predictor.
        """
        predictors.refuse_two(self, self._given)
        name, explain = type(self).__name__, super().explain  # type: ignore[misc]
        _refuse_misspelt(explain, kwargs, name)
        self._refuse_narrow(*args, **kwargs)
        try:
            if self._has_many_rows(*args, **kwargs):
                return explain_each(lambda: copied(self), *args, together=self._together, **kwargs)
            return explain(*args, **kwargs)
        except Exception as error:
            if isinstance(error.__cause__, TempoError) or not _is_the_callers(error):
                raise
            if author_line(error) is not None:  # raised by the predictor, not by alibi
                raise
            predictors.refuse_other_outputs(self, error)
            given = ", ".join(f"{key}={value!r:.40}" for key, value in kwargs.items()) or "none"
            accepted = ", ".join(_options(explain))
            raise PayloadError(
                f"{name} rejected the request: {type(error).__name__}: "
                f"{error}; explainer parameters given: {given}; it accepts: {accepted}"
            ) from error

    def _refuse_narrow(self, X: Any = None, *_: Any, **__: Any) -> None:  # noqa: N803
        """Refuse rows without all columns of a tree model: shap would read beyond their memory."""
        trees = getattr(getattr(self, "_explainer", None), "model", None)
        columns = getattr(trees, "features", None)  # for each node of each tree; -2 for a leaf
        if columns is None or np.ndim(X) == 0:
            return
        needed, given = int(np.max(columns)) + 1, np.shape(X)[-1]
        if given < needed:
            raise PayloadError(
                f"{type(self).__name__} received rows of {given} columns, but its trees use column "
                f"{needed - 1}; send rows with all columns of the model"
            )

    def _has_many_rows(self, X: Any = None, *_: Any, **__: Any) -> bool:  # noqa: N803
        tabular = any(base.__name__ == "AnchorTabular" for base in type(self).__mro__)
        return tabular and np.ndim(X) == 2 and len(X) > 1


def _is_the_callers(error: Exception) -> bool:
    module = type(error).__module__.partition(".")[0]
    return isinstance(error, _ARGUMENT_ERRORS) or module == "shap"


def _refuse_misspelt(explain: Callable[..., Any], kwargs: dict[str, Any], name: str) -> None:
    """Refuse misspelt keywords, because alibi ignores keywords that it does not know."""
    options = _options(explain)
    for given in kwargs:
        close = difflib.get_close_matches(given, options, n=1, cutoff=0.8)
        if given not in options and close:
            raise PayloadError(
                f"{name} does not have a parameter {given!r}; did you mean {close[0]!r}? It accepts: "
                + ", ".join(options)
            )


def _options(explain: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(explain).parameters.values()
    return [p.name for p in parameters if p.kind is not p.VAR_KEYWORD][1:]
