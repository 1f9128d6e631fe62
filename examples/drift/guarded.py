"""A drift detector in front of a classifier: rows from elsewhere get no class, and a warning."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tempo_runtime import Children, Model, ModelFramework, PipelineModels, pipeline, predictmethod

detector = Model("drift", platform=ModelFramework.AlibiDetect, local_folder="artifacts/drift")
classifier = Model("flowers", platform=ModelFramework.SKLearn, local_folder="artifacts/flowers")


class Answer(NamedTuple):
    classes: NDArray[np.int64]
    drifted: bool
    p_values: NDArray[np.float32]  # of each column: how likely such rows are without drift


@pipeline(
    "watched-flowers",
    models=PipelineModels(detector=detector, classifier=classifier),
    local_folder="artifacts/watched-flowers",
)
class WatchedFlowers:
    models: Children

    @predictmethod
    def classify(self, rows: NDArray[np.float64]) -> Answer:
        found = self.models.detector(rows)
        drifted = bool(found["is_drift"][0])
        classes = np.zeros(0, np.int64) if drifted else self.models.classifier(rows)
        return Answer(classes, drifted, found["p_val"][0])
