"""Name the iris in each row, with a model that MLflow has saved without a signature."""

import numpy as np
from numpy.typing import NDArray

from tempo_runtime import Children, Model, ModelFramework, PipelineModels, pipeline, predictmethod

classifier = Model(
    "iris-mlflow", platform=ModelFramework.MLFlow, local_folder="artifacts/iris-mlflow"
)
NAMES = ("setosa", "versicolor", "virginica")


@pipeline("iris", models=PipelineModels(classifier=classifier), local_folder="artifacts/iris")
class Iris:
    models: Children

    @predictmethod
    def names(self, rows: NDArray[np.float64]) -> list[str]:
        return [NAMES[number] for number in self.models.classifier(rows)]
