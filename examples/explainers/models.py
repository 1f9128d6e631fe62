"""The models that are explained, and what they learned from."""

import os
from typing import Any, Literal

import joblib
import numpy as np
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from tempo_runtime import Model, ModelFramework

from . import store

Rows = np.ndarray[tuple[int, Literal[4]], np.dtype[np.float64]]  # others are refused with 422
FEATURES = ["sepal length", "sepal width", "petal length", "petal width"]
SPECIES = ["setosa", "versicolor", "virginica"]
REVIEWS = [
    ("a good film with a warm heart", 1),
    ("good actors and a lovely story", 1),
    ("lovely music and a great cast", 1),
    ("a great story that I would see again", 1),
    ("warm and funny from start to end", 1),
    ("the best film of the year", 1),
    ("a bad film with a cold heart", 0),
    ("bad actors and a boring story", 0),
    ("awful music and a weak cast", 0),
    ("a weak story that I would not see again", 0),
    ("boring and cold from start to end", 0),
    ("the worst film of the year", 0),
]

iris = Model("iris", platform=ModelFramework.SKLearn, local_folder=store.folder("iris"))
slopes = Model(
    "iris-slopes", platform=ModelFramework.SKLearn, local_folder=store.folder("iris-slopes")
)
reviews = Model("reviews", platform=ModelFramework.SKLearn, local_folder=store.folder("reviews"))


def iris_rows() -> Any:
    """Measurements of 150 flowers, and their species."""
    return load_iris(return_X_y=True)


def train_iris() -> Any:
    """A forest that tells the species."""
    return _save(iris, RandomForestClassifier(20, random_state=0).fit(*iris_rows()))


def train_slopes() -> Any:
    """A regression that tells the species; other than a forest's, its probabilities have slopes."""
    return _save(slopes, LogisticRegression(max_iter=500).fit(*iris_rows()))


def train_reviews() -> Any:
    """A bag of words that tells praise from blame."""
    texts, praised = zip(*REVIEWS)
    words = make_pipeline(CountVectorizer(), LogisticRegression(C=10.0))
    return _save(reviews, words.fit(texts, praised))


def _save(model: Model, trained: Any) -> Any:
    folder = str(model.details.local_folder)
    os.makedirs(folder, exist_ok=True)
    joblib.dump(trained, os.path.join(folder, "model.joblib"))
    store.write_settings(
        folder,
        name=model.details.name,
        implementation="mlserver_sklearn.SKLearnModel",
        parameters={"uri": "./model.joblib"},
    )
    return trained
