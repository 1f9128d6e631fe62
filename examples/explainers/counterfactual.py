"""CounterfactualProto: the nearest flower that the model takes for another species.

It follows the slope of the probabilities, so it explains a regression here: a forest has none.

It is created again for each request (0.1 s). alibi keeps its search in the variables of a TensorFlow 1
session, where neither a copy nor a thread of one's own separates two requests, and later requests
would start from what earlier ones left. One session's operations run in one thread here: it reads and
writes the same variables side by side, and what came out would depend on chance.

TensorFlow below 2.15 is needed, which goes with MLServer 1.6 and not with 1.7, and the whole process
is put into its graph mode: serve it in a process of its own.
"""

from typing import Any

import tensorflow as tf
from alibi.explainers import CounterfactualProto

from tempo_runtime import Children, PipelineModels, pipeline, predictmethod

from . import store
from .models import Rows, iris_rows, slopes


@pipeline(
    "iris-counterfactual",
    local_folder=store.folder("counterfactual"),
    models=PipelineModels(slopes=slopes),
)
class IrisCounterfactual:
    models: Children

    def __init__(self) -> None:
        tf.compat.v1.disable_v2_behavior()
        self.known = store.read(self)

    @predictmethod
    def explain(self, row: Rows, parameters: dict[str, Any] | None = None) -> str:
        graph = tf.Graph()
        one_thread = tf.compat.v1.ConfigProto(inter_op_parallelism_threads=-1)
        with graph.as_default(), tf.compat.v1.Session(graph=graph, config=one_thread) as session:
            explainer = CounterfactualProto(
                self.models.slopes,
                shape=(1, self.known.shape[1]),
                feature_range=(self.known.min(axis=0)[None], self.known.max(axis=0)[None]),
                use_kdtree=True,
                theta=10.0,
                max_iterations=100,
                c_steps=2,
                sess=session,
            )
            explainer.fit(self.known)
            text: str = explainer.explain(row, **(parameters or {})).to_json()
            return text


def train(**_: Any) -> str:
    rows, _ = iris_rows()
    return store.save(IrisCounterfactual, rows, output="predict_proba")
