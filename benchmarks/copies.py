"""The copy of an explainer that each request gets: its time and memory, beside the explanation's.

The explainers of `examples/explainers`, and an `AnchorTabular` of the same flowers, with the model in the
same process. Memory is what tracemalloc sees: Python's objects and numpy's arrays.
"""

from __future__ import annotations

import importlib
import os
import sys
import timeit
import tracemalloc
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.harness.bench import Bench
from benchmarks.harness.turns import ratio
from tempo_runtime.execution.explain.isolation import isolated

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
REPEATS = 2000


def run(bench: Bench) -> None:
    table: list[tuple[str, ...]] = []
    repeats = 10 if bench.scale.smoke else REPEATS
    variables = {"EXPLAINERS_ARTIFACTS": str(bench.folder)}
    bench.stack.enter_context(patch.dict(os.environ, variables))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for explainer, explain in explainers(bench):
            explain(isolated(explainer))  # the first fills the caches
            isolate = partial(isolated, explainer)
            seconds = timeit.repeat(isolate, number=repeats, repeat=min(5, bench.scale.rounds))
            copies = [taken / repeats for taken in seconds]
            whole = [timeit.timeit(partial(explain, isolate()), number=1) for _ in copies]
            peak = most(partial(explain, isolate()))
            name = type(explainer).__name__
            cells = (f"{min(copies) * 1e6:.0f}", f"{held(isolate):,}", f"{peak / 1000:,.0f}")
            table.append((name, *cells))
            bench.report.claim("a copy / its explanation, time", name, ratio(copies, whole))
    heads = ("explainer", "µs a copy", "bytes a copy", "kB at most while it explains")
    bench.report.table(heads, table)


def explainers(bench: Bench) -> list[tuple[Any, Callable[[Any], Any]]]:
    """Fitted explainers, each with what asks it for one explanation."""
    from alibi.explainers import AnchorTabular

    sys.path.insert(0, str(EXAMPLES))
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
    if bench.scale.smoke:
        asked = {name: asked[name] for name in ("ale", "permutation_importance")}
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
