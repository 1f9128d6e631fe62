"""Which of alibi's explainers can explain the same in less time, and the classes that do.

Nothing of alibi is changed or copied: an explainer of its own, and its sampler and its search, get
classes derived from alibi's, in which what costs most is done in other ways. Every number drawn and
every explanation stays what alibi gives.
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

# The versions whose explanations were compared; another may draw its numbers in another order.
TESTED = ("0.9.4", "0.9.6")  # 0.9.5 wants a pydantic that MLServer does not go with
_ANCHORS = "alibi.explainers.anchors"
logger = logging.getLogger(__name__)


def is_fast(explainer: Any) -> bool:
    """Return whether there is a fast class for an explainer."""
    module = sys.modules.get(type(explainer).__module__)
    # A class derived from alibi's, or a sampler of the author's own, may draw in other ways.
    if module is None or module.__name__ not in _CLASSES:
        return False
    known = _CLASSES[module.__name__]
    if type(explainer).__name__ != known.name:
        return False
    return all(map(_is_alibis, known.samplers(explainer))) and _is_tested()


def of_fast_class(explainer: Any) -> Any:
    """Return an explainer of the fast class, which has all that an explainer has.

    Args:
        explainer: One that has a fast class; it is not used any more.
    """
    module = sys.modules[type(explainer).__module__]
    made = of_class(_class(module), explainer)
    if isinstance(made, FastAnchorTabular):
        sampler = _sampler(module)
        made.samplers = [of_class(sampler, each) for each in made.samplers]
    return made


class _Known(NamedTuple):
    """One of alibi's explainers, and what is put before it and its search."""

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
    kind = type(sampler)
    return kind.__module__.startswith(f"{_ANCHORS}.") and kind.__name__ in _SAMPLERS


@cache
def _class(module: ModuleType) -> type:
    known = _CLASSES[module.__name__]
    own: Any = known.explainer
    alibis = getattr(module, known.name)
    search = type("AnchorBaseBeam", (known.search, module.AnchorBaseBeam), {})
    theirs = alibis.explain
    # It names the search it makes as a global of its module; this one finds another there.
    names = {**theirs.__globals__, "AnchorBaseBeam": search}
    explain = FunctionType(theirs.__code__, names, theirs.__name__, theirs.__defaults__)
    explain.__kwdefaults__ = theirs.__kwdefaults__

    @wraps(theirs)
    def outer(*args: Any, **kwargs: Any) -> Any:
        return own.explain(*args, **kwargs)

    return type(known.name, (own, alibis), {"_alibis": explain, "explain": outer})


@cache
def _sampler(module: ModuleType) -> type:
    return type("TabularSampler", (FastSampler, module.TabularSampler), {})


@cache
def _is_tested() -> bool:
    version = sys.modules["alibi"].__version__
    if version not in TESTED:
        logger.warning(
            "alibi %s is newer, or older, than those whose explanations were compared (%s): its own "
            "code explains, and takes longer",
            version,
            ", ".join(TESTED),
        )
    return version in TESTED
