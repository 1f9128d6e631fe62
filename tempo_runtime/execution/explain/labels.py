"""Get labels from a predictor that returns labels or probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tempo_runtime.errors import PipelineFailed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[Any] | Sequence[str]


class Labels:
    """A predictor of labels that wraps a predictor of labels or of probabilities.

    alibi calls a predictor with an example to distinguish the two, whenever it is set. Here its first
    answer shows which one it is.

    Args:
        predictor: Returns labels, shape (n,), or probabilities, shape (n, classes), for n rows.
    """

    def __init__(self, predictor: Callable[[Any], Any]) -> None:
        self.predictor = predictor

    def __call__(self, rows: Rows) -> NDArray[Any]:
        """Return the labels of rows, shape (n,)."""
        answer = self.predictor(rows)
        if not isinstance(answer, np.ndarray):
            raise PipelineFailed(
                f"the explainer's predictor returned a {type(answer).__name__}; it must return a numpy "
                "array"
            )
        if max(answer.shape[1:], default=1) == 1:
            return answer
        return np.argmax(answer, axis=1)  # type: ignore[no-any-return]


def labels_of(predictor: Callable[[Any], Any], rows: Rows) -> NDArray[Any]:
    """Return one label for each row.

    Raises:
        PipelineFailed: If the predictor returns anything else.
    """
    labels: NDArray[Any] = predictor(rows)
    if np.shape(labels) != (len(rows),):
        raise PipelineFailed(
            f"the explainer's predictor received {len(rows)} rows, and returned an answer of shape "
            f"{np.shape(labels)}; it must return one label for each row"
        )
    return labels
