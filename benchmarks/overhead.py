"""Measure the overhead of a pipeline: a no-op pipeline and a no-op MLServer runtime written by hand.

`python benchmarks/overhead.py [--quick]`. Each is alone in an MLServer process without workers; the
rounds take turns, in another order each, so that the machine's noise falls on all alike. At the end,
the pipelines answer large requests in JSON and as binary data.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from load import binary_request, closed_loop, request
from rich.console import Console
from rich.table import Table

from tempo_runtime import pipeline, save
from tempo_runtime.testing import Server, serve

TARGET = 1.15  # the pipeline's median over that of the runtime written by hand
# Like with like: what runs on the loop and only passes on, or what computes in a thread.
YARDSTICKS = {"pipeline, async def": "by hand", "pipeline, def": "by hand, in a thread"}
BY_HAND = "by hand"
LARGE = (10_000, 8)  # rows, clients
CASES = [(rows, clients) for clients in (1, 8) for rows in (1, 100)]
RUNTIMES = '''
import asyncio

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Echo(MLModel):
    """Gives the input back as it came: nobody can do less."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        given = payload.inputs[0]
        output = ResponseOutput(
            name="output-0", shape=given.shape, datatype=given.datatype, data=given.data
        )
        return InferenceResponse(model_name=self.name, outputs=[output])


class Numpy(MLModel):
    """Makes it an array and back with MLServer's codec, as a runtime that computes does."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        array = NumpyCodec.decode_input(payload.inputs[0])
        output = NumpyCodec.encode_output("output-0", array)
        return InferenceResponse(model_name=self.name, outputs=[output])


class Threaded(MLModel):
    """The same, off the event loop, as a runtime that computes for long must."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        return await asyncio.to_thread(self._predict, payload)

    def _predict(self, payload: InferenceRequest) -> InferenceResponse:
        array = NumpyCodec.decode_input(payload.inputs[0])
        output = NumpyCodec.encode_output("output-0", array)
        return InferenceResponse(model_name=self.name, outputs=[output])
'''


@dataclass
class Contender:
    name: str
    server: Server
    model: str

    def request(self, rows: int) -> bytes:
        tensor = {"name": "payload", "datatype": "INT64", "shape": [rows, 11]}
        tensor |= {"data": list(range(rows * 11)), "parameters": {"content_type": "np"}}
        return request(self.model, tensor)

    def binary_request(self, rows: int) -> bytes:
        tensor = {"name": "payload", "datatype": "INT64", "shape": [rows, 11]}
        tensor |= {"parameters": {"content_type": "np"}}
        return binary_request(self.model, tensor, np.arange(rows * 11).tobytes())

    def measure(self, asked: bytes, clients: int, requests: int) -> list[float]:
        return closed_loop(self.server.url, asked, clients, requests)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short run, and a rough answer")
    quick = parser.parse_args(argv).quick
    rounds, requests = (5, 200) if quick else (21, 400)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers end too
    console = Console()
    with ExitStack() as stack, console.status("starting the servers") as status:
        contenders = _start(stack)
        table = Table("rows x 11", "clients", "", "p50 ms", "p99 ms", "p50, of by hand's")
        verdicts = []
        for rows, clients in CASES:
            status.update(f"{rows} rows, {clients} clients")
            times: dict[str, list[list[float]]] = {each.name: [] for each in contenders}
            for turn in range(rounds + 1):  # the first warms up
                for each in random.sample(contenders, len(contenders)):
                    found = each.measure(each.request(rows), clients, requests)
                    if turn:
                        times[each.name].append(found)
            medians = {name: np.median(found, axis=1) for name, found in times.items()}
            for name, found in times.items():
                ratio = float(np.median(medians[name] / medians[BY_HAND]))
                if name in YARDSTICKS:
                    like = float(np.median(medians[name] / medians[YARDSTICKS[name]]))
                    verdicts.append((like, f"{name}, {rows} rows, {clients} clients", name))
                p50, p99 = float(np.median(medians[name])), float(np.percentile(found, 99))
                cells = (str(rows), str(clients)) if name == BY_HAND else ("", "")
                table.add_row(*cells, name, f"{p50:.3f}", f"{p99:.2f}", f"{ratio:.2f}")
            table.add_section()
        status.update("large requests")
        gains = {each.name: _gain(each, rounds) for each in contenders if each.name in YARDSTICKS}
    console.print(table)
    for name, gain in gains.items():
        rows, clients = LARGE
        console.print(f"{name}, {rows} rows, {clients} clients: {gain:.1f} times as many in binary")
    for like, case, name in verdicts:
        verdict = "within" if like <= TARGET else "above"
        console.print(f"{case}: {like:.2f} of {YARDSTICKS[name]!r}, {verdict} {TARGET}")


def _gain(contender: Contender, rounds: int) -> float:
    """Requests per second as binary data over those in JSON."""
    rows, clients = LARGE
    requests = {"json": contender.request(rows), "binary": contender.binary_request(rows)}
    gains = []
    for turn in range(rounds + 1):  # the first warms up
        seconds = {}
        for form in random.sample(list(requests), len(requests)):
            begin = time.perf_counter()
            contender.measure(requests[form], clients, 5 * clients)
            seconds[form] = time.perf_counter() - begin
        if turn:
            gains.append(seconds["json"] / seconds["binary"])
    return float(np.median(gains))


def _start(stack: ExitStack) -> list[Contender]:
    @pipeline("async-pipeline")
    async def in_coroutine(payload: np.ndarray) -> np.ndarray:
        return payload

    @pipeline("sync-pipeline")
    def in_thread(payload: np.ndarray) -> np.ndarray:
        return payload

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tempo-overhead-")))
    (folder / "by_hand.py").write_text(RUNTIMES)

    def by_hand(kind: str) -> str:
        place = folder / kind.lower()
        place.mkdir()
        settings = {"name": place.name, "implementation": f"by_hand.{kind}"}
        (place / "model-settings.json").write_text(json.dumps(settings))
        return str(place)

    def start(name: str, artifact: str) -> Contender:
        server = stack.enter_context(serve(artifact, env={"PYTHONPATH": str(folder)}))
        return Contender(name, server, server.models[0])

    made: dict[str, Callable[[], str]] = {
        BY_HAND: lambda: by_hand("Echo"),
        "by hand, as numpy": lambda: by_hand("Numpy"),
        "by hand, in a thread": lambda: by_hand("Threaded"),
        "pipeline, async def": lambda: save(in_coroutine, str(folder / "async")),
        "pipeline, def": lambda: save(in_thread, str(folder / "sync")),
    }
    return [start(name, make()) for name, make in made.items()]


if __name__ == "__main__":
    main()
