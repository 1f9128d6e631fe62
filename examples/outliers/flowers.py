"""An outlier detector in front of a classifier: rows unlike those of training get no class."""

import numpy as np
from numpy.typing import NDArray

from tempo_runtime import Children, Model, ModelFramework, PipelineModels, pipeline, predictmethod

detector = Model("outliers", platform=ModelFramework.SKLearn, local_folder="artifacts/outliers")
classifier = Model("flowers", platform=ModelFramework.SKLearn, local_folder="artifacts/flowers")
NAMES = ("setosa", "versicolor", "virginica")
OUTLIER = -1  # as scikit-learn's detectors answer


@pipeline(
    "guarded-flowers",
    models=PipelineModels(detector=detector, classifier=classifier),
    local_folder="artifacts/guarded-flowers",
)
class GuardedFlowers:
    models: Children

    @predictmethod
    def name(self, rows: NDArray[np.float64]) -> list[str | None]:
        names: list[str | None] = [None] * len(rows)
        usual = np.flatnonzero(self.models.detector(rows) != OUTLIER)
        if len(usual):  # the classifier is asked about these rows only
            for row, number in zip(usual, self.models.classifier(rows[usual])):
                names[row] = NAMES[number]
        return names
