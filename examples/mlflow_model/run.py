"""Train a model and save it with MLflow, deploy the pipeline and the model, and call the pipeline."""

import shutil

import mlflow
from iris import Iris, classifier
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

import tempo_runtime as tempo


def train() -> None:
    """Train on all rows, and save without a signature."""
    model = LogisticRegression(max_iter=1000).fit(*load_iris(return_X_y=True))
    shutil.rmtree(classifier.details.local_folder, ignore_errors=True)
    mlflow.sklearn.save_model(model, classifier.details.local_folder)


if __name__ == "__main__":
    train()
    tempo.save(Iris)
    with tempo.deploy_local(Iris) as remote:
        print(*remote.predict([[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]]))
