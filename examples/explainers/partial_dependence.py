"""PartialDependence: the probability of each species if all rows had a certain petal width, and so on.

Like ALE it is not fitted. It draws random numbers only if `n_ice` is a number, when it plots.
"""

from typing import Any

from alibi.explainers import PartialDependence

from tempo_runtime import Children, PipelineModels, pipeline, predictmethod

from . import store
from .models import FEATURES, SPECIES, Rows, iris


@pipeline(
    "iris-partial-dependence",
    local_folder=store.folder("partial-dependence"),
    models=PipelineModels(iris=iris),
)
class IrisPartialDependence:
    models: Children

    def __init__(self) -> None:
        self.explainer = store.read(self)

    @predictmethod
    def explain(self, rows: Rows, parameters: dict[str, Any] | None = None) -> str:
        self.explainer.predictor = self.models.iris
        text: str = self.explainer.explain(rows, **(parameters or {})).to_json()
        return text


def train(iris: Any, **_: Any) -> str:
    explainer = PartialDependence(iris.predict_proba, FEATURES, target_names=SPECIES)
    explainer.predictor = None  # in production the model is a child
    return store.save(IrisPartialDependence, explainer, output="predict_proba")
