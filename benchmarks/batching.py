"""A random forest that several clients ask for one row each: batching, beside calls one by one.

The forest runs in the process of its pipeline, or on a separate MLServer. Both are compared with
runtimes of MLServer written by hand: one computes in threads, one calls the other server with aiohttp.
"""

from __future__ import annotations

from functools import partial

import joblib
import numpy as np
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

from benchmarks.harness.bench import Bench
from benchmarks.harness.load import random_batches
from benchmarks.harness.servers import (
    PIPELINE,
    Load,
    compare,
    model_folder,
    on_mlserver,
    start,
)
from tempo_runtime import Model, ModelFramework, PipelineModels, pipeline, save

# Rows of each request, and clients; requests of 100 rows from one client must not be slower either.
LOADS = ((1, 1), (1, 8), (1, 32), (100, 1))
THREADS, AIOHTTP = "by hand, threads", "by hand, aiohttp"
INSIDE, INSIDE_BATCHING = "in process, no batching", "in process, batching"
HTTP, HTTP_BATCHING = "HTTP, no batching", "HTTP, batching"
YARDSTICKS = {INSIDE: THREADS, INSIDE_BATCHING: THREADS, HTTP: AIOHTTP, HTTP_BATCHING: AIOHTTP}
# clients -> contender -> goal
GOALS = {8: {INSIDE_BATCHING: 1.3}, 32: {INSIDE_BATCHING: 2.0, HTTP_BATCHING: 1.5}}
P50 = 1.05  # of the p50 without batching, with one client


def run(bench: Bench) -> None:
    root = bench.folder
    forest = RandomForestClassifier(10 if bench.scale.smoke else 100, random_state=0)
    forest.fit(*load_iris(return_X_y=True))
    file = root / "forest/model.joblib"
    child = model_folder(file.parent, "mlserver_sklearn.SKLearnModel", uri=str(file))
    joblib.dump(forest, file)
    model = Model("forest", platform=ModelFramework.SKLearn, local_folder=str(child))

    @pipeline("over", models=PipelineModels(forest=model))
    def over(x: np.ndarray) -> np.ndarray:
        return over.models.forest(x)

    artifact = save(over, str(root / "over"))
    (apart,) = start(bench, {"forest": [child]}).values()
    ours = partial(model_folder, implementation=PIPELINE, uri=artifact)
    rival = "benchmarks.rivals.composition."
    inside, remote = {"transport": "in_process"}, {"url": apart.url}
    folders = {
        THREADS: model_folder(root / "threads", rival + "Threads", models=[str(file)]),
        INSIDE: ours(root / "inside", models={"forest": inside}),
        INSIDE_BATCHING: ours(
            root / "inside-batching", models={"forest": {**inside, "batching": True}}
        ),
        AIOHTTP: model_folder(
            root / "aiohttp", rival + "Aiohttp", urls=[f"{apart.url}/v2/models/forest/infer"]
        ),
        HTTP: ours(root / "http", models={"forest": remote}),
        HTTP_BATCHING: ours(
            root / "http-batching", models={"forest": {**remote, "batching": True}}
        ),
    }
    contenders = {
        name: on_mlserver(
            server, folders[name].name, "x", [apart] if "HTTP" in name or name == AIOHTTP else ()
        )
        for name, server in start(bench, {name: [folders[name]] for name in folders}).items()
    }
    for rows, clients in LOADS[1:2] if bench.scale.smoke else LOADS:
        where = f"{rows} row{'s' * (rows > 1)}, c={clients}"
        load = Load(random_batches(rows), forest.predict, clients)
        goals = GOALS.get(clients, {})
        found = compare(bench, contenders, YARDSTICKS, load, where, goals)
        if clients == 1:
            for batching, without in ((INSIDE_BATCHING, INSIDE), (HTTP_BATCHING, HTTP)):
                p50 = found.percentile(batching, without, 50)
                bench.report.claim(f"p50 of {batching} / {without}", where, p50, most=P50)
