"""The income example, as benchmarks use it: its test rows, its artifacts, and servers of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tempo_runtime.testing import Server, serve

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "income"
ARTIFACTS = Path(os.environ.get("INCOME_ARTIFACTS", EXAMPLE / "artifacts")).resolve()
CLASSIFIER, EXPLAINER = "income-sklearn", "income-explainer"
PLACES = {CLASSIFIER: "model/model.joblib", EXPLAINER: "explainer"}
_FILE = "model-settings.json"
VARIABLE = "TEMPO_RUNTIME_MODELS__SKLEARN__"
PATIENCE = 600.0  # seconds for a start, or for one explanation that waits for 49 others
HEADERS = {"content-type": "application/json"}
Rows = NDArray[Any]


def census_rows() -> Rows:
    """The test rows; trains the example first where it is not."""
    sys.path.insert(0, str(EXAMPLE))
    from src.data import AdultData

    made = (ARTIFACTS / "model/model.joblib", ARTIFACTS / "explainer/tempo.json")
    if not all(path.is_file() for path in made):
        environment = {**os.environ, "INCOME_ARTIFACTS": str(ARTIFACTS)}
        subprocess.run([sys.executable, "train.py"], cwd=EXAMPLE, env=environment, check=True)
    rows: Rows = AdultData().X_test
    return rows


@contextmanager
def serving(
    *models: str,
    child: Mapping[str, str] | None = None,
    workers: int = 0,
    beside: Sequence[str] = (),
    extra: Mapping[str, Any] | None = None,
) -> Iterator[Server]:
    """Serves models of model-settings/, and artifacts beside them.

    Args:
        models: Their names.
        child: Settings of the explainer's child, as the environment names them.
        workers: Parallel workers.
        beside: Folders of the artifacts.
        extra: More `parameters.extra` of each model.
    """
    with tempfile.TemporaryDirectory(prefix="tempo-income-") as folder:
        for name in models:
            settings = settings_of(name)
            own = settings["parameters"].setdefault("extra", {})
            own.update(extra or {})
            write(Path(folder, name), settings)
        env = {f"{VARIABLE}{name}": value for name, value in (child or {}).items()}
        env["TEMPO_RUNTIME_TIMEOUT"] = str(PATIENCE)
        configured = {"parallel_workers": workers, "gzip_enabled": False}
        with serve(folder, *beside, settings=configured, env=env, timeout=PATIENCE) as server:
            yield server


def settings_of(name: str) -> dict[str, Any]:
    """The settings of a model of model-settings/, wherever they are written."""
    settings: dict[str, Any] = json.loads((ROOT / "model-settings" / name / _FILE).read_text())
    settings["parameters"]["uri"] = str(ARTIFACTS / PLACES[name])
    return settings


def write(folder: Path, settings: Mapping[str, Any]) -> Path:
    """Writes a model's settings into a folder, and gives the folder."""
    folder.mkdir(exist_ok=True)
    (folder / _FILE).write_text(json.dumps(settings))
    return folder


def post(server: Server, model: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to one V2 request, on a new connection, so that any thread may ask.

    Raises:
        RuntimeError: If the status is not 200; the message has the body.
    """
    address = server.url.removeprefix("http://")
    with closing(HTTPConnection(address, timeout=PATIENCE)) as connection:
        connection.request("POST", f"/v2/models/{model}/infer", json.dumps(body).encode(), HEADERS)
        answer = connection.getresponse()
        text = answer.read().decode()
    if answer.status != 200:
        raise RuntimeError(f"{answer.status}: {text}")
    found: dict[str, Any] = json.loads(text)
    return found


def payload(rows: Rows, number: int) -> dict[str, Any]:
    """A test row as the explainer's tensor."""
    row = rows[number].tolist()
    return {"name": "payload", "shape": [1, len(row)], "datatype": "INT64", "data": row}


def explain(server: Server, rows: Rows, number: int, threshold: float) -> str:
    """Explains a test row, its number the seed.

    Raises:
        RuntimeError: If the status is not 200.
    """
    parameters = {"parameters": {"threshold": threshold}, "tempo_seed": number}
    answer = post(server, EXPLAINER, {"inputs": [payload(rows, number)], "parameters": parameters})
    return str(answer["outputs"][0]["data"][0])


def slow_row(server: Server, rows: Rows, threshold: float, candidates: int) -> int:
    """Which of the first test rows takes longest to explain."""
    times = []
    for number in range(candidates):
        begin = time.monotonic()
        explain(server, rows, number, threshold)
        times.append(time.monotonic() - begin)
    return int(np.argmax(times))
