"""ALE: how the probability of each species changes with each feature, over the rows that are sent.

It is not fitted and draws no random numbers: what is saved is how it is set up.
"""

from alibi.explainers import ALE

from tempo_runtime import PipelineModels, pipeline, predictmethod

from . import store
from .models import FEATURES, SPECIES, Rows, iris


@pipeline("iris-ale", local_folder=store.folder("ale"), models=PipelineModels(iris=iris))
class IrisAle:
    def __init__(self):
        self.explainer = store.read(self)

    @predictmethod
    def explain(self, rows: Rows, parameters: dict | None = None) -> str:
        self.explainer.predictor = self.models.iris
        return self.explainer.explain(rows, **(parameters or {})).to_json()


def train(**_):
    explainer = ALE(None, feature_names=FEATURES, target_names=SPECIES)
    return store.save(IrisAle, explainer, output="predict_proba")
