"""Servers of three nested pipelines, on each way from one to the next."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import save
from tempo_runtime.testing import Server, serve
from tests.errors.nested import Front, Prices, Shop, Stream

# Served as NAME-WAY: the pipeline, and how it calls its child.
WAYS = {
    "shop-http": (Shop, "prices", {"transport": "http"}),
    "shop-grpc": (Shop, "prices", {"transport": "grpc"}),
    "shop-inside": (Shop, "prices", {"transport": "in_process", "uri": "../prices"}),
    "front-http": (Front, "shop", {"transport": "http", "model": "shop-http"}),
    "front-grpc": (Front, "shop", {"transport": "grpc", "model": "shop-grpc"}),
    "front-mixed": (Front, "shop", {"transport": "http", "model": "shop-grpc"}),
    "front-inside": (Front, "shop", {"transport": "in_process", "uri": "../shop-inside"}),
    "stream": (Stream, "shop", {"transport": "http", "model": "shop-http"}),
}
FEW = ("prices", "shop-grpc", "front-mixed")


@pytest.fixture(scope="session")
def nested_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all of them."""
    root = tmp_path_factory.mktemp("nested")
    save(Prices, str(root / "models" / "prices"))
    for target in (Shop, Front, Stream):
        save(target, str(root / "saved" / target.__name__))
    for name, (target, child, how) in WAYS.items():
        folder = root / "models" / name
        shutil.copytree(root / "saved" / target.__name__, folder)
        settings = json.loads((folder / "model-settings.json").read_text())
        settings["name"] = name
        settings["parameters"]["extra"] = {"models": {child: how}}
        (folder / "model-settings.json").write_text(json.dumps(settings))
    return root / "models"


@pytest.fixture(scope="session")
def few_nested(nested_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one way, which each of several processes loads."""
    root = tmp_path_factory.mktemp("few")
    for name in FEW:
        shutil.copytree(nested_folder / name, root / name)
    return root


class Servers:
    """Servers by their number of workers, each started when it is first asked for."""

    def __init__(self, folders: dict[int, Path], stack: contextlib.ExitStack) -> None:
        self._folders = folders
        self._stack = stack
        self._running: dict[int, Server] = {}

    def __getitem__(self, workers: int) -> Server:
        if workers not in self._running:
            settings = {"parallel_workers": workers}
            server = serve(self._folders[workers], settings=settings, timeout=180)
            self._running[workers] = self._stack.enter_context(server)
        return self._running[workers]


@pytest.fixture(scope="module")
def servers(nested_folder: Path, few_nested: Path) -> Iterator[Servers]:
    """Servers of all ways without workers and with one, and one of few ways with two workers.

    Without workers, a child of the same server is called through MLServer's data plane.
    """
    with contextlib.ExitStack() as stack:
        yield Servers({0: nested_folder, 1: nested_folder, 2: few_nested}, stack)


def body(how: str, rows: Any = (1.0, 2.0)) -> dict[str, Any]:
    """A request that fails in a way of its own."""
    return {
        "inputs": [
            {"name": "rows", "datatype": "FP64", "shape": [len(rows)], "data": list(rows)},
            {"name": "how", "datatype": "BYTES", "shape": [1], "data": [how]},
        ]
    }
