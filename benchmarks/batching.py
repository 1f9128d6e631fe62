"""Measure batching: a random forest is asked by one client, and by several at the same time.

`python benchmarks/batching.py [--quick]`. The forest runs in the process of its pipeline, or on an
MLServer of its own, with batching and without. The yardsticks are MLServer runtimes written by hand: one
that computes in threads, and one over pooled aiohttp. Rounds take turns, in another order each, so that
the machine's noise falls on all alike; a ratio is the median of the rounds' own.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from operator import truediv
from pathlib import Path

import joblib
import numpy as np
from children import SETTINGS, _measure, _served, _write
from load import request
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

from tempo_runtime import Batching, Model, ModelFramework, PipelineModels, pipeline, save
from tempo_runtime.testing import serve

# Rows of each request, and clients; a request of 100 rows alone must not be slower either.
LOADS = ((1, 1), (1, 8), (1, 32), (100, 1))
# place of the forest -> clients -> target for the throughput with batching, of that by hand
TARGETS = {"in process": {8: 1.3, 32: 2.0}, "http": {32: 1.5}}
SLOWER = 1.05  # target for one client: p50 with batching, of that without
BY_HAND = """
import asyncio

import aiohttp
import joblib
import numpy as np
import orjson
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse

HEADERS = {"content-type": "application/json"}


class Threads(MLModel):
    async def load(self) -> bool:
        self.forest = joblib.load(self.settings.parameters.extra["forest"])
        return True

    async def predict(self, payload):
        rows = NumpyCodec.decode_input(payload.inputs[0])
        output = NumpyCodec.encode_output("output-0", await self.ask(rows))
        return InferenceResponse(model_name=self.name, outputs=[output])

    async def ask(self, rows):
        return await asyncio.to_thread(self.forest.predict, rows)


class Aiohttp(Threads):
    async def load(self) -> bool:
        self.url = self.settings.parameters.extra["url"]
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2.5)
        self.client = aiohttp.ClientSession(connector=connector)
        return True

    async def ask(self, rows):
        tensor = {"name": "x", "shape": rows.shape, "datatype": "FP64", "data": rows.ravel()}
        body = orjson.dumps({"inputs": [tensor]}, option=orjson.OPT_SERIALIZE_NUMPY)
        async with self.client.post(self.url, data=body, headers=HEADERS) as answer:
            output = orjson.loads(await answer.read())["outputs"][0]
        return np.array(output["data"]).reshape(output["shape"])
"""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short run, and a rough answer")
    rounds, seconds = (5, 0.6) if parser.parse_args(argv).quick else (9, 2.0)
    os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers end too
    console = Console()
    table = Table("forest", "rows", "", "requests/s", "of by hand", "p50 ms", "p99 ms")
    verdicts = []
    with ExitStack() as stack, console.status("starting the servers") as status:
        places = _start(stack)
        for (place, urls), (rows, clients) in itertools.product(places.items(), LOADS):
            load = f"{rows} x 4, {clients} clients"
            status.update(f"{place}, {load}")
            data = np.resize(load_iris().data, (rows, 4)).ravel().tolist()
            tensor = {"name": "x", "datatype": "FP64", "shape": [rows, 4], "data": data}
            asked = request("over", tensor | {"parameters": {"content_type": "np"}})
            rates, times = _measure(urls, dict.fromkeys(urls, asked), clients, rounds, seconds)
            for number, name in enumerate(urls):
                ratio = statistics.median(map(truediv, rates[name], rates["by hand"]))
                p50, p99 = np.percentile(times[name], (50, 99))
                cells = (place, load) if number == 0 else ("", "")
                rate = statistics.median(rates[name])
                numbers = (f"{rate:.0f}", f"{ratio:.2f}", f"{p50:.1f}", f"{p99:.1f}")
                table.add_row(*cells, name, *numbers)
            table.add_section()
            if clients == 1:
                slower = np.median(times["batching"]) / np.median(times["no batching"])
                what = f"{place}, {load}: p50 of that without"
                verdicts.append((what, slower, slower <= SLOWER))
            elif (target := TARGETS[place].get(clients)) is not None:
                ratio = statistics.median(map(truediv, rates["batching"], rates["by hand"]))
                verdicts.append((f"{place}, {load}: of by hand", ratio, ratio >= target))
    console.print(table)
    for what, ratio, met in verdicts:
        console.print(f"{'met' if met else 'missed'}: {what}: {ratio:.2f}")


def _start(stack: ExitStack) -> dict[str, dict[str, str]]:
    root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tempo-batching-")))
    (root / "by_hand.py").write_text(BY_HAND)
    folder = root / "forest"
    folder.mkdir()
    forest = RandomForestClassifier(random_state=0).fit(*load_iris(return_X_y=True))
    joblib.dump(forest, folder / "m.joblib")
    _served(folder, "mlserver_sklearn.SKLearnModel", "m.joblib")
    apart = stack.enter_context(serve(folder, settings=SETTINGS))
    child = Model(
        "forest",
        platform=ModelFramework.SKLearn,
        local_folder=str(folder),
        batching=Batching(),
    )

    @pipeline("over", models=PipelineModels(forest=child))
    def over(x: np.ndarray) -> np.ndarray:
        return over.models.forest(x)

    artifact = save(over, str(root / "over"))

    def start(folder: str, **env: str) -> str:
        return stack.enter_context(serve(folder, settings=SETTINGS, env=env)).url

    def by_hand(kind: str) -> str:
        extra = {"forest": str(folder / "m.joblib"), "url": f"{apart.url}/v2/models/forest/infer"}
        settings = {"implementation": f"by_hand.{kind}", "parameters": {"extra": extra}}
        return start(_write(root / kind, {"name": "over", **settings}), PYTHONPATH=str(root))

    off = {"TEMPO_RUNTIME_MODELS__FOREST__BATCHING": "false"}
    remote = {"TEMPO_RUNTIME_MODELS__FOREST__URL": apart.url}
    return {
        "in process": {
            "by hand": by_hand("Threads"),
            "no batching": start(artifact, **off),
            "batching": start(artifact),
        },
        "http": {
            "by hand": by_hand("Aiohttp"),
            "no batching": start(artifact, **remote, **off),
            "batching": start(artifact, **remote),
        },
    }


if __name__ == "__main__":
    main()
