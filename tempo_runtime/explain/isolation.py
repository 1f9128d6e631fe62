"""A copy of an explainer for each request.

alibi's explainers keep the state of a call (the instance's label, its lookups) on themselves and on
their samplers, so one object is right for one call at a time. What changes during a call is small:
a shallow copy of the objects alibi made, and of the lists and dicts they hold, shares all data.
"""

from __future__ import annotations

import copy
import difflib
import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

from tempo_runtime.errors import PayloadError, TempoError

_DEPTH = 4  # pipeline -> explainer -> samplers -> sampler
_ARGUMENT_ERRORS = (TypeError, ValueError, KeyError, IndexError, AttributeError)


def per_request(instance: Any) -> Callable[[], Any]:
    """A function that gives an instance one request may change.

    A pipeline that holds no explainer is shared, as its author would expect.
    """
    held = {name: value for name, value in _attributes(instance).items() if is_explainer(value)}
    if not held:
        return lambda: instance

    def fresh() -> Any:
        own = copy.copy(instance)
        for name, explainer in held.items():
            setattr(own, name, isolated(explainer))
        return own

    return fresh


def declared_seed(instance: Any) -> int | None:
    """The seed an explainer was made with.

    alibi uses it once, in the constructor; its author meant explanations to be repeatable.
    """
    for value in _attributes(instance).values():
        if is_explainer(value):
            seed = getattr(value, "meta", {}).get("params", {}).get("seed")
            if isinstance(seed, int):
                return seed
    return None


def is_explainer(value: Any) -> bool:
    """Whether this is one of alibi's explainers."""
    return _is_alibi(value) and callable(getattr(value, "explain", None))


def isolated(explainer: Any) -> Any:
    """A copy of an explainer that can serve one call while others run."""
    own = _copy(explainer, _DEPTH, {})
    own.explain = _guarded(own.explain, type(own).__name__)
    return own


def _copy(value: Any, depth: int, done: dict[int, Any]) -> Any:
    if id(value) in done:
        return done[id(value)]
    if depth and _is_alibi(value):
        own = done[id(value)] = copy.copy(value)
        for name, held in _attributes(value).items():
            vars(own)[name] = _copy(held, depth - 1, done)
        return own
    if depth and type(value) is list:
        return [_copy(element, depth - 1, done) for element in value]
    if depth and isinstance(value, dict):
        return copy.copy(value)
    return value


def _is_alibi(value: Any) -> bool:
    return any(kind.__module__.partition(".")[0] == "alibi" for kind in type(value).__mro__)


def _attributes(value: Any) -> dict[str, Any]:
    return dict(getattr(value, "__dict__", {}))


def _guarded(explain: Callable[..., Any], name: str) -> Callable[..., Any]:
    """`explain`, with what alibi refuses told as the caller's error that it is."""

    @wraps(explain)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        _refuse_misspelt(explain, kwargs, name)
        try:
            return explain(*args, **kwargs)
        except _ARGUMENT_ERRORS as error:
            if isinstance(error.__cause__, TempoError):
                raise
            given = ", ".join(f"{key}={value!r:.40}" for key, value in kwargs.items()) or "none"
            accepted = ", ".join(_options(explain))
            raise PayloadError(
                f"{name} rejected the request: {type(error).__name__}: "
                f"{error}; explainer parameters given: {given}; it accepts: {accepted}"
            ) from error

    return guarded


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
