"""A copy of an explainer for each request.

alibi's explainers keep the state of a call (the instance's label, its lookups) on themselves and on
their samplers, so one object is right for one call at a time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

from tempo_runtime.explain.copies import copied, is_of
from tempo_runtime.explain.fast_classes import is_fast, of_fast_class
from tempo_runtime.explain.guarded import of_guarded_class
from tempo_runtime.instances import attributes
from tempo_runtime.models import pipelines


def explainers(instance: Any) -> dict[str, Any]:
    """The attributes of a pipeline's instance that are explainers, or lists or dicts of some."""
    return {name: value for name, value in attributes(instance).items() if _each(value)}


def per_request(instance: Any, *, fast: bool = True) -> Callable[[], Any]:
    """A function that gives an instance one request may change.

    A pipeline that holds no explainer is shared, as its author would expect.

    Args:
        instance: What the predict method is called on.
        fast: Whether explainers that have a fast class get it.
    """
    held = explainers(instance)
    if not held:
        return lambda: instance
    pipeline = pipelines.get(instance)  # the copies' as well: they call the same children

    def fresh() -> Any:
        own = copy.copy(instance)
        if pipeline is not None:
            pipelines.set(own, pipeline)
        for name, explainer in held.items():
            setattr(own, name, _isolated(explainer, fast))
        return own

    return fresh


def declared_seed(instance: Any) -> int | None:
    """The seed an explainer was made with.

    alibi uses it once, in the constructor; its author meant explanations to be repeatable.
    """
    for held in explainers(instance).values():
        for explainer in _each(held):
            # alibi's anchors have it among their parameters, its wrappers of shap as an attribute.
            parameters = getattr(explainer, "meta", {}).get("params", {})
            seed = parameters.get("seed", getattr(explainer, "seed", None))
            if isinstance(seed, int):
                return seed
    return None


def is_explainer(value: Any) -> bool:
    """Whether this is one of alibi's explainers."""
    return is_of(value, ("alibi",)) and callable(getattr(value, "explain", None))


def _each(value: Any) -> list[Any]:
    """The explainers that a value is, or has among its elements."""
    elements: Iterable[Any] = (value,)
    if isinstance(value, dict):
        elements = value.values()
    elif isinstance(value, (list, tuple)):
        elements = value
    return [element for element in elements if is_explainer(element)]


def _isolated(value: Any, fast: bool) -> Any:
    """Such a value, with its explainers isolated."""
    if is_explainer(value):
        return isolated(value, fast=fast)
    if isinstance(value, tuple):
        make = getattr(value, "_make", tuple)  # a named one is made in its own way
        return make(_isolated(list(value), fast))
    own = copy.copy(value)
    for key, element in value.items() if isinstance(value, dict) else enumerate(value):
        if is_explainer(element):
            own[key] = isolated(element, fast=fast)
    return own


def isolated(explainer: Any, *, fast: bool = True) -> Any:
    """A copy of an explainer that can serve one call while others run.

    Args:
        explainer: One of alibi's.
        fast: Whether it gets its fast class, if it has one.
    """
    own = copied(explainer)
    fast = fast and is_fast(own)
    return of_guarded_class(of_fast_class(own) if fast else own, together=fast)
