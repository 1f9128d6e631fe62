"""PartialDependence: the probability of each species if all rows had a certain petal width, and so on.

Like ALE it is not fitted. It draws random numbers only if `n_ice` is a number, when it plots.
"""

from alibi.explainers import PartialDependence

from tempo_runtime import PipelineModels, pipeline, predictmethod

from . import store
from .models import FEATURES, SPECIES, Rows, iris


@pipeline(
    "iris-partial-dependence",
    local_folder=store.folder("partial-dependence"),
    models=PipelineModels(iris=iris),
)
class IrisPartialDependence:
    def __init__(self):
        self.explainer = store.read(self)

    @predictmethod
    def explain(self, rows: Rows, parameters: dict | None = None) -> str:
        self.explainer.predictor = self.models.iris
        return self.explainer.explain(rows, **(parameters or {})).to_json()


def train(iris, **_):
    explainer = PartialDependence(iris.predict_proba, FEATURES, target_names=SPECIES)
    explainer.predictor = None  # in production the model is a child
    return store.save(IrisPartialDependence, explainer, output="predict_proba")
