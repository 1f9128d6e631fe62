"""Where the artifacts are, and what they hold beside the pipeline's code."""

import json
import os
from pathlib import Path
from typing import Any

import dill

import tempo_runtime as tempo

ARTIFACTS = Path(os.environ.get("EXPLAINERS_ARTIFACTS", Path(__file__).parent / "artifacts"))
EXPLAINER = "explainer.dill"


def folder(name: str) -> str:
    """The folder of one artifact."""
    return str(ARTIFACTS / name)


def save(pipeline: Any, explainer: Any, output: str | None = None) -> str:
    """Saves a pipeline with its explainer; `output` is what it asks its child for."""
    place = str(tempo.describe(pipeline).details.local_folder)
    os.makedirs(place, exist_ok=True)
    with open(Path(place, EXPLAINER), "wb") as file:
        dill.dump(explainer, file)
    child = {"transport": "http"} | ({"output": output} if output else {})
    children = {alias: child for alias, _ in tempo.describe(pipeline).declared.items()}
    write_settings(place, parameters={"extra": {"models": children}})
    return tempo.save(pipeline)


def read(pipeline: Any) -> Any:
    """The explainer that was saved with a pipeline; called in its constructor."""
    with open(Path(str(tempo.describe(pipeline).details.local_folder), EXPLAINER), "rb") as file:
        return dill.load(file)


def write_settings(path: str, **settings: Any) -> None:
    """Writes a model-settings.json; `tempo.save` adds to it what it knows."""
    Path(path, "model-settings.json").write_text(json.dumps(settings, indent=2))
