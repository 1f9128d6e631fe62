"""Servers of three nested pipelines, on each way from one to the next."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import save
from tempo_runtime.testing import Server, serve
from tests.fault.nested import Front, Prices, Shop, Stream

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


@pytest.fixture(scope="module", params=[0, 2], ids=lambda workers: f"workers={workers}")
def nested(request: pytest.FixtureRequest, nested_folder: Path) -> Iterator[Server]:
    """A server of all of them."""
    with serve(nested_folder, settings={"parallel_workers": request.param}) as server:
        server.workers = request.param  # type: ignore[attr-defined]
        yield server


def body(how: str, rows: Any = (1.0, 2.0)) -> dict[str, Any]:
    """A request that fails in a way of its own."""
    return {
        "inputs": [
            {"name": "rows", "datatype": "FP64", "shape": [len(rows)], "data": list(rows)},
            {"name": "how", "datatype": "BYTES", "shape": [1], "data": [how]},
        ]
    }
