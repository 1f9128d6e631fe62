"""Replace alibi's explainers by classes that return the same explanations in less time.

alibi itself is not changed or copied. A copy of the explainer, with its samplers and its search, is given
classes derived from alibi's, in which the expensive parts are computed in another way. All random numbers
and all explanations stay the same as alibi's.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import cache, wraps
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from tempo_runtime.execution.explain.copies import of_class
from tempo_runtime.execution.explain.search import FastSearch
from tempo_runtime.execution.explain.tabular import FastAnchorTabular, FastSampler
from tempo_runtime.execution.explain.text import FastAnchorText, TextSearch

# Versions whose explanations were compared; others may draw random numbers in another order.
TESTED = ("0.9.4", "0.9.6")  # 0.9.5 requires a version of pydantic that MLServer does not support
_ANCHORS = "alibi.explainers.anchors"
logger = logging.getLogger(__name__)


def is_fast(explainer: Any) -> bool:
    """Return whether an explainer has a fast class."""
    module = sys.modules.get(type(explainer).__module__)
    # Subclasses of alibi's classes, and samplers of the author, may draw in other ways.
    if module is None or module.__name__ not in _CLASSES:
        return False
    known = _CLASSES[module.__name__]
    if type(explainer).__name__ != known.name:
        return False
    return all(map(_is_alibis, known.samplers(explainer))) and _is_tested()


def of_fast_class(explainer: Any) -> Any:
    """Return an explainer of the fast class, with all attributes of an explainer.

    Args:
        explainer: An explainer with a fast class; it must not be used any more.
    """
    module = sys.modules[type(explainer).__module__]
    fast_explainer = of_class(_class(module), explainer)
    if isinstance(fast_explainer, FastAnchorTabular):
        fast_sampler = _sampler(module)
        samplers = fast_explainer.samplers
        fast_explainer.samplers = [of_class(fast_sampler, sampler) for sampler in samplers]
    return fast_explainer


class _Known(NamedTuple):
    """One of alibi's explainers, with the classes to derive its fast class and its search from."""

    name: str
    samplers: Callable[[Any], list[Any]]
    explainer: type
    search: type


_CLASSES = {
    f"{_ANCHORS}.anchor_tabular": _Known(
        "AnchorTabular",
        lambda explainer: list(explainer.samplers),
        FastAnchorTabular,
        FastSearch,
    ),
    f"{_ANCHORS}.anchor_text": _Known(
        "AnchorText",
        lambda explainer: [explainer.perturbation],
        FastAnchorText,
        TextSearch,
    ),
}
_SAMPLERS = ("TabularSampler", "UnknownSampler", "SimilaritySampler")


def _is_alibis(sampler: Any) -> bool:
    sampler_class = type(sampler)
    in_alibi = sampler_class.__module__.startswith(f"{_ANCHORS}.")
    return in_alibi and sampler_class.__name__ in _SAMPLERS


@cache
def _class(module: ModuleType) -> type:
    known = _CLASSES[module.__name__]
    fast: Any = known.explainer
    alibis = getattr(module, known.name)
    search = type("AnchorBaseBeam", (known.search, module.AnchorBaseBeam), {})
    original = alibis.explain
    # It looks up the class of its search in the globals of its module; the copy gets other globals.
    names = {**original.__globals__, "AnchorBaseBeam": search}
    explain = FunctionType(original.__code__, names, original.__name__, original.__defaults__)
    explain.__kwdefaults__ = original.__kwdefaults__

    @wraps(original)
    def outer(*args: Any, **kwargs: Any) -> Any:
        return fast.explain(*args, **kwargs)

    return type(known.name, (fast, alibis), {"_alibis": explain, "explain": outer})


@cache
def _sampler(module: ModuleType) -> type:
    return type("TabularSampler", (FastSampler, module.TabularSampler), {})


@cache
def _is_tested() -> bool:
    version = sys.modules["alibi"].__version__
    if version not in TESTED:
        logger.warning(
            "the fast explainers were not compared with alibi %s, but with %s: using alibi's own code, "
            "which takes longer",
            version,
            ", ".join(TESTED),
        )
    return version in TESTED
