"""Explainers of the income example's rows: alibi alone, runtimes to compare with, and ours."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.harness.income import (
    ARTIFACTS,
    CLASSIFIER,
    Rows,
    explain,
    payload,
    post,
    write,
)
from tempo_runtime.testing import Server

IN_PROCESS, HTTP, GRPC = "in process", "HTTP", "gRPC"
BY_SKLEARN = "in process, by scikit-learn"  # which computes the model in each call
Essence = tuple[Any, Any, Any]
SAVE = """
import dill
import sys

with open(sys.argv[1], "rb") as file:
    dill.load(file).save(sys.argv[2])
"""


class Explained(NamedTuple):
    """One explanation.

    Attributes:
        seconds: How long it took.
        calls: Calls to the classifier; None where nobody counts them.
        rows: Rows in those calls.
        essence: What makes two explanations the same; None where it cannot be seeded.
    """

    seconds: float
    calls: int | None
    rows: int | None
    essence: Essence | None


class Explainer(Protocol):
    """Explains a test row, its number the seed."""

    def explain(self, number: int, threshold: float) -> Explained:
        """Explains it."""
        ...


class Alone:
    """alibi by itself in a process, with the model in the same."""

    def __init__(self, orders: Connection) -> None:
        self._orders = orders
        self._known: dict[tuple[int, float], Essence | None] = {}

    def explain(self, number: int, threshold: float) -> Explained:
        self._orders.send((number, threshold))
        found: Explained = self._orders.recv()
        self._known[number, threshold] = found.essence
        return found

    def essence(self, number: int, threshold: float) -> Essence | None:
        if (number, threshold) not in self._known:
            self.explain(number, threshold)
        return self._known[number, threshold]


@contextmanager
def alone(rows: Rows) -> Iterator[Alone]:
    """Starts its process."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_explain_alone, args=(there, rows), daemon=True)
    process.start()
    there.close()  # so that its end is seen here
    try:
        yield Alone(here)
    finally:
        process.kill()
        process.join()


def _explain_alone(orders: Connection, rows: Rows) -> None:
    import dill
    import joblib

    with open(ARTIFACTS / "explainer" / "explainer.dill", "rb") as file:
        explainer = dill.load(file)
    model = joblib.load(ARTIFACTS / "model" / "model.joblib")
    asked: list[int] = []

    def predict(rows: Rows) -> Any:
        asked.append(len(rows))
        return model.predict(rows)

    explainer.predictor = explainer.samplers[0].predictor = predict
    with suppress(EOFError):  # the parent process has ended
        while True:
            number, threshold = orders.recv()
            asked.clear()
            np.random.seed(number)
            begin = time.perf_counter()
            found = explainer.explain(rows[number : number + 1], threshold=threshold)
            seconds = time.perf_counter() - begin
            known = essence(found.to_json())
            orders.send(Explained(seconds, len(asked), sum(asked), known))


class ByHand:
    """The runtime written by hand."""

    def __init__(self, server: Server, rows: Rows) -> None:
        self._server, self._rows = server, rows

    def explain(self, number: int, threshold: float) -> Explained:
        parameters = {"threshold": threshold, "seed": number}
        body = {"inputs": [payload(self._rows, number)], "parameters": parameters}
        begin = time.perf_counter()
        answer = post(self._server, "by-hand", body)
        seconds = time.perf_counter() - begin
        told, known = answer["parameters"], essence(answer["outputs"][0]["data"][0])
        return Explained(seconds, told["calls"], told["rows"], known)


def by_hand(root: Path, classifier: Server) -> Path:
    """Writes its folder."""
    extra = {
        "address": classifier.url.removeprefix("http://"),
        "path": f"/v2/models/{CLASSIFIER}/infer",
        "explainer": str(ARTIFACTS / "explainer" / "explainer.dill"),
    }
    settings = {"name": "by-hand", "implementation": "benchmarks.rivals.anchors.Anchors"}
    return write(root / "by-hand", {**settings, "parameters": {"extra": extra}})


class AlibiExplain:
    """MLServer's alibi-explain runtime: it takes no seed, and its calls are the classifier's."""

    def __init__(self, server: Server, rows: Rows, classifier: Server) -> None:
        self._server, self._rows, self._classifier = server, rows, classifier

    def explain(self, number: int, threshold: float) -> Explained:
        tensor = payload(self._rows, number) | {"parameters": {"content_type": "np"}}
        parameters = {"content_type": "np", "explain_parameters": {"threshold": threshold}}
        before = self._calls()
        begin = time.perf_counter()
        post(self._server, "alibi-explain", {"inputs": [tensor], "parameters": parameters})
        seconds = time.perf_counter() - begin
        return Explained(seconds, _more(before, self._calls()), None, None)

    def _calls(self) -> int | None:
        return _counted(self._classifier, "model_infer_request_success_total")[0]


def alibi_explain(root: Path, classifier: Server) -> Path:
    """Writes its folder, with the explainer as alibi itself saves it."""
    folder = root / "alibi-explain"
    explainer = str(ARTIFACTS / "explainer" / "explainer.dill")
    subprocess.run([sys.executable, "-W", "ignore", "-c", SAVE, explainer, str(folder)], check=True)
    infer_uri = f"{classifier.url}/v2/models/{CLASSIFIER}/infer"
    extra = {"explainer_type": "anchor_tabular", "infer_uri": infer_uri}
    settings = {"implementation": "mlserver_alibi_explain.AlibiExplainRuntime"}
    parameters = {"uri": ".", "extra": extra}
    return write(folder, {"name": folder.name, **settings, "parameters": parameters})


class Ours:
    """The example's pipeline, as it is served."""

    def __init__(self, server: Server, rows: Rows) -> None:
        self._server, self._rows = server, rows

    def explain(self, number: int, threshold: float) -> Explained:
        before = self._counts()
        begin = time.perf_counter()
        text = explain(self._server, self._rows, number, threshold)
        seconds = time.perf_counter() - begin
        calls, rows = map(_more, before, self._counts())
        return Explained(seconds, calls, rows, essence(text))

    def _counts(self) -> list[int | None]:
        return _counted(self._server, "tempo_child_calls_total", "tempo_child_rows_total")


def children(classifier: Server) -> dict[str, dict[str, str]]:
    """How our explainer reaches its classifier: settings of the child, by name."""
    return {
        IN_PROCESS: {"TRANSPORT": "in_process"},
        BY_SKLEARN: {"TRANSPORT": "in_process", "FAST_SKLEARN": "0"},
        HTTP: {"TRANSPORT": "http", "URL": classifier.url},
        GRPC: {"TRANSPORT": "grpc", "URL": f"grpc://{classifier.grpc}"},
    }


def essence(text: str) -> Essence:
    """Return the parts by which two explanations are the same: anchor, precision and coverage."""
    found = json.loads(text)["data"]
    return found["anchor"], found["precision"], found["coverage"]


def _counted(server: Server, *metrics: str) -> list[int | None]:
    """Sums of metrics over their labels; None for one that is not there."""
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(server.http.get(server.metrics).text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0) + sample.value
    return [int(sums[name]) if name in sums else None for name in metrics]


def _more(before: int | None, after: int | None) -> int | None:
    return None if after is None else after - (before or 0)
