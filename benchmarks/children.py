"""What calls to children cost: two classifiers asked at once, their answers averaged.

`python benchmarks/children.py [--quick]`. The children are in MLServer processes of their own, but
for the pipeline that has them in its process; each contender is in another. The yardsticks are
MLServer runtimes written by hand over pooled httpx and aiohttp. Rounds take turns, in another order
each, so that the machine's noise falls on all alike.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from load import closed_loop, request
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from tempo_runtime import Model, ModelFramework, PipelineModels, pipeline, save
from tempo_runtime.testing import Server, serve

CASES = [(1, 1), (1, 8), (1, 32), (100, 8), (10_000, 8)]  # rows, clients
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


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short run, and a rough answer")
    rounds, seconds = (3, 0.5) if parser.parse_args(argv).quick else (7, 2.0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers end too
    console = Console()
    table = Table("rows x 4", "clients", "", "requests/s", "p50 ms", "p99 ms")
    with ExitStack() as stack, console.status("starting the servers") as status:
        servers = _start(stack)
        for rows, clients in CASES:
            status.update(f"{rows} rows, {clients} clients")
            data = np.resize(load_iris().data, (rows, 4)).ravel().tolist()
            tensor = {"name": "x", "datatype": "FP64", "shape": [rows, 4], "data": data}
            asked = request("mean", tensor | {"parameters": {"content_type": "np"}})
            found = _measure(servers, asked, clients, rounds, seconds)
            for number, (name, (rate, times)) in enumerate(found.items()):
                cells = (str(rows), str(clients)) if number == 0 else ("", "")
                p50, p99 = np.percentile(times, (50, 99))
                table.add_row(*cells, name, f"{rate:.0f}", f"{p50:.1f}", f"{p99:.1f}")
            table.add_section()
    console.print(table)
    console.print("requests/s is the median of the rounds; the percentiles are of all requests.")


def _measure(
    servers: dict[str, Server], asked: bytes, clients: int, rounds: int, seconds: float
) -> dict[str, tuple[float, list[float]]]:
    rates: dict[str, list[float]] = {name: [] for name in servers}
    times: dict[str, list[float]] = {name: [] for name in servers}
    counts = dict.fromkeys(servers, clients)
    for turn in range(rounds + 1):  # the first warms up, and says how many requests fit
        for name in random.sample(list(servers), len(servers)):
            begin = time.perf_counter()
            found = closed_loop(servers[name].url, asked, clients, counts[name])
            rate = len(found) / (time.perf_counter() - begin)
            if turn:
                rates[name].append(rate)
                times[name] += found
            counts[name] = max(clients, int(rate * seconds))
    return {name: (statistics.median(rates[name]), times[name]) for name in servers}


def _start(stack: ExitStack) -> dict[str, Server]:
    root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tempo-children-")))
    children = {name: _iris(root / name) for name in ("one", "two")}
    apart = {
        name: stack.enter_context(serve(folder, settings=SETTINGS))
        for name, folder in children.items()
    }
    models = {
        name: Model(name, ModelFramework.SKLearn, str(folder)) for name, folder in children.items()
    }

    @pipeline("mean", models=PipelineModels(**models))
    async def mean(x: np.ndarray) -> np.ndarray:
        one, two = await asyncio.gather(mean.models.one(x), mean.models.two(x))
        return (one + two) / 2

    artefact = save(mean, str(root / "mean"))
    (root / "by_hand.py").write_text(BY_HAND)

    def start(folder: str, **env: str) -> Server:
        return stack.enter_context(serve(folder, settings=SETTINGS, env=env))

    def by_hand(kind: str) -> Server:
        extra = {"urls": [f"{apart[name].url}/v2/models/{name}/infer" for name in apart]}
        settings = {"implementation": f"by_hand.{kind}", "parameters": {"extra": extra}}
        folder = _write(root / kind, {"name": "mean", **settings})
        return start(folder, PYTHONPATH=str(root))

    def ours(url: Any) -> Server:
        urls = {f"TEMPO_RUNTIME_MODELS__{n.upper()}__URL": url(apart[n]) for n in apart}
        return start(artefact, **urls)

    return {
        "by hand, httpx": by_hand("Httpx"),
        "by hand, aiohttp": by_hand("Aiohttp"),
        "pipeline, http": ours(lambda server: server.url),
        "pipeline, grpc": ours(lambda server: f"grpc://{server.grpc}"),
        "pipeline, in process": start(artefact, TEMPO_RUNTIME_TRANSPORT="in_process"),
    }


def _iris(folder: Path) -> Path:
    settings = {
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "m.joblib"},
    }
    _write(folder, {"name": folder.name, **settings})
    model = LogisticRegression(max_iter=500).fit(*load_iris(return_X_y=True))
    joblib.dump(model, folder / "m.joblib")
    return folder


def _write(folder: Path, settings: dict[str, Any]) -> str:
    folder.mkdir()
    (folder / "model-settings.json").write_text(json.dumps(settings))
    return str(folder)


if __name__ == "__main__":
    main()
