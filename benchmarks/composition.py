"""Two models called at the same time and averaged: ours, beside hand-written code and other platforms.

The models are one of scikit-learn and one of XGBoost. In the section `in-process` they run in the
process of the pipeline, in `remote` each has its own MLServer. Both are compared with runtimes of
MLServer written by hand. In the section `platforms`, FastAPI, BentoML, LitServe and Ray Serve are
compared with ours in process; each of them is installed in a folder `.venv-NAME` of the repository.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from xgboost import XGBRegressor

from benchmarks.harness.bench import Bench
from benchmarks.harness.load import random_batches, v2_binary, v2_binary_numbers
from benchmarks.harness.peers import start_peers
from benchmarks.harness.servers import (
    PIPELINE,
    Contender,
    Load,
    compare,
    model_folder,
    on_mlserver,
    start,
)
from benchmarks.harness.turns import ratio
from tempo_runtime import Model, ModelFramework, PipelineModels, pipeline, save
from tempo_runtime.testing import Server

ROWS, CLIENTS = (1, 100, 10_000), (1, 8, 32)
Rows = NDArray[np.float64]
THREADS, AIOHTTP = "by hand, threads", "by hand, aiohttp"
IN_PROCESS, IN_PROCESS_BATCHING = "in process", "in process, batching"
IN_PROCESS_BINARY, ONE_SERVER = "in process, binary", "models on the same server"
OVER_HTTP, OVER_HTTP_BATCHING, OVER_GRPC = "HTTP", "HTTP, batching", "gRPC"
OVER_HTTP_BINARY = "HTTP, binary"
REMOTE = (AIOHTTP, OVER_HTTP, OVER_HTTP_BATCHING, OVER_HTTP_BINARY, OVER_GRPC)
BINARY = (IN_PROCESS_BINARY, OVER_HTTP_BINARY)  # whose clients send binary data
YARDSTICKS = {  # the platforms are compared with IN_PROCESS
    IN_PROCESS: THREADS,
    IN_PROCESS_BATCHING: THREADS,
    IN_PROCESS_BINARY: IN_PROCESS,
    ONE_SERVER: IN_PROCESS,
    OVER_HTTP: AIOHTTP,
    OVER_HTTP_BATCHING: AIOHTTP,
    OVER_HTTP_BINARY: OVER_HTTP,
    OVER_GRPC: AIOHTTP,
}
MEMORY = 1.05  # goal, of what the runtime by hand holds
RIVALS = "benchmarks.rivals.composition."


@dataclass
class Models:
    """The two models.

    Attributes:
        files: Their files.
        folders: Folders that MLServer serves.
        artifact: The pipeline that calls both.
        answer: Computes the answer of the pipeline.
    """

    files: list[Path]
    folders: list[Path]
    artifact: str
    answer: Callable[[Rows], NDArray[Any]]


def run(bench: Bench) -> None:
    models = _train(bench.folder)
    contenders = _start(bench, models)
    if bench.wants("platforms"):
        contenders |= start_peers(bench, models.files, random_batches(1)[0], models.answer)
    yardsticks = {
        name: YARDSTICKS.get(name, IN_PROCESS)
        for name in contenders
        if name not in (THREADS, AIOHTTP)
    }
    cells = list(itertools.product(ROWS, CLIENTS))
    for rows, clients in cells[:1] if bench.scale.smoke else cells:
        goals = {IN_PROCESS: 1.0, OVER_HTTP: 1.0, ONE_SERVER: 0.95}
        if (rows, clients) == (10_000, 8):
            goals |= dict.fromkeys(BINARY, 2.0)
        where = f"{rows:,} row{'s' * (rows > 1)}, c={clients}"
        load = Load(random_batches(rows), models.answer, clients)
        compare(bench, contenders, yardsticks, load, where, goals)
    for name, yardstick in yardsticks.items():
        held = ratio(*([contenders[one].memory()] for one in (name, yardstick)))
        goal = MEMORY if name in (IN_PROCESS, OVER_HTTP) and not bench.scale.smoke else None
        bench.report.claim(f"memory of {name} / {yardstick}", "after all loads", held, most=goal)


def _start(bench: Bench, models: Models) -> dict[str, Contender]:
    folders: dict[str, list[Path]] = {}
    # The platforms are compared with the pipeline in process, so both need its section.
    if bench.wants("in-process") or bench.wants("platforms"):
        folders |= _in_process(bench, models)
    children: list[Server] = []
    if bench.wants("remote"):
        remote, children = _remote(bench, models)
        folders |= remote
    contenders = {
        name: on_mlserver(server, folders[name][0].name, "x", children if name in REMOTE else ())
        for name, server in start(bench, folders).items()
    }
    for name in (name for name in BINARY if name in contenders):
        encode = partial(v2_binary, folders[name][0].name, "x")
        contenders[name] = replace(contenders[name], encode=encode, decode=v2_binary_numbers)
    return contenders


def _in_process(bench: Bench, models: Models) -> dict[str, list[Path]]:
    """Return what to serve with the models in the process of the pipeline, or beside it."""

    def ours(name: str, transport: str = "in_process", **settings: Any) -> Path:
        folder = bench.folder / name
        return model_folder(folder, PIPELINE, uri=models.artifact, transport=transport, **settings)

    files = [str(file) for file in models.files]
    threads = model_folder(bench.folder / "threads", RIVALS + "Threads", models=files)
    folders = {THREADS: [threads], IN_PROCESS: [ours("inside")]}
    if bench.wants("in-process"):
        batching = {folder.name: {"batching": True} for folder in models.folders}
        folders |= {
            IN_PROCESS_BATCHING: [ours("inside-batching", models=batching)],
            IN_PROCESS_BINARY: [ours("inside-binary")],
            ONE_SERVER: [ours("beside", transport="http"), *models.folders],
        }
    return folders


def _remote(bench: Bench, models: Models) -> tuple[dict[str, list[Path]], list[Server]]:
    """Start the servers of the models; return what to serve that calls them, and these servers."""

    def ours(name: str, **children: Any) -> list[Path]:
        return [model_folder(bench.folder / name, PIPELINE, uri=models.artifact, models=children)]

    def over_http(servers: Mapping[str, Server], **settings: Any) -> dict[str, Any]:
        return {name: {"url": server.url, **settings} for name, server in servers.items()}

    plain = start(bench, {folder.name: [folder] for folder in models.folders})
    # Servers that have loaded a pipeline announce binary data, for all of their models.
    announcing = plain
    if not bench.scale.smoke:
        announcing = start(
            bench, {folder.name: [folder, Path(models.artifact)] for folder in models.folders}
        )
    urls = [f"{server.url}/v2/models/{name}/infer" for name, server in plain.items()]
    folders = {
        AIOHTTP: [model_folder(bench.folder / "aiohttp", RIVALS + "Aiohttp", urls=urls)],
        OVER_HTTP: ours("http", **over_http(plain)),
        OVER_HTTP_BATCHING: ours("http-batching", **over_http(plain, batching=True)),
        OVER_HTTP_BINARY: ours("http-binary", **over_http(announcing)),
        OVER_GRPC: ours(
            "grpc", **{name: {"url": f"grpc://{server.grpc}"} for name, server in plain.items()}
        ),
    }
    return folders, [*plain.values(), *announcing.values()]


def _train(root: Path) -> Models:
    rows, species = load_iris(return_X_y=True)
    linear = LogisticRegression(max_iter=500).fit(rows, species)
    trees = XGBRegressor(n_estimators=20, n_jobs=1).fit(rows, species)
    runtimes = ("mlserver_sklearn.SKLearnModel", "mlserver_xgboost.XGBoostModel")
    files = [root / "one/model.joblib", root / "two/model.json"]
    folders = [
        model_folder(file.parent, runtime, uri=str(file)) for file, runtime in zip(files, runtimes)
    ]
    joblib.dump(linear, files[0])
    trees.save_model(files[1])
    frameworks = (ModelFramework.SKLearn, ModelFramework.XGBoost)
    models = {
        folder.name: Model(folder.name, platform=framework, local_folder=str(folder))
        for folder, framework in zip(folders, frameworks)
    }

    @pipeline("mean", models=PipelineModels(**models))
    async def mean(x: np.ndarray) -> np.ndarray:
        one, two = await asyncio.gather(mean.models.one(x), mean.models.two(x))
        return (one + two) / 2

    artifact = save(mean, str(root / "mean"))
    return Models(files, folders, artifact, lambda x: (linear.predict(x) + trees.predict(x)) / 2)
