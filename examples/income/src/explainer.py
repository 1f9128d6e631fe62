"""The anchor explainer: rules that are enough for the forest's prediction to stay as it is."""

import os

import dill
from alibi.explainers import AnchorTabular
from sklearn.pipeline import Pipeline

from src.constants import EXPLAINER_FOLDER
from src.data import AdultData


def train_explainer(artifacts_folder: str, data: AdultData, model: Pipeline) -> AnchorTabular:
    """Fits the explainer and writes it, without the model it explains, to its artifact."""
    explainer = AnchorTabular(
        lambda rows: model.predict(rows),
        data.feature_names,
        categorical_names=data.category_map,
        seed=1,
    )
    explainer.fit(data.X_train, disc_perc=(25, 50, 75))

    # In production the model is a child that the pipeline calls: it stays out of this file.
    explainer.predictor = None
    explainer.samplers[0].predictor = None
    folder = os.path.join(artifacts_folder, EXPLAINER_FOLDER)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "explainer.dill"), "wb") as file:
        dill.dump(explainer, file)
    return explainer
