"""Give each request its own copy of the explainers.

alibi's explainers keep the state of a call (the instance's label, lookups) in their attributes and in
their samplers, so that an explainer can serve only one call at a time.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from tempo_runtime.authoring.instances import attributes
from tempo_runtime.authoring.models import Pipeline, pipelines
from tempo_runtime.execution.explain import randomness
from tempo_runtime.execution.explain.accelerated import is_fast, of_fast_class
from tempo_runtime.execution.explain.copies import copied, is_of, own_generator, shallow
from tempo_runtime.execution.explain.validated import of_guarded_class
from tempo_runtime.request import context

_SHORT = 64  # elements; longer lists and dicts are not searched in each request


class RequestIsolation:
    """Isolates the requests of a pipeline from each other, in a server and without one.

    The predict method is called on an instance that the request may change, and draws random numbers from
    the request's own stream, so that the answer does not depend on earlier requests.

    Args:
        predict: The predict method as the author wrote it.
        instance: The instance to call it on; for a function, the namespace that its load method fills.
        is_function: Whether the pipeline is a function.
        seed: Seed of requests that do not have one; None for an explainer's own seed, if any.
        fast: Whether to replace explainers by their fast classes, if they have one.
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
        # For requests of a pipeline without explainers, which do not need a copy.
        self._shared = predict if is_function else partial(predict, instance)
        self._plain = nullcontext(self._shared)

    @property
    def explains(self) -> bool:
        """Whether the pipeline has an explainer."""
        return bool(self._known.explainers())

    def request(self) -> AbstractContextManager[Callable[..., Any]]:
        """Return a context with the predict method for the current request."""
        found_explainers = self._known.explainers()
        seed = context.current().seed
        if seed is None:
            seed = self._seed
        if seed is None and not found_explainers:
            return self._plain
        return self._isolated(found_explainers, seed)

    @contextmanager
    def _isolated(
        self, found_explainers: dict[str, Any], seed: int | None
    ) -> Iterator[Callable[..., Any]]:
        if seed is None:
            seed = _declared(found_explainers)
        with randomness.stream(seed):
            if not found_explainers:
                yield self._shared
                return
            instance = _fresh(self._instance, found_explainers, self._fast)
            if not self._is_function:
                yield partial(self._predict, instance)
            else:
                with context.holding(self._instance, instance):
                    yield self._predict


def requests_of(
    pipeline: Pipeline, instance: Any, *, seed: int | None, fast: bool
) -> RequestIsolation:
    """Return the `RequestIsolation` for the requests and direct calls of a pipeline.

    Args:
        pipeline: The pipeline.
        instance: The instance to call the predict method on; unused if the pipeline is a function.
        seed: Seed of each request; None for that of an explainer.
        fast: Whether to replace explainers by their fast classes, if they have one.
    """
    is_function = pipeline.predict_name is None
    namespace = vars(pipeline)["context"] if is_function else instance
    predict = pipeline.predict_of(None)
    return RequestIsolation(predict, namespace, is_function=is_function, seed=seed, fast=fast)


class _Known:
    """Finds the explainers of an instance at the start of each request.

    The author may set one at any time. To save time, nothing is searched before alibi is imported, and
    long lists, such as a vocabulary, are searched only once.

    Args:
        instance: The instance that a predict method is called on.
    """

    def __init__(self, instance: Any) -> None:
        self._instance = instance
        self._long: dict[str, tuple[Any, int, bool]] = {}

    def explainers(self) -> dict[str, Any]:
        """Return the explainers by attribute, as the function with this name does."""
        if "alibi" not in sys.modules:
            return {}
        values = attributes(self._instance)
        return {name: value for name, value in values.items() if self._has_explainer(name, value)}

    def _has_explainer(self, name: str, value: Any) -> bool:
        length = len(value) if isinstance(value, (dict, list, tuple)) else 0
        if length <= _SHORT:
            return bool(_explainers_in(value))
        seen, seen_length, has_explainer = self._long.get(name, (None, 0, False))
        if seen is not value or seen_length != length:
            has_explainer = bool(_explainers_in(value))
            self._long[name] = value, length, has_explainer
        return has_explainer


def explainers(instance: Any) -> dict[str, Any]:
    """Return the attributes of an instance that are explainers, or lists or dicts with explainers."""
    return {name: value for name, value in attributes(instance).items() if _explainers_in(value)}


def per_request(instance: Any, *, fast: bool = True) -> Callable[[], Any]:
    """Return a function that returns an instance for one request to change.

    An instance without explainers is shared, as authors expect.

    Args:
        instance: The instance that the predict method is called on.
        fast: Whether to replace explainers by their fast classes, if they have one.
    """
    by_name = explainers(instance)
    return partial(_fresh, instance, by_name, fast) if by_name else lambda: instance


def declared_seed(instance: Any) -> int | None:
    """Return the seed that an explainer was constructed with.

    alibi uses it only in the constructor, but the author who set it wants repeatable explanations.
    """
    return _declared(explainers(instance))


def _declared(by_name: dict[str, Any]) -> int | None:
    for value in by_name.values():
        for explainer in _explainers_in(value):
            # alibi's anchors keep the seed in their parameters, its wrappers of shap in an attribute.
            parameters = getattr(explainer, "meta", {}).get("params", {})
            seed = parameters.get("seed", getattr(explainer, "seed", None))
            if isinstance(seed, int):
                return seed
    return None


def _fresh(instance: Any, by_name: dict[str, Any], fast: bool) -> Any:
    duplicate = shallow(instance)
    if (pipeline := pipelines.get(instance)) is not None:
        pipelines.set(duplicate, pipeline)  # the copy calls the same children
    for name, value in attributes(instance).items():
        replacement = _isolated(value, fast) if name in by_name else own_generator(value)
        if replacement is not value:
            # `object`'s method also works for classes that refuse or check this: frozen dataclasses.
            object.__setattr__(duplicate, name, replacement)
    return duplicate


def is_explainer(value: Any) -> bool:
    """Return whether a value is one of alibi's explainers."""
    return is_of(value, ("alibi",)) and callable(getattr(value, "explain", None))


def _explainers_in(value: Any) -> list[Any]:
    """Return the value if it is an explainer, or those of its elements that are."""
    elements: Iterable[Any] = (value,)
    if isinstance(value, dict):
        elements = value.values()
    elif isinstance(value, (list, tuple)):
        elements = value
    return [element for element in elements if is_explainer(element)]


def _isolated(value: Any, fast: bool) -> Any:
    """Return a copy of an explainer, or of a list, tuple or dict with explainers."""
    if is_explainer(value):
        return isolated(value, fast=fast)
    if isinstance(value, tuple):
        make = getattr(value, "_make", tuple)  # a named tuple has its own constructor
        return make(_isolated(list(value), fast))
    duplicate = copy.copy(value)
    for key, element in value.items() if isinstance(value, dict) else enumerate(value):
        if is_explainer(element):
            duplicate[key] = isolated(element, fast=fast)
    return duplicate


def isolated(explainer: Any, *, fast: bool = True) -> Any:
    """Return a copy of an explainer that can serve one call while others run.

    Args:
        explainer: One of alibi's explainers.
        fast: Whether to replace it by its fast class, if it has one.
    """
    duplicate = copied(explainer)
    fast = fast and is_fast(duplicate)
    return of_guarded_class(of_fast_class(duplicate) if fast else duplicate, together=fast)
