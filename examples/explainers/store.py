"""Where the artifacts are, and what they hold beside the pipeline's code."""

import json
import os
from pathlib import Path

import dill

import tempo_runtime as tempo

ARTIFACTS = Path(os.environ.get("EXPLAINERS_ARTIFACTS", Path(__file__).parent / "artifacts"))
EXPLAINER = "explainer.dill"


def folder(name):
    """The folder of one artifact."""
    return str(ARTIFACTS / name)


def save(pipeline, explainer, output=None):
    """Saves a pipeline with its explainer; `output` is what it asks its child for."""
    details = pipeline.get_tempo().details
    os.makedirs(details.local_folder, exist_ok=True)
    with open(Path(details.local_folder, EXPLAINER), "wb") as file:
        dill.dump(explainer, file)
    child = {"transport": "http"} | ({"output": output} if output else {})
    children = {alias: child for alias, _ in pipeline.get_tempo().declared.items()}
    write_settings(details.local_folder, parameters={"extra": {"models": children}})
    return tempo.save(pipeline)


def read(pipeline):
    """The explainer that was saved with a pipeline; called in its constructor."""
    with open(Path(pipeline.get_tempo().details.local_folder, EXPLAINER), "rb") as file:
        return dill.load(file)


def write_settings(path, **settings):
    """Writes a model-settings.json; `tempo.save` adds to it what it knows."""
    Path(path, "model-settings.json").write_text(json.dumps(settings, indent=2))
