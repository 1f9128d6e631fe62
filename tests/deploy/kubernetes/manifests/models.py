"""Pipelines and models for manifests. None is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tempo_runtime import Model, ModelFramework, PipelineModels, manifest, pipeline, save

CLASSIFIER = "income-sklearn"
EXPLAINER = "income-explainer"


def classifier(name: str = CLASSIFIER, **changed: Any) -> Model:
    given = {"platform": ModelFramework.SKLearn, "uri": "gs://seldon-models/test/income/model"}
    return Model(name, **{**given, **changed})


def explainer(
    name: str = EXPLAINER,
    models: dict[str, Any] | None = None,
    folder: Path | None = None,
    **changed: Any,
) -> Any:
    """The mission's pipeline, in short."""

    @pipeline(
        name,
        uri=changed.pop("uri", f"s3://tempo/{name}"),
        local_folder=str(folder) if folder else None,
        models=PipelineModels(**({"sklearn": classifier()} if models is None else models)),
        **changed,
    )
    def explain(payload: np.ndarray, parameters: dict) -> str:
        return ""

    return explain


def with_settings(folder: Path, **extra: Any) -> str:
    """The explainer's artifact, with settings of its own."""
    path = save(explainer(folder=folder))
    file = Path(path, "model-settings.json")
    settings = json.loads(file.read_text())
    settings["parameters"]["extra"] = extra
    file.write_text(json.dumps(settings))
    return path


def documents(model: Any, options: Any = None) -> list[dict[str, Any]]:
    """The objects of a manifest, read again from its YAML."""
    return list(yaml.safe_load_all(manifest(model, options)))


def by_name(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The same by `KIND/NAME`, each once."""
    named = {f"{each['kind']}/{each['metadata']['name']}": each for each in found}
    assert len(named) == len(found)
    return named


def variables(container: dict[str, Any]) -> dict[str, str]:
    """Environment variables of a container."""
    return {each["name"]: each["value"] for each in container.get("env", [])}
