"""Measure calls to children: two classifiers called at the same time, their answers averaged.

`python benchmarks/children.py [--quick] [--here]`. The children, a scikit-learn and an XGBoost model of
the irises, each have their own MLServer process, except for two pipelines: one runs them in its process,
and the server of the other one serves them as well. `--here` compares only these two. Each contender has
another process. One contender takes its requests as binary data, and calls its children with it. The
yardsticks are MLServer runtimes written by hand over pooled httpx and aiohttp, and a FastAPI application
over httpx. Rounds take turns, in another order each, so that the machine's noise falls on all alike; a
ratio is the median of the rounds' own.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from operator import truediv
from pathlib import Path
from typing import Any

import httpx
import joblib
import numpy as np
from load import binary_request, closed_loop, request
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from xgboost import XGBClassifier

from tempo_runtime import Model, ModelFramework, PipelineModels, pipeline, save
from tempo_runtime.testing import Server, free_ports, serve

ROWS = (1, 100, 10_000)
CLIENTS = (1, 8, 32)
BEST_BY_HAND = "by hand, aiohttp"
BINARY = "pipeline, http, binary"
IN_PROCESS, SAME_SERVER = "pipeline, in process", "pipeline, same server"
OF_IN_PROCESS = 0.95  # target: requests/s on the same server, of those in process
SETTINGS = {"gzip_enabled": False, "grpc_max_message_length": 64 << 20}
BY_HAND = """
import asyncio

import aiohttp
import httpx
import numpy as np
import orjson
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse

HEADERS = {"content-type": "application/json"}


class ByHand(MLModel):
    async def load(self) -> bool:
        self.urls = self.settings.parameters.extra["urls"]
        await self.connect()
        return True

    async def predict(self, payload):
        rows = NumpyCodec.decode_input(payload.inputs[0])
        tensor = {"name": "x", "shape": rows.shape, "datatype": "FP64", "data": rows.ravel()}
        body = orjson.dumps({"inputs": [tensor]}, option=orjson.OPT_SERIALIZE_NUMPY)
        one, two = await asyncio.gather(*(self.ask(url, body) for url in self.urls))
        output = NumpyCodec.encode_output("output-0", (one + two) / 2)
        return InferenceResponse(model_name=self.name, outputs=[output])

    async def ask(self, url, body):
        output = orjson.loads(await self.post(url, body))["outputs"][0]
        return np.array(output["data"]).reshape(output["shape"])


class Httpx(ByHand):
    async def connect(self):
        limits = httpx.Limits(max_connections=None, keepalive_expiry=2.5)
        self.client = httpx.AsyncClient(limits=limits, timeout=60, trust_env=False)

    async def post(self, url, body):
        return (await self.client.post(url, content=body, headers=HEADERS)).content


class Aiohttp(ByHand):
    async def connect(self):
        self.client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=2.5)
        )

    async def post(self, url, body):
        async with self.client.post(url, data=body, headers=HEADERS) as answer:
            return await answer.read()
"""
FASTAPI = """
import asyncio
import os
from contextlib import asynccontextmanager

import httpx
import numpy as np
import orjson
from fastapi import FastAPI, Request, Response

HEADERS = {"content-type": "application/json"}


@asynccontextmanager
async def lifespan(app):
    limits = httpx.Limits(max_connections=None, keepalive_expiry=2.5)
    async with httpx.AsyncClient(limits=limits, timeout=60, trust_env=False) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/v2/health/ready")
async def ready():
    return {}


@app.post("/v2/models/mean/infer")
async def infer(request: Request):
    given = orjson.loads(await request.body())["inputs"][0]
    rows = np.array(given["data"]).reshape(given["shape"])
    tensor = {"name": "x", "shape": rows.shape, "datatype": "FP64", "data": rows.ravel()}
    body = orjson.dumps({"inputs": [tensor]}, option=orjson.OPT_SERIALIZE_NUMPY)
    one, two = await asyncio.gather(*(ask(url, body) for url in os.environ["URLS"].split()))
    mean = (one + two) / 2
    output = {"name": "output-0", "shape": mean.shape, "datatype": "FP64", "data": mean.ravel()}
    answer = {"model_name": "mean", "outputs": [output]}
    content = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(content, media_type="application/json")


async def ask(url, body):
    answer = await app.state.client.post(url, content=body, headers=HEADERS)
    output = orjson.loads(answer.content)["outputs"][0]
    return np.array(output["data"]).reshape(output["shape"])
