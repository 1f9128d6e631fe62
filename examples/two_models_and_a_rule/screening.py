"""Two models and a rule: what one model suspects, another must confirm, or a doctor decides."""

import numpy as np
from numpy.typing import NDArray

from tempo_runtime import Children, Model, ModelFramework, PipelineModels, pipeline, predictmethod

first = Model("first-look", platform=ModelFramework.SKLearn, local_folder="artifacts/first-look")
second = Model("second-look", platform=ModelFramework.XGBoost, local_folder="artifacts/second-look")
MALIGNANT = 0  # as scikit-learn's data set has it


@pipeline(
    "screening",
    models=PipelineModels(first=first, second=second),
    local_folder="artifacts/screening",
)
class Screening:
    models: Children

    @predictmethod
    def decide(self, rows: NDArray[np.float64]) -> list[str]:
        suspected = np.flatnonzero(self.models.first(rows) == MALIGNANT)
        decisions = ["benign"] * len(rows)
        if len(suspected):  # the second model is asked about these rows only
            confirmed = self.models.second(rows[suspected]) == MALIGNANT
            for row, is_confirmed in zip(suspected, confirmed):
                decisions[row] = "malignant" if is_confirmed else "a doctor decides"
        return decisions
