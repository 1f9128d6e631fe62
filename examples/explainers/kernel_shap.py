"""KernelShap: what each feature of a row adds to, or takes from, the probability of each species."""

from typing import Any

from alibi.explainers import KernelShap

from tempo_runtime import Children, PipelineModels, pipeline, predictmethod

from . import store
from .models import FEATURES, Rows, iris, iris_rows


@pipeline(
    "iris-kernel-shap", local_folder=store.folder("kernel-shap"), models=PipelineModels(iris=iris)
)
class IrisKernelShap:
    models: Children

    def __init__(self) -> None:
        self.explainer = store.read(self)

    @predictmethod
    def explain(self, rows: Rows, parameters: dict[str, Any] | None = None) -> str:
        set_predictor(self.explainer, self.models.iris)
        # Otherwise shap draws a progress bar in the server's log.
        text: str = self.explainer.explain(rows, silent=True, **(parameters or {})).to_json()
        return text


def set_predictor(explainer: Any, predictor: Any) -> None:
    """Set the predictor of both alibi's and shap's explainer.

    `reset_predictor` does so as well, but creates shap's explainer again, with a call for all background
    rows.
    """
    explainer.predictor = explainer._explainer.model.f = predictor


def train(iris: Any, **_: Any) -> str:
    rows, _ = iris_rows()
    explainer = KernelShap(iris.predict_proba, feature_names=FEATURES, seed=0)
    explainer.fit(rows, summarise_background=True, n_background_samples=10)
    set_predictor(explainer, None)  # in production the model is a child
    return store.save(IrisKernelShap, explainer, output="predict_proba")
