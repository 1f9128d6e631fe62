"""Train both models, deploy them and the pipeline on this machine, and ask about two flowers."""

from pathlib import Path

import joblib
from sklearn.datasets import load_iris
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LogisticRegression

import tempo_runtime as tempo
from flowers import GuardedFlowers, classifier, detector


def train() -> None:
    """Train both models on all rows."""
    rows, labels = load_iris(return_X_y=True)
    forest = IsolationForest(contamination=0.01, random_state=0).fit(rows)
    for model, trained in (
        (detector, forest),
        (classifier, LogisticRegression(max_iter=1000).fit(rows, labels)),
    ):
        folder = Path(model.details.local_folder)
        folder.mkdir(parents=True, exist_ok=True)
        joblib.dump(trained, folder / "model.joblib")


if __name__ == "__main__":
    train()
    tempo.save(GuardedFlowers)
    with tempo.deploy_local(GuardedFlowers) as remote:
        flowers = {"a flower": [5.1, 3.5, 1.4, 0.2], "a sunflower": [30.0, 25.0, 20.0, 9.0]}
        for flower, name in zip(flowers, remote.predict([*flowers.values()])):
            print(f"{flower}: {name or 'unlike any that the model has seen'}")
