"""PermutationImportance: how much worse the forest gets when one feature's values are shuffled.

It shuffles with numpy's random numbers and has no seed of its own: ask with `tempo_seed`, or set
`seed`, for an answer that can be repeated.
"""

from typing import Any

import numpy as np
from alibi.explainers import PermutationImportance
from numpy.typing import NDArray

from tempo_runtime import Children, PipelineModels, pipeline, predictmethod

from . import store
from .models import FEATURES, Rows, iris


@pipeline(
    "iris-permutation-importance",
    local_folder=store.folder("permutation-importance"),
    models=PipelineModels(iris=iris),
)
class IrisPermutationImportance:
    models: Children

    def __init__(self) -> None:
        self.explainer = store.read(self)

    @predictmethod
    def explain(
        self, rows: Rows, species: NDArray[np.int64], parameters: dict[str, Any] | None = None
    ) -> str:
        self.explainer.predictor = self.models.iris
        text: str = self.explainer.explain(rows, species, **(parameters or {})).to_json()
        return text


def train(**_: Any) -> str:
    explainer = PermutationImportance(None, score_fns=["accuracy"], feature_names=FEATURES)
    return store.save(IrisPermutationImportance, explainer)
