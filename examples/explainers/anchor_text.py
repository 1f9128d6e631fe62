"""AnchorText: words that are enough for a review to stay praise, or blame, whatever else it says.

Words are left out at random ("unknown"), which needs spaCy's tokenizer only. To put similar words in
their place ("similarity") takes a spaCy model with word vectors and a tagger, such as
`en_core_web_md`: with a blank one nothing is ever replaced, and every anchor comes out empty.
"""

from typing import Any

import spacy
from alibi.explainers import AnchorText

from tempo_runtime import Children, PipelineModels, pipeline, predictmethod

from . import store
from .models import reviews


@pipeline(
    "review-anchors",
    local_folder=store.folder("anchor-text"),
    models=PipelineModels(reviews=reviews),
)
class ReviewAnchors:
    models: Children

    def __init__(self) -> None:
        self.explainer = store.read(self)

    @predictmethod
    def explain(self, text: str, parameters: dict[str, Any] | None = None) -> str:
        self.explainer.predictor = self.models.reviews
        anchors: str = self.explainer.explain(text, **(parameters or {})).to_json()
        return anchors


def train(reviews: Any, **_: Any) -> str:
    tokenizer = spacy.blank("en")
    explainer = AnchorText(reviews.predict, sampling_strategy="unknown", nlp=tokenizer, seed=0)
    explainer.predictor = None  # in production the model is a child
    # A table of a million words that alibi adds for "similarity": 39 MB.
    tokenizer.vocab.lookups.remove_table("lexeme_prob")
    return store.save(ReviewAnchors, explainer)
