"""Measure the time of a request's copy of an explainer, and of the explanation.

`python benchmarks/copies.py`. The explainers of `examples/explainers`, and an `AnchorTabular` of the
same flowers, with the model in the same process. Memory is what tracemalloc sees: Python's objects and
numpy's arrays.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import tempfile
import timeit
import tracemalloc
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tempo_runtime.execution.explain.isolation import isolated

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
REPEATS, ROUNDS = 2000, 5


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable()
    table = Table("explainer", "µs a copy", "bytes a copy", "kB at most while it explains")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EXPLAINERS_ARTIFACTS"] = folder
        sys.path.insert(0, str(EXAMPLES))
        for explainer, explain in explainers():
            explain(isolated(explainer))  # the first fills the caches
            isolate = partial(isolated, explainer)
            seconds = min(timeit.repeat(isolate, number=REPEATS, repeat=ROUNDS))
            copy = held(isolate)
            peak = most(partial(explain, isolate()))
            name = type(explainer).__name__
            table.add_row(
                name, f"{seconds / REPEATS * 1e6:.0f}", f"{copy:,}", f"{peak / 1000:,.0f}"
            )
    Console().print(table)


def explainers() -> list[tuple[Any, Callable[[Any], Any]]]:
    """Fitted explainers, each with what asks it for one explanation."""
    from alibi.explainers import AnchorTabular

    models = importlib.import_module("explainers.models")
    store = importlib.import_module("explainers.store")
    trained = {"iris": models.train_iris(), "reviews": models.train_reviews()}
    rows, species = models.iris_rows()
    iris, reviews = trained["iris"], trained["reviews"]
    asked: dict[str, tuple[Any, Callable[[Any], Any]]] = {
        "anchor_text": (reviews.predict, lambda one: one.explain(models.REVIEWS[0][0])),
        "kernel_shap": (iris.predict_proba, lambda one: one.explain(rows[:1], silent=True)),
        "tree_shap": (None, lambda one: one.explain(rows[:1])),
        "ale": (iris.predict_proba, lambda one: one.explain(rows)),
        "partial_dependence": (iris.predict_proba, lambda one: one.explain(rows)),
        "permutation_importance": (iris.predict, lambda one: one.explain(rows, species)),
    }
    tabular = AnchorTabular(iris.predict, models.FEATURES, seed=0).fit(rows)
    found = [(tabular, lambda one: one.explain(rows[0]))]
    for name, (predictor, explain) in asked.items():
        module = importlib.import_module(f"explainers.{name}")
        path = Path(module.train(**trained)) / store.EXPLAINER
        explainer = importlib.import_module("dill").loads(path.read_bytes())
        if predictor is not None:
            getattr(module, "set_predictor", set_predictor)(explainer, predictor)
        found.append((explainer, explain))
    return found


def set_predictor(explainer: Any, predictor: Any) -> None:
    explainer.predictor = predictor


def held(make: Callable[[], Any]) -> int:
    """Bytes that one of what is made keeps."""
    tracemalloc.start()
    made = [make() for _ in range(100)]
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size // len(made)


def most(work: Callable[[], Any]) -> int:
    """Bytes that are in use at most."""
    tracemalloc.start()
    work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


if __name__ == "__main__":
    main()
