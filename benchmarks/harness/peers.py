"""Install and start the peers of `benchmarks/peers`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.bench import Bench
from benchmarks.harness.load import Question, closed_loop, post
from benchmarks.harness.servers import ROOT, Contender, environment
from tempo_runtime._util.ports import free_ports

FOLDER = ROOT / "benchmarks" / "peers"
START = 60.0  # seconds
# So that every peer reads the pickle of the same model with the same code.
COMMON = ("numpy", "scikit-learn", "joblib")


class Peer(NamedTuple):
    """A platform.

    Attributes:
        package: What is installed; nothing, if it is here already.
        command: Arguments of its Python, in the folder of peers; `PORT` is where it listens.
    """

    package: str
    command: tuple[str, ...]


PEERS = {
    "FastAPI, in process": Peer("", ("fastapi_app.py",)),
    "BentoML, in process": Peer(
        "bentoml>=1.4,<2", ("-m", "bentoml", "serve", "bentoml_service:InProcess")
    ),
    "BentoML, batching": Peer(
        "bentoml>=1.4,<2", ("-m", "bentoml", "serve", "bentoml_service:Services")
    ),
    "LitServe, batching": Peer("litserve>=0.2.16,<0.3", ("litserve_server.py",)),
    "Ray Serve, batching": Peer("ray[serve]>=2.40,<3", ("ray_app.py",)),
}


def start_peers(
    bench: Bench,
    models: list[Path],
    rows: NDArray[np.float64],
    answer: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> dict[str, Contender]:
    """Start each peer that can be installed, and print why the others are left out.

    Args:
        bench: Ends them.
        models: Files of the models.
        rows: A question.
        answer: Computes the right answer; a peer has started once it gives that.
    """
    started = {}
    # A smoke run installs nothing, unless it asks for the platforms.
    peers = {
        name: peer
        for name, peer in PEERS.items()
        if not (peer.package and bench.scale.smoke and not bench.only)
    }
    for name, peer in peers.items():
        bench.status(f"installing and starting {name}")
        try:
            python = _install(peer)
            contender, process = bench.stack.enter_context(_start(bench, peer, python, models))
            _wait(contender, process, Question(_encode(rows, 0), answer(rows), _decode))
            started[name] = contender
        except (_Failed, OSError) as error:
            bench.report.note(f"without {name}: {error}")
    return started


class _Failed(Exception):
    """A peer could not be installed or started."""


def _install(peer: Peer) -> Path:
    """Return the Python of the peer's virtual environment, which is made if it is not there."""
    if not peer.package:
        return Path(sys.executable)
    name = peer.package.partition(">")[0].partition("[")[0]
    folder = ROOT / f".venv-{name}"
    python, done = folder / "bin/python", folder / "installed"
    packages = [peer.package, "xgboost-cpu==" + version("xgboost"), "orjson"]
    packages += [f"{package}=={version(package)}" for package in COMMON]
    if not done.is_file() or done.read_text().split() != packages:
        uv = str(Path(sys.executable).with_name("uv"))
        _command(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
        _command(uv, "pip", "install", "--quiet", "--python", str(python), *packages)
        done.write_text("\n".join(packages))
    return python


def _command(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _Failed(str(error)) from error
    if done.returncode:
        raise _Failed(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no reason")


@contextlib.contextmanager
def _start(
    bench: Bench, peer: Peer, python: Path, models: list[Path]
) -> Iterator[tuple[Contender, subprocess.Popen[bytes]]]:
    [port] = free_ports(1)
    variables = {**environment(), "PORT": str(port), "MODELS": " ".join(map(str, models))}
    variables |= {"PYTHONPATH": str(FOLDER), "PATH": f"{python.parent}:{os.environ['PATH']}"}
    variables |= {"BENTOML_HOME": str(bench.folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    variables |= {"RAY_USAGE_STATS_ENABLED": "0", "NO_PROXY": "*"}
    command = [str(python), *peer.command]
    if "bentoml" in peer.command:
        command += [
            "--port",
            str(port),
            "--host",
            "127.0.0.1",
            "--quiet",
            "--working-dir",
            str(FOLDER),
        ]
    log = bench.folder / f"peer-{port}.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command,
            cwd=FOLDER,
            env=variables,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield Contender(port, [process.pid], _encode, _decode), process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(contender: Contender, process: subprocess.Popen[bytes], question: Question) -> None:
    end = time.monotonic() + START
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(ConnectionError):
            if not closed_loop(contender.port, [question], 1, 0).wrong:
                return
        time.sleep(0.1)
    why = f"it gave no right answer within {START:g} s" if process.poll() is None else "it ended"
    raise _Failed(why)


def _encode(rows: NDArray[np.float64], number: int) -> bytes:
    return post("/predict", json.dumps({"x": rows.tolist()}).encode())


def _decode(body: bytes) -> NDArray[np.float64]:
    return np.asarray(json.loads(body), dtype=float)
