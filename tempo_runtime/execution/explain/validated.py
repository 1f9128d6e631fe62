"""`explain`, as a served pipeline calls it: misuse is told, and rows may be many."""

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
    """Return an explainer whose `explain` is guarded, and which has all that an explainer has.

    A class, and not a function put on the explainer: that would refer to it in a circle, and what an
    explanation leaves behind would stay until Python looks for circles.

    Args:
        explainer: One of alibi's, which is not used any more.
        together: Whether many rows may share calls of the predictor.
    """
    kind: Any = type(explainer)
    if not issubclass(kind, Guarded):  # as one of `tempo_runtime.explain.fast` is
        kind = _guarded(kind, together)
    made = of_class(kind, explainer)
    made._given = predictors.places(made)
    return made


@cache
def _guarded(kind: type, together: bool) -> type:
    return type(kind.__name__, (Guarded, kind), {"_together": together, "__module__": __name__})


class Guarded:
    """Put before a class of alibi's among the bases of a class."""

    _together: bool
    _given: dict[str, Any]

    def explain(self, *args: Any, **kwargs: Any) -> Any:
        """Explains; alibi's tabular anchors take one row, and here they take any number.

        Raises:
            PayloadError: If alibi refuses an argument, or would ignore it.
            PipelineFailed: If it would explain another model than its predictor, or one with another
                number of outputs.
            Exception: Whatever the author's predictor raises.
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
            if author_line(error) is not None:  # the predictor raised it, not alibi
                raise
            predictors.refuse_other_outputs(self, error)
            given = ", ".join(f"{key}={value!r:.40}" for key, value in kwargs.items()) or "none"
            accepted = ", ".join(_options(explain))
            raise PayloadError(
                f"{name} rejected the request: {type(error).__name__}: "
                f"{error}; explainer parameters given: {given}; it accepts: {accepted}"
            ) from error

    def _refuse_narrow(self, X: Any = None, *_: Any, **__: Any) -> None:  # noqa: N803
        """Refuse rows that lack columns of a tree model: shap would read beyond its memory."""
        trees = getattr(getattr(self, "_explainer", None), "model", None)
        columns = getattr(trees, "features", None)  # of each node of each tree; -2 for a leaf
        if columns is None or np.ndim(X) == 0:
            return
        needed, given = int(np.max(columns)) + 1, np.shape(X)[-1]
        if given < needed:
            raise PayloadError(
                f"{type(self).__name__} was given rows of {given} columns, and its trees look at "
                f"column {needed - 1}; send rows of the model's width"
            )

    def _has_many_rows(self, X: Any = None, *_: Any, **__: Any) -> bool:  # noqa: N803
        tabular = any(kind.__name__ == "AnchorTabular" for kind in type(self).__mro__)
        return tabular and np.ndim(X) == 2 and len(X) > 1


def _is_the_callers(error: Exception) -> bool:
    module = type(error).__module__.partition(".")[0]
    return isinstance(error, _ARGUMENT_ERRORS) or module == "shap"


def _refuse_misspelt(explain: Callable[..., Any], kwargs: dict[str, Any], name: str) -> None:
    """Alibi takes any keyword and ignores what it does not know, so a slip would go unseen."""
    options = _options(explain)
    for given in kwargs:
        close = difflib.get_close_matches(given, options, n=1, cutoff=0.8)
        if given not in options and close:
            raise PayloadError(
                f"{name} has no parameter {given!r}; did you mean {close[0]!r}? It accepts: "
                + ", ".join(options)
            )


def _options(explain: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(explain).parameters.values()
    return [p.name for p in parameters if p.kind is not p.VAR_KEYWORD][1:]
