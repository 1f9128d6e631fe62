"""A copy of an explainer for each request.

alibi's explainers keep the state of a call (the instance's label, its lookups) on themselves and on
their samplers, so one object is right for one call at a time.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from tempo_runtime.authoring.instances import attributes
from tempo_runtime.authoring.models import Pipeline, pipelines
from tempo_runtime.execution.explain import randomness
from tempo_runtime.execution.explain.accelerated import is_fast, of_fast_class
from tempo_runtime.execution.explain.copies import copied, is_of, own_generator, shallow
from tempo_runtime.execution.explain.validated import of_guarded_class
from tempo_runtime.request import context

_SHORT = 64  # elements of a list or dict that may be looked at in each request


class RequestIsolation:
    """What each request of a pipeline runs on, in a server and without one.

    Its predict method is called on an instance that the request may change, and draws random numbers
    from a stream of its own, so that the same request has the same answer whatever ran before it.

    Args:
        predict: The predict method as its author wrote it.
        instance: What it is called on; for a function, the namespace of what its load method loads.
        is_function: Whether it is a function.
        seed: Seed of each request that brings none; None for an explainer's own, if any.
        fast: Whether explainers that have a fast class get it.
    """

    def __init__(
        self,
        predict: Callable[..., Any],
        instance: Any,
        *,
        is_function: bool,
        seed: int | None = None,
        fast: bool = True,
    ) -> None:
        self._predict = predict
        self._instance = instance
        self._is_function = is_function
        self._seed = seed
        self._fast = fast
        self._known = _Known(instance)
        # What requests call that have nothing to change.
        self._shared = predict if is_function else partial(predict, instance)

    @property
    def explains(self) -> bool:
        """Whether it works with an explainer."""
        return bool(self._known.explainers())

    @contextmanager
    def request(self) -> Iterator[Callable[..., Any]]:
        """Give what the current request calls."""
        held = self._known.explainers()
        seed = context.current().seed
        if seed is None:
            seed = self._seed
        if seed is None and held:
            seed = _declared(held)
        with randomness.stream(seed):
            if not held:
                yield self._shared
                return
            own = _fresh(self._instance, held, self._fast)
            if not self._is_function:
                yield partial(self._predict, own)
            else:
                with context.holding(self._instance, own):
                    yield self._predict


def requests_of(
    pipeline: Pipeline, instance: Any, *, seed: int | None, fast: bool
) -> RequestIsolation:
    """Return the `RequestIsolation` that requests and direct calls of a pipeline run on.

    Args:
        pipeline: The pipeline.
        instance: What the predict method is called on; not used where it is a function.
        seed: Seed of each; None for that of an explainer.
        fast: Whether explainers that have a fast class get it.
    """
    is_function = pipeline.predict_name is None
    held = vars(pipeline)["context"] if is_function else instance
    predict = pipeline.predict_of(None)
    return RequestIsolation(predict, held, is_function=is_function, seed=seed, fast=fast)


class _Known:
    """The explainers of one instance, found at the start of each request.

    Its author may set one at any time. A process without alibi has none, and long lists, such as a
    vocabulary, are gone through once.

    Args:
        instance: What a predict method is called on.
    """

    def __init__(self, instance: Any) -> None:
        self._instance = instance
        self._long: dict[str, tuple[Any, int, bool]] = {}

    def explainers(self) -> dict[str, Any]:
        """As the function of that name finds them."""
        if "alibi" not in sys.modules:
            return {}
        held = attributes(self._instance)
        return {name: value for name, value in held.items() if self._has_one(name, value)}

    def _has_one(self, name: str, value: Any) -> bool:
        length = len(value) if isinstance(value, (dict, list, tuple)) else 0
        if length <= _SHORT:
            return bool(_each(value))
        seen, seen_length, found = self._long.get(name, (None, 0, False))
        if seen is not value or seen_length != length:
            found = bool(_each(value))
            self._long[name] = value, length, found
        return found


def explainers(instance: Any) -> dict[str, Any]:
    """Return the attributes of a pipeline's instance that are explainers, or lists or dicts of some."""
    return {name: value for name, value in attributes(instance).items() if _each(value)}


def per_request(instance: Any, *, fast: bool = True) -> Callable[[], Any]:
    """Return a function that gives an instance one request may change.

    A pipeline that holds no explainer is shared, as its author would expect.

    Args:
        instance: What the predict method is called on.
        fast: Whether explainers that have a fast class get it.
    """
    held = explainers(instance)
    return partial(_fresh, instance, held, fast) if held else lambda: instance


def declared_seed(instance: Any) -> int | None:
    """Return the seed an explainer was made with.

    alibi uses it once, in the constructor; its author meant explanations to be repeatable.
    """
    return _declared(explainers(instance))


def _declared(held: dict[str, Any]) -> int | None:
    for value in held.values():
        for explainer in _each(value):
            # alibi's anchors have it among their parameters, its wrappers of shap as an attribute.
            parameters = getattr(explainer, "meta", {}).get("params", {})
            seed = parameters.get("seed", getattr(explainer, "seed", None))
            if isinstance(seed, int):
                return seed
    return None


def _fresh(instance: Any, held: dict[str, Any], fast: bool) -> Any:
    own = shallow(instance)
    if (pipeline := pipelines.get(instance)) is not None:
        pipelines.set(own, pipeline)  # the copy calls the same children
    for name, value in attributes(instance).items():
        made = _isolated(value, fast) if name in held else own_generator(value)
        if made is not value:
            # Past a class that refuses or checks what is set, as frozen dataclasses do.
            object.__setattr__(own, name, made)
    return own


def is_explainer(value: Any) -> bool:
    """Return whether this is one of alibi's explainers."""
    return is_of(value, ("alibi",)) and callable(getattr(value, "explain", None))


def _each(value: Any) -> list[Any]:
    """Return the explainers that a value is, or has among its elements."""
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
    """Return a copy of an explainer that can serve one call while others run.

    Args:
        explainer: One of alibi's.
        fast: Whether it gets its fast class, if it has one.
    """
    own = copied(explainer)
    fast = fast and is_fast(own)
    return of_guarded_class(of_fast_class(own) if fast else own, together=fast)
