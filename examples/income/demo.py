"""Trains, saves, serves and asks: the whole example, as `make demo` runs it."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import click
import httpx
import numpy as np
from rich.columns import Columns
from rich.console import Group
from rich.panel import Panel
from rich.table import Table

from tempo_runtime.testing import free_ports
from train import console, make_artifacts, step

REPOSITORY = Path(__file__).resolve().parents[2]
MODELS = REPOSITORY / "model-settings"
PORTS = {"MLSERVER_HTTP_PORT": 8080, "MLSERVER_GRPC_PORT": 8081, "MLSERVER_METRICS_PORT": 8082}
THRESHOLDS = (0.90, 0.95, 0.99)
READY_SECONDS, STOP_SECONDS = 60, 15
INCOMES = ("at most $50,000 a year", "more than $50,000 a year")


@contextmanager
def server():
    """`mlserver start model-settings/`, stopped with all it started when the block ends."""
    mlserver = Path(sys.executable).with_name("mlserver")
    with tempfile.TemporaryDirectory(prefix="income-demo-") as folder:
        log = Path(folder, "server.log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [mlserver, "start", MODELS],
                env={**os.environ, **{name: str(port) for name, port in choose_ports().items()}},
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for us: we stop the server in good order
            )
        try:
            yield process, log
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def choose_ports():
    """MLServer's usual ports, or free ones where something else has them."""
    if any(taken(port) for port in PORTS.values()):
        PORTS.update(zip(PORTS, free_ports(len(PORTS)), strict=True))
    return PORTS


def taken(port):
    """Whether something listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_ready(process, log, client):
    """Waits until both models are ready."""
    end = time.monotonic() + READY_SECONDS
    for model in ("income-sklearn", "income-explainer"):
        while True:
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"The server did not come up:\n{log.read_text()}")
            try:
                if client.get(f"/v2/models/{model}/ready").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.1)


def ask(client, model, row, **parameters):
    """Send a V2 request; return the value of its only output, and the time in milliseconds."""
    tensor = {"name": "payload", "shape": row.shape, "datatype": "INT64", "data": row.tolist()}
    start = time.monotonic()
    answer = client.post(
        f"/v2/models/{model}/infer", json={"inputs": [tensor], "parameters": parameters}
    )
    milliseconds = (time.monotonic() - start) * 1000
    if answer.status_code != 200:
        raise SystemExit(f"{model} answered {answer.status_code}: {answer.text}")
    return answer.json()["outputs"][0]["data"][0], milliseconds


def show(data, client, row):
    """Asks for the explanations and prints them."""
    label, _ = ask(client, "income-sklearn", row)
    words = [f"[dim]{name}[/] {value}" for name, value in data.in_words(row[0]).items()]
    verdict = f"\nThe forest predicts: [bold]{INCOMES[int(label)]}[/]"
    person = Group(Columns(words, padding=(0, 3)), verdict)
    console.print(Panel(person, title="A person of the census", padding=(1, 2)))
    table = Table(title="Conditions under which the prediction stays the same", show_lines=True)
    for heading in ("asked", "precision", "coverage", "ms"):
        table.add_column(heading, justify="right")
    table.add_column("anchor: everyone with all of this gets the same prediction")
    for threshold in THRESHOLDS:
        text, milliseconds = ask(
            client, "income-explainer", row, parameters={"threshold": threshold}
        )
        found = json.loads(text)["data"]
        table.add_row(
            f"{threshold:.2f}",
            f"{float(np.squeeze(found['precision'])):.3f}",
            f"{found['coverage']:.1%}",
            f"{milliseconds:,.0f}",
            "\n".join(found["anchor"]),
        )
    console.print(table)
    console.print(
        "[dim]precision: how often the prediction holds for people the anchor covers; "
        "coverage: how many people that is[/]"
    )


def curl(row, url):
    """The same request for a shell."""
    tensor = {"name": "payload", "shape": row.shape, "datatype": "INT64", "data": row[0].tolist()}
    body = {"inputs": [tensor], "parameters": {"parameters": {"threshold": 0.95}}}
    return (
        f"curl -s {url}/v2/models/income-explainer/infer -H 'content-type: application/json' "
        f"-d '{json.dumps(body, separators=(',', ':'))}'"
    )


@click.command()
@click.option("--row", default=0, show_default=True, help="Which row of the test set to explain.")
@click.option("--keep", is_flag=True, help="Leave the server up until Ctrl-C.")
def main(row, keep):
    """Trains the income classifier and its explainer, serves both, and explains a prediction."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    data = make_artifacts()
    person = data.X_test[row : row + 1]
    with server() as (process, log):
        url = f"http://127.0.0.1:{PORTS['MLSERVER_HTTP_PORT']}"
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            with step("Starting mlserver start model-settings/", f"MLServer is ready at {url}"):
                wait_ready(process, log, client)
            show(data, client, person)
        if keep:
            console.print("\nAsk it yourself, from another shell:\n")
            print(curl(person, url))  # one line, whole: rich would wrap it
            console.print("\n[bold]Ctrl-C stops the server.[/]")
            process.wait()
    console.print("[green]✓[/] Stopped the server; nothing is left running")


if __name__ == "__main__":
    try:
        main(standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        sys.exit("\nStopped; nothing is left running")
