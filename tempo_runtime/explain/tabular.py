"""alibi's `AnchorTabular`, explaining the same in less time.

Nothing of alibi is changed or copied: an explainer of its own, and its sampler and its search, get
classes derived from alibi's, in which what costs most is done in other ways. Every number drawn and
every explanation stays what alibi gives.
"""

from __future__ import annotations

import inspect
import logging
import sys
import weakref
from collections.abc import Callable
from functools import cache, wraps
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from tempo_runtime.errors import PipelineFailed
from tempo_runtime.explain.copies import of_class
from tempo_runtime.explain.sampling import FastSampler
from tempo_runtime.explain.search import FastSearch

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The versions whose explanations were compared; another may draw its numbers in another order.
TESTED = ("0.9.4", "0.9.6")  # 0.9.5 wants a pydantic that MLServer does not go with
_MODULE = "alibi.explainers.anchors.anchor_tabular"
logger = logging.getLogger(__name__)


def is_fast(explainer: Any) -> bool:
    """Whether there is a fast class for an explainer."""
    tabular = sys.modules.get(_MODULE)
    if tabular is None or type(explainer) is not tabular.AnchorTabular:
        return False
    # A sampler of the author's own may draw in other ways.
    plain = [type(sampler) for sampler in explainer.samplers] == [tabular.TabularSampler]
    return plain and _is_tested()


def of_fast_class(explainer: Any) -> Any:
    """An explainer of the fast class, which has all that an explainer has.

    Args:
        explainer: A fitted `AnchorTabular`, which is not used any more.
    """
    kind, sampling = _classes(sys.modules[_MODULE])
    made = of_class(kind, explainer)
    made.samplers = [of_class(sampling, sampler) for sampler in explainer.samplers]
    return made


class FastAnchorTabular:
    """Put before alibi's `AnchorTabular` among the bases of a class."""

    samplers: list[FastSampler]
    ohe: bool
    mab: Any
    _alibis: Any  # its `explain`, with the search that is fast

    def explain(self, X: NDArray[Any], *args: Any, **kwargs: Any) -> Any:  # noqa: N803
        """Explains one row, as alibi does."""
        sampler = self.samplers[0]
        sampler.names, sampler.incomplete = weakref.WeakMethod(self._names), None
        if not self.ohe and X.size == sampler.train_data.shape[1]:
            given = inspect.signature(self._alibis).bind(X, *args, **kwargs)
            given.apply_defaults()
            asked = given.arguments
            sampler.look_ahead(X, asked["coverage_samples"], asked["min_samples_start"])
        try:
            explanation = self._alibis(X, *args, **kwargs)
        finally:
            # What a search leaves behind is large, and a predictor may refer to its pipeline in a
            # circle, which Python finds only now and then.
            self.mab = None
            sampler.forget()
        if sampler.incomplete is not None:
            explanation.meta["incomplete"] = sampler.incomplete
        return explanation

    def _names(self, predicates: list[int]) -> list[str]:
        found: dict[str, Any] = {"feature": list(predicates)}
        self.add_names_to_exp(found)  # type: ignore[attr-defined]
        names: list[str] = found["names"]
        return names

    def _transform_predictor(self, predictor: Callable[..., Any]) -> Callable[..., Any]:
        """What alibi asks the predictor with a row of zeros is seen from its first answer."""
        if self.ohe:
            return super()._transform_predictor(predictor)  # type: ignore[misc,no-any-return]
        return _Labels(predictor)


class _Labels:
    """A predictor of labels, made of one of labels or of probabilities."""

    def __init__(self, predictor: Callable[..., Any]) -> None:
        self.predictor = predictor

    def __call__(self, rows: NDArray[Any]) -> NDArray[Any]:
        answer = self.predictor(rows)
        if not isinstance(answer, np.ndarray):
            raise PipelineFailed(
                f"the explainer's predictor gave a {type(answer).__name__}; it gives a numpy array"
            )
        if max(answer.shape[1:], default=1) == 1:
            return answer
        return np.argmax(answer, axis=1)  # type: ignore[no-any-return]


@cache
def _classes(tabular: ModuleType) -> tuple[type, type]:
    theirs = tabular.AnchorTabular.explain
    search = type("AnchorBaseBeam", (FastSearch, tabular.AnchorBaseBeam), {})
    # It names the search it makes as a global of its module; this one finds another there.
    names = {**theirs.__globals__, "AnchorBaseBeam": search}
    own = FunctionType(theirs.__code__, names, theirs.__name__, theirs.__defaults__)
    own.__kwdefaults__ = theirs.__kwdefaults__
    parts = {"_alibis": own, "explain": wraps(theirs)(_plain(FastAnchorTabular.explain))}
    explainer = type("AnchorTabular", (FastAnchorTabular, tabular.AnchorTabular), parts)
    return explainer, type("TabularSampler", (FastSampler, tabular.TabularSampler), {})


def _plain(method: Callable[..., Any]) -> Callable[..., Any]:
    def explain(*args: Any, **kwargs: Any) -> Any:
        return method(*args, **kwargs)

    return explain


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
