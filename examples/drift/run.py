"""Train both models, deploy them and the pipeline on this machine, and send usual and odd rows."""

from pathlib import Path

import joblib
from alibi_detect.cd import KSDrift
from alibi_detect.saving import save_detector
from guarded import WatchedFlowers, classifier, detector
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

import tempo_runtime as tempo


def train():
    """Train both models on every second row, and return the others."""
    rows, labels = load_iris(return_X_y=True)
    save_detector(KSDrift(rows[::2], p_val=0.05), detector.details.local_folder)
    folder = Path(classifier.details.local_folder)
    folder.mkdir(parents=True, exist_ok=True)
    model = LogisticRegression(max_iter=1000).fit(rows[::2], labels[::2])
    joblib.dump(model, folder / "model.joblib")
    return rows[1::2]


if __name__ == "__main__":
    rows = train()
    tempo.save(WatchedFlowers)
    with tempo.deploy_local(WatchedFlowers) as remote:
        for name, batch in {"centimetres": rows, "inches": rows / 2.54}.items():
            answer = remote.predict(batch)
            print(f"{name}: drift {answer.drifted}, {len(answer.classes)} classes")