"""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short run, and a rough answer")
    parser.add_argument("--here", action="store_true", help="only models of the pipeline's server")
    options = parser.parse_args(argv)
    rounds, seconds = (5, 0.6) if options.quick else (9, 2.0)
    base = IN_PROCESS if options.here else BEST_BY_HAND
    sizes = ROWS[:2] if options.here else ROWS
    # XGBoost's threads would wait for each other, and take the processor from everything else.
    os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers end too
    console = Console()
    table = Table("rows x 4", "clients", "", "requests/s", f"of {base!r}", "p50 ms", "p99 ms")
    with ExitStack() as stack, console.status("starting the servers") as status:
        urls = _start(stack, options.here)
        ratios = []
        for rows, clients in itertools.product(sizes, CLIENTS):
            status.update(f"{rows} rows, {clients} clients")
            data = np.resize(load_iris().data, (rows, 4))
            tensor = {"name": "x", "datatype": "FP64", "shape": [rows, 4]}
            tensor["parameters"] = {"content_type": "np"}
            in_json = request("mean", tensor | {"data": data.ravel().tolist()})
            asked = dict.fromkeys(urls, in_json)
            asked[BINARY] = binary_request("mean", tensor, data.tobytes())
            rates, times = _measure(urls, asked, clients, rounds, seconds)
            ratios.append(statistics.median(map(truediv, rates[SAME_SERVER], rates[IN_PROCESS])))
            for number, name in enumerate(urls):
                cells = (str(rows), str(clients)) if number == 0 else ("", "")
                ratio = statistics.median(map(truediv, rates[name], rates[base]))
                p50, p99 = np.percentile(times[name], (50, 99))
                rate = statistics.median(rates[name])
                numbers = (f"{rate:.0f}", f"{ratio:.2f}", f"{p50:.1f}", f"{p99:.1f}")
                table.add_row(*cells, name, *numbers)
            table.add_section()
    console.print(table)
    console.print("requests/s is the median of the rounds; the percentiles are of all requests.")
    ratio = statistics.geometric_mean(ratios)
    console.print(
        f"on the same server: {ratio:.2f} of the requests/s in process (target: {OF_IN_PROCESS:g})"
    )


def _measure(
    urls: dict[str, str], asked: dict[str, bytes], clients: int, rounds: int, seconds: float
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    rates: dict[str, list[float]] = {name: [] for name in urls}
    times: dict[str, list[float]] = {name: [] for name in urls}
    counts = dict.fromkeys(urls, clients)
    for turn in range(rounds + 1):  # the first warms up, and says how many requests fit
        for name in random.sample(list(urls), len(urls)):
            begin = time.perf_counter()
            found = closed_loop(urls[name], asked[name], clients, counts[name])
            rate = len(found) / (time.perf_counter() - begin)
            if turn:
                rates[name].append(rate)
                times[name] += found
            counts[name] = max(clients, int(rate * seconds))
    return rates, times


def _start(stack: ExitStack, only_here: bool) -> dict[str, str]:
    root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tempo-children-")))
    children = {"one": _sklearn(root / "one"), "two": _xgboost(root / "two")}
    frameworks = {"one": ModelFramework.SKLearn, "two": ModelFramework.XGBoost}
    models = {
        name: Model(name, platform=frameworks[name], local_folder=str(children[name]))
        for name in children
    }

    @pipeline("mean", models=PipelineModels(**models))
    async def mean(x: np.ndarray) -> np.ndarray:
        one, two = await asyncio.gather(mean.models.one(x), mean.models.two(x))
        return (one + two) / 2

    artifact = save(mean, str(root / "mean"))

    def start(*folders: Any, **env: str) -> str:
        return stack.enter_context(serve(*folders, settings=SETTINGS, env=env)).url

    here = {
        IN_PROCESS: start(artifact, TEMPO_RUNTIME_TRANSPORT="in_process"),
        SAME_SERVER: start(artifact, *children.values(), TEMPO_RUNTIME_TRANSPORT="http"),
    }
    if only_here:
        return here
    apart = {
        name: stack.enter_context(serve(folder, settings=SETTINGS))
        for name, folder in children.items()
    }
    # Servers that have loaded a pipeline announce binary data, for all of their models.
    binary = {
        name: stack.enter_context(serve(folder, artifact, settings=SETTINGS))
        for name, folder in children.items()
    }
    (root / "by_hand.py").write_text(BY_HAND)
    (root / "fast_api.py").write_text(FASTAPI)
    urls = [f"{apart[name].url}/v2/models/{name}/infer" for name in apart]

    def by_hand(kind: str) -> str:
        settings = {"implementation": f"by_hand.{kind}", "parameters": {"extra": {"urls": urls}}}
        folder = _write(root / kind, {"name": "mean", **settings})
        return start(folder, PYTHONPATH=str(root))

    def ours(url: Any, servers: dict[str, Server] = apart) -> str:
        env = {f"TEMPO_RUNTIME_MODELS__{name.upper()}__URL": url(servers[name]) for name in servers}
        return start(artifact, **env)

    return {
        "by hand, httpx": by_hand("Httpx"),
        BEST_BY_HAND: by_hand("Aiohttp"),
        "FastAPI, httpx": stack.enter_context(_fastapi(root, urls)),
        "pipeline, http": ours(lambda server: server.url),
        BINARY: ours(lambda server: server.url, binary),
        "pipeline, grpc": ours(lambda server: f"grpc://{server.grpc}"),
        **here,
    }


@contextmanager
def _fastapi(root: Path, urls: list[str]) -> Iterator[str]:
    [port] = free_ports(1)
    arguments = ["-m", "uvicorn", "fast_api:app", "--port", str(port), "--log-level", "warning"]
    environment = {**os.environ, "URLS": " ".join(urls)}
    process = subprocess.Popen([sys.executable, *arguments], cwd=root, env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None:
            with suppress(httpx.TransportError):
                httpx.get(f"{url}/v2/health/ready")
                break
        yield url
    finally:
        process.terminate()
        process.wait()


def _sklearn(folder: Path) -> Path:
    folder.mkdir()
    joblib.dump(
        LogisticRegression(max_iter=500).fit(*load_iris(return_X_y=True)), folder / "m.joblib"
    )
    return _served(folder, "mlserver_sklearn.SKLearnModel", "m.joblib")


def _xgboost(folder: Path) -> Path:
    folder.mkdir()
    XGBClassifier(n_estimators=20).fit(*load_iris(return_X_y=True)).save_model(
        folder / "model.json"
    )
    return _served(folder, "mlserver_xgboost.XGBoostModel", "model.json")


def _served(folder: Path, implementation: str, uri: str) -> Path:
    settings = {"implementation": implementation, "parameters": {"uri": uri}}
    _write(folder, {"name": folder.name, **settings})
    return folder


def _write(folder: Path, settings: dict[str, Any]) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "model-settings.json").write_text(json.dumps(settings))
    return str(folder)


if __name__ == "__main__":
    main()
