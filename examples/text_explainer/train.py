"""Train the model, and make the explainer."""

from pathlib import Path

import joblib
import spacy
from alibi.explainers import AnchorText
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

PRAISE = [
    "a good film with a warm heart",
    "good actors and a lovely story",
    "lovely music and a great cast",
    "a great story that I would see again",
    "warm and funny from start to end",
    "the best film of the year",
]
BLAME = [
    "a bad film with a cold heart",
    "bad actors and a boring story",
    "awful music and a weak cast",
    "a weak story that I would not see again",
    "boring and cold from start to end",
    "the worst film of the year",
]


def train() -> AnchorText:
    """Train and write the model; return an explainer that does not hold it."""
    model = make_pipeline(CountVectorizer(), LogisticRegression(C=10.0))
    model.fit(PRAISE + BLAME, [1] * len(PRAISE) + [0] * len(BLAME))
    Path("artifacts/sentiment").mkdir(parents=True, exist_ok=True)
    joblib.dump(model, "artifacts/sentiment/model.joblib")

    # Words are left out at random, for which spaCy's tokenizer is enough: nothing is downloaded.
    tokenizer = spacy.blank("en")
    explainer = AnchorText(model.predict, sampling_strategy="unknown", nlp=tokenizer, seed=0)
    explainer.predictor = None  # served, it calls the model
    tokenizer.vocab.lookups.remove_table("lexeme_prob")  # 39 MB that another strategy needs
    return explainer
