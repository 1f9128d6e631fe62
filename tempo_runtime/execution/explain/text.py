"""alibi's `AnchorText` with the same explanations and fewer calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tempo_runtime.execution.explain.labels import Labels, labels_of
from tempo_runtime.execution.explain.search import Draw, FastSearch

if TYPE_CHECKING:
    from numpy.typing import NDArray


class FastAnchorText:
    """A mixin that precedes alibi's `AnchorText` in the bases of a class."""

    mab: Any
    _alibis: Any  # alibi's `explain` with the fast search

    def explain(self, *args: Any, **kwargs: Any) -> Any:
        """Explain one text, as alibi does."""
        try:
            return self._alibis(*args, **kwargs)
        finally:
            self.mab = None  # the state of a search is large

    def _build_explanation(self, *args: Any) -> Any:
        return self.mab.marked(super()._build_explanation(*args))  # type: ignore[misc]

    def _transform_predictor(self, predictor: Any) -> Labels:
        return Labels(predictor)


class TextSearch(FastSearch):
    """A mixin that precedes alibi's `AnchorBaseBeam` in the bases of a class."""

    def __init__(self, samplers: list[Any], **options: Any) -> None:
        super().__init__(samplers=[TextSampler(samplers[0].__self__)], **options)  # type: ignore[call-arg]


class TextSampler:
    """Draws the texts of an `AnchorText`.

    Args:
        explainer: The `AnchorText`.
    """

    def __init__(self, explainer: Any) -> None:
        self._explainer = explainer
        self.n_covered_ex = explainer.n_covered_ex

    def __call__(self, anchor: tuple[int, tuple[int, ...]], num_samples: int, **_: Any) -> Any:
        """Return the coverage sample, the only sample that alibi's search draws itself."""
        return [self.draw(anchor[1], num_samples).holds]

    def draw(self, anchor: tuple[int, ...], count: int) -> Draw:
        """Draw texts that keep the words of an anchor."""
        texts, kept = self._explainer.perturbation(anchor, count)
        return Draw(texts, kept == 1)

    def compare_labels(self, texts: NDArray[Any]) -> NDArray[np.bool_]:
        """Return whether each text has the label of the text to explain."""
        labels = labels_of(self._explainer.predictor, texts.tolist())
        same: NDArray[np.bool_] = labels == self._explainer.instance_label
        return same

    def names(self, predicates: list[int]) -> list[str]:
        """Return the words of an anchor."""
        return [str(self._explainer.perturbation.words[place]) for place in predicates]
