"""The time of `deploy_local` until the income explainer's first answer, beside `mlserver start`.

Each in a new process, in turns: `mlserver start` on a folder with both models, and a Python that calls
`deploy_local`. The clock runs from the start of the process until the first explanation has arrived.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import httpx

from benchmarks.harness import income
from benchmarks.harness.bench import Bench
from benchmarks.harness.turns import in_turns, ratio
from tempo_runtime._util.ports import HOST, free_ports

TARGET = 1.5  # times `mlserver start`
ASKED = {"threshold": 0.9}
_WAIT = 120.0  # seconds
_DEPLOYER = """
import json, sys
from tempo_runtime import deploy_local
remote = deploy_local(sys.argv[1])
answer = remote.predict(**json.loads(sys.argv[2]))
print(json.dumps(json.loads(answer)["data"]["anchor"]), flush=True)
sys.stdin.read()
remote.undeploy()
"""


def run(bench: Bench) -> None:
    rows = income.census_rows()
    anchors: list[object] = []
    ways = {"mlserver start": by_mlserver, "deploy_local": by_deploy_local}
    turns = {name: partial(way, rows, anchors) for name, way in ways.items()}
    rounds = min(bench.scale.rounds, 3 if bench.scale.brief else 7)
    found = in_turns(turns, rounds)
    table = [
        (name, f"{statistics.median(taken):.2f}", f"{max(taken):.2f}")
        for name, taken in found.items()
    ]
    bench.report.table(("to the first answer", "median s", "worst s"), table)
    compared = ratio(found["deploy_local"], found["mlserver start"])
    most = None if bench.scale.smoke else TARGET
    bench.report.claim(
        "deploy_local / mlserver start", "to the first explanation", compared, most=most
    )
    bench.report.answers(len(anchors), sum(anchor != anchors[0] for anchor in anchors))


def by_mlserver(rows: income.Rows, anchors: list[object]) -> float:
    """Seconds that `mlserver start` takes with both models in one server."""
    ports = dict(zip(("HTTP", "GRPC", "METRICS"), free_ports(3), strict=True))
    own = {f"MLSERVER_{name}_PORT": str(port) for name, port in ports.items()}
    url = f"http://{HOST}:{ports['HTTP']}/v2/models/{income.EXPLAINER}"
    with tempfile.TemporaryDirectory() as folder:
        for name in (income.CLASSIFIER, income.EXPLAINER):
            income.write(Path(folder, name), income.settings_of(name))
        start = time.monotonic()
        mlserver = Path(sys.executable).with_name("mlserver")
        process = subprocess.Popen(
            [mlserver, "start", folder],
            env={**os.environ, **own},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            _until_ready(url, process)
            body = {"inputs": [income.payload(rows, 0)], "parameters": {"parameters": ASKED}}
            answer = httpx.post(f"{url}/infer", json=body, timeout=_WAIT)
            answer.raise_for_status()
            took = time.monotonic() - start
            text = answer.json()["outputs"][0]["data"][0]
            anchors.append(json.loads(text)["data"]["anchor"])
            return took
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def by_deploy_local(rows: income.Rows, anchors: list[object]) -> float:
    """Seconds that a process takes that deploys both."""
    asked = json.dumps({"payload": rows[:1].tolist(), "parameters": ASKED})
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", _DEPLOYER, str(income.ARTIFACTS / "explainer"), asked],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout is not None
        answer = process.stdout.readline()
        took = time.monotonic() - start
    assert answer, "deploy_local failed"
    anchors.append(json.loads(answer))
    return took


def _until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _WAIT
    while process.poll() is None and time.monotonic() < end:
        try:
            if httpx.get(f"{url}/ready", timeout=_WAIT).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.02)
    raise SystemExit("mlserver start did not come up")
