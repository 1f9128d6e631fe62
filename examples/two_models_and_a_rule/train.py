"""Train both models on the measurements of cells that come with scikit-learn."""

from pathlib import Path

import joblib
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier


def train():
    """Train and write both models; return the rows that they have not seen."""
    rows, unseen, labels, _ = train_test_split(
        *load_breast_cancer(return_X_y=True), test_size=0.3, random_state=0
    )
    for folder in ("first-look", "second-look"):
        Path("artifacts", folder).mkdir(parents=True, exist_ok=True)
    first = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, labels)
    joblib.dump(first, "artifacts/first-look/model.joblib")
    second = XGBClassifier(n_estimators=50, n_jobs=1, random_state=0).fit(rows, labels)
    second.save_model("artifacts/second-look/model.json")
    return unseen
