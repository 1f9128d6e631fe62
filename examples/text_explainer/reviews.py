"""Which words of a film's review decide: an anchor explainer over a model that is served elsewhere."""

from typing import TypedDict

from alibi.explainers import AnchorText

from tempo_runtime import Children, Model, ModelFramework, PipelineModels, pipeline, predictmethod

sentiment = Model("sentiment", platform=ModelFramework.SKLearn, local_folder="artifacts/sentiment")


class Explanation(TypedDict):
    """Words that keep the answer as it is, whatever words are left out beside them."""

    review: str
    because_of: list[str]
    precision: float


@pipeline(
    "review-words",
    models=PipelineModels(sentiment=sentiment),
    local_folder="artifacts/review-words",
)
class ReviewWords:
    models: Children

    def __init__(self, explainer: AnchorText) -> None:
        self.explainer = explainer

    @predictmethod
    def explain(self, text: str, threshold: float = 0.95) -> Explanation:
        self.explainer.predictor = self.models.sentiment
        found = self.explainer.explain(text, threshold=threshold)
        return {
            "review": "praise" if found.raw["prediction"].item() else "blame",
            "because_of": found.anchor,
            "precision": float(found.precision),
        }
