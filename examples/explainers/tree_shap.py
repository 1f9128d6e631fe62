"""TreeShap: as KernelShap, but exact, and fast, because it reads the trees of the model.

A white box: the model is not called but held by the explainer, so it is in the artifact and the
pipeline has no child. Train both together, and save again when the model changes.

The type of `rows` is more than a courtesy to clients: given fewer columns than the trees know, shap
reads and writes beyond its memory, which can end the whole server.
"""

from typing import Any

from alibi.explainers import TreeShap

from tempo_runtime import model, predictmethod

from . import store
from .models import FEATURES, Rows


@model("iris-tree-shap", local_folder=store.folder("tree-shap"))
class IrisTreeShap:
    def __init__(self) -> None:
        self.explainer = store.read(self)

    @predictmethod
    def explain(self, rows: Rows, parameters: dict[str, Any] | None = None) -> str:
        text: str = self.explainer.explain(rows, **(parameters or {})).to_json()
        return text


def train(iris: Any, **_: Any) -> str:
    explainer = TreeShap(iris, feature_names=FEATURES)
    explainer.fit()
    return store.save(IrisTreeShap, explainer)
