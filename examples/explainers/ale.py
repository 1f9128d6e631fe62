"""ALE: how the probability of each species changes with each feature, over the rows that are sent.

It is not fitted and draws no random numbers: what is saved is how it is set up.
"""

from typing import Any

from alibi.explainers import ALE

from tempo_runtime import Children, PipelineModels, pipeline, predictmethod

from . import store
from .models import FEATURES, SPECIES, Rows, iris


@pipeline("iris-ale", local_folder=store.folder("ale"), models=PipelineModels(iris=iris))
class IrisAle:
    models: Children

    def __init__(self) -> None:
        self.explainer = store.read(self)

    @predictmethod
    def explain(self, rows: Rows, parameters: dict[str, Any] | None = None) -> str:
        self.explainer.predictor = self.models.iris
        text: str = self.explainer.explain(rows, **(parameters or {})).to_json()
        return text


def train(**_: Any) -> str:
    explainer = ALE(None, feature_names=FEATURES, target_names=SPECIES)
    return store.save(IrisAle, explainer, output="predict_proba")
