"""The environment that a model other than a pipeline is served in, packed into its folder.

Its framework saved the model there. MLServer unpacks the environment, and serves the model in it with a
parallel worker, because model-settings.json names it.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from typing import Any

from tempo_runtime._util import atomic_files, json_files
from tempo_runtime.artifact.declaration import MODEL_SETTINGS, TARBALL_PARAMETER
from tempo_runtime.artifact.environment import LOCK, TARBALL, Packed, prepare_model
from tempo_runtime.authoring.models import Model, execution
from tempo_runtime.errors import ArtifactError, AuthoringError

logger = logging.getLogger(__name__)


def save_model(model: Model, folder: str | None, environment: str | None) -> str:
    """Pack the environment that conda.yaml or requirements.txt in a model's folder describes.

    MLflow writes both, with the same packages.

    Args:
        model: The model.
        folder: Its folder; by default its `local_folder`.
        environment: `conda`, `venv`, or `auto` for requirements.txt if it is there.

    Returns:
        The folder.

    Raises:
        AuthoringError: If there is nothing to save.
        EnvironmentFailed: If the environment cannot be made.
        ArtifactError: If the folder cannot be written.
    """
    folder = folder or model.details.home
    if environment is None or folder is None or not os.path.isdir(folder):
        raise AuthoringError(
            f"{model} is not a pipeline: its framework saves it, and `save` only packs the environment "
            "that conda.yaml or requirements.txt in its local_folder describes; give it that folder, or "
            "deploy it as it is"
        )
    implementation = execution().implementation(model)
    settings = _settings(model, folder, implementation)
    packed = prepare_model(folder, environment, str(settings["implementation"]).partition(".")[0])
    try:
        _copy(packed, folder)
        atomic_files.write(folder, LOCK, packed.lock)
        content = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
        atomic_files.write(folder, MODEL_SETTINGS, content.encode())
    except OSError as error:
        raise ArtifactError(f"{folder} cannot be written: {error.strerror}") from error
    logger.info("%s: its environment is in %s", model.details.name, os.path.join(folder, TARBALL))
    return folder


def _settings(model: Model, folder: str, implementation: str | None) -> dict[str, Any]:
    """Return the content of model-settings.json: the environment, and what its owner wrote there."""
    settings: dict[str, Any] = {}
    if os.path.exists(os.path.join(folder, MODEL_SETTINGS)):
        path = os.path.join(folder, MODEL_SETTINGS)
        settings = json_files.read_object(path, "correct or remove it")
    settings.setdefault("name", model.details.name)
    settings.setdefault("implementation", implementation)
    if settings["implementation"] is None:
        raise AuthoringError(
            f"{model}: no MLServer runtime is known for {model.details.platform.value!r}; name its "
            f"class as `implementation` in {os.path.join(folder, MODEL_SETTINGS)}"
        )
    parameters = {"uri": ".", **(settings.get("parameters") or {})}
    settings["parameters"] = {**parameters, TARBALL_PARAMETER: f"./{TARBALL}"}
    return settings


def _copy(packed: Packed, folder: str) -> None:
    """Copy the packed environment to its folder; it is complete, or not there."""
    part = os.path.join(folder, f".{TARBALL}")
    try:
        shutil.copyfile(packed.tarball, part)
        os.replace(part, os.path.join(folder, TARBALL))
    finally:
        if os.path.exists(part):
            os.remove(part)
