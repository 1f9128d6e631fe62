"""The pipeline that the flow saves and deploys: it names the species that a model numbers."""

import numpy as np
from numpy.typing import NDArray

from tempo_runtime import Children, Model, ModelFramework, PipelineModels, pipeline, predictmethod

iris = Model("iris", platform=ModelFramework.SKLearn, local_folder="artifacts/iris")


@pipeline("flowers", models=PipelineModels(iris=iris), local_folder="artifacts/flowers")
class Flowers:
    models: Children

    def __init__(self, species: list[str]) -> None:
        self.species = species

    @predictmethod
    def name(self, rows: NDArray[np.float64]) -> list[str]:
        return [self.species[number] for number in self.models.iris(rows)]
