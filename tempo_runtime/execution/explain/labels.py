"""The labels that a predictor gives, or that its probabilities are for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tempo_runtime.errors import PipelineFailed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[Any] | Sequence[str]


class Labels:
    """A predictor of labels, made of one of labels or of probabilities.

    alibi asks with an example which of them it is, whenever a predictor is set; here its first answer
    shows.

    Args:
        predictor: Gives labels, shape (n,), or probabilities, shape (n, classes), for n rows.
    """

    def __init__(self, predictor: Callable[[Any], Any]) -> None:
        self.predictor = predictor

    def __call__(self, rows: Rows) -> NDArray[Any]:
        """Return the labels of some rows: (n,)."""
        answer = self.predictor(rows)
        if not isinstance(answer, np.ndarray):
            raise PipelineFailed(
                f"the explainer's predictor gave a {type(answer).__name__}; it gives a numpy array"
            )
        if max(answer.shape[1:], default=1) == 1:
            return answer
        return np.argmax(answer, axis=1)  # type: ignore[no-any-return]


def labels_of(predictor: Callable[[Any], Any], rows: Rows) -> NDArray[Any]:
    """One label for each row.

    Raises:
        PipelineFailed: If the predictor gives anything else.
    """
    labels: NDArray[Any] = predictor(rows)
    if np.shape(labels) != (len(rows),):
        raise PipelineFailed(
            f"the explainer's predictor was given {len(rows)} rows, and gave an answer of shape "
            f"{np.shape(labels)}; it gives one label for each"
        )
    return labels
