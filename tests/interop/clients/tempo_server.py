"""Saves models with tempo 0.5 and serves them with its own runtime: FOLDER HTTP GRPC METRICS."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mlserver.cli import main
from tempo import ModelFramework, save
from tempo.serve.utils import model

MODELS: dict[str, Callable[[Any], Any]] = {
    "double": lambda x: x * 2,
    "column": lambda x: x.reshape(-1, 1),
    "text": lambda x: "it's é",
    "empty": lambda x: "",
    "number": lambda x: 2.5,
    "nothing": lambda x: None,
    "mapping": lambda x: {"rows": x.astype("float32"), "label": "a", "n": 3},
    "parts": lambda x: (x * 2, "done"),
    "listed": lambda x: {"rows": [[1, 2.5], ("a", None)], "found": True},
}

folder, *ports = sys.argv[1:]
for name, function in MODELS.items():
    place = Path(folder, name)
    place.mkdir()
    decorate = model(
        name=name,
        platform=ModelFramework.Custom,
        local_folder=str(place),
        inputs=np.ndarray,
        outputs=np.ndarray,
    )
    save(decorate(function), save_env=False)
    settings = {
        "name": name,
        "implementation": "tempo.mlserver.InferenceRuntime",
        "parameters": {"uri": str(place)},
    }
    (place / "model-settings.json").write_text(json.dumps(settings))
names = ("http_port", "grpc_port", "metrics_port")
server = {"parallel_workers": 0, "host": "127.0.0.1", **dict(zip(names, map(int, ports)))}
Path(folder, "settings.json").write_text(json.dumps(server))
sys.argv[1:] = ["start", folder]
main()
