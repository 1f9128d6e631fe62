"""How long `deploy_local` takes to the income explainer's first answer, beside `mlserver start`.

`python benchmarks/deploy.py [--quick]`. Each in a new process, in turns: `mlserver start` on a folder
with both models, and a Python that calls `deploy_local`. The clock runs from the start of the process
until the first explanation has arrived.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import income
from rich.console import Console
from rich.table import Table

from tempo_runtime._util.ports import HOST, free_ports

TARGET = 1.5  # times `mlserver start`
ASKED = {"threshold": 0.9}
_WAIT = 120.0  # seconds
_DEPLOYER = """
import json, sys
from tempo_runtime import deploy_local
remote = deploy_local(sys.argv[1])
answer = remote.predict(**json.loads(sys.argv[2]))
print(json.loads(answer)["data"]["anchor"], flush=True)
sys.stdin.read()
remote.undeploy()
"""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three rounds instead of seven")
    rounds = 3 if parser.parse_args(argv).quick else 7
    console = Console()
    rows = income.census_rows()
    ways: dict[str, Callable[[income.Rows], float]] = {
        "mlserver start": by_mlserver,
        "deploy_local": by_deploy_local,
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    with console.status("") as status:
        for turn in range(rounds + 1):  # the first fills the caches
            status.update(f"round {turn} of {rounds}")
            for name, way in ways.items():
                took = way(rows)
                if turn:
                    times[name].append(took)
    base = statistics.median(times["mlserver start"])
    table = Table("to the first answer", "median s", "worst s", "of mlserver start", box=None)
    for name, taken in times.items():
        middle = statistics.median(taken)
        table.add_row(name, f"{middle:.2f}", f"{max(taken):.2f}", f"{middle / base:.2f}")
    console.print(table)
    ratio = statistics.median(times["deploy_local"]) / base
    console.print(f"target: at most {TARGET}; {'met' if ratio <= TARGET else 'MISSED'}")


def by_mlserver(rows: income.Rows) -> float:
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
            return time.monotonic() - start
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def by_deploy_local(rows: income.Rows) -> float:
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


if __name__ == "__main__":
    main()
