"""MLServer's runtimes for each framework: class, files, installation; and what only Triton serves."""

from __future__ import annotations

import os

from tempo_runtime.authoring.details import SERVED_BY_TRITON, ModelFramework
from tempo_runtime.errors import SettingsError
from tempo_runtime.settings import ENV_PREFIX

IMPLEMENTATIONS = {
    ModelFramework.SKLearn: "mlserver_sklearn.SKLearnModel",
    ModelFramework.XGBoost: "mlserver_xgboost.XGBoostModel",
    ModelFramework.LightGBM: "mlserver_lightgbm.LightGBMModel",
    ModelFramework.MLFlow: "mlserver_mlflow.MLflowRuntime",
    ModelFramework.HuggingFace: "mlserver_huggingface.HuggingFaceRuntime",
    ModelFramework.AlibiExplain: "mlserver_alibi_explain.AlibiExplainRuntime",
    ModelFramework.AlibiDetect: "mlserver_alibi_detect.AlibiDetectRuntime",
}
# Replaces MLServer's class on servers that this package starts.
SERVED_SKLEARN = "tempo_runtime.execution.served_sklearn.SKLearnModel"
_FRAMEWORKS = {SERVED_SKLEARN: ModelFramework.SKLearn} | {
    implementation: framework for framework, implementation in IMPLEMENTATIONS.items()
}
# The requirements of these two conflict with MLServer 1.7, and are not needed.
_WITHOUT_REQUIREMENTS = ("mlserver_alibi_explain", "mlserver_alibi_detect")
_SETTINGS = "model-settings.json"
_TRITON_IMAGE = "nvcr.io/nvidia/tritonserver:24.08-py3"
# File names that these runtimes look for in a model's folder, as MLServer lists them.
_FILES = {
    "mlserver_sklearn.SKLearnModel": ("model.joblib", "model.pickle", "model.pkl"),
    "mlserver_xgboost.XGBoostModel": ("model.bst", "model.json", "model.ubj"),
    "mlserver_lightgbm.LightGBMModel": ("model.bst",),
    "mlserver_mlflow.MLflowRuntime": ("MLmodel",),
}
# Messages of libraries that do not explain the cause, and the remedies.
_HINTS = {
    "train and valid dataset categorical_feature do not match": (
        "the model was trained on a DataFrame with categorical columns, which MLServer's LightGBM "
        "runtime does not support: send an array, with the number of each category in the order of "
        "training"
    ),
}


def framework_of(implementation: str) -> ModelFramework:
    """Return the framework whose models a runtime class of MLServer serves."""
    return _FRAMEWORKS.get(implementation, ModelFramework.Custom)


def only_triton_serves(platform: str, folder: str | None) -> bool:
    """Return whether MLServer cannot serve a model, unless an `implementation` is set.

    Args:
        platform: Its framework.
        folder: Its folder, whose model-settings.json may name a runtime.
    """
    own = folder is not None and os.path.isfile(os.path.join(folder, _SETTINGS))
    return platform in SERVED_BY_TRITON and not own


def refuse_without_triton(alias: str, name: str, platform: str, folder: str | None) -> None:
    """Refuse to serve a model of a pipeline here if only Triton can serve it.

    Args:
        alias: The name by which the pipeline calls it.
        name: Its name.
        platform: Its framework.
        folder: Its folder: a model repository of Triton, or the model's folder in one.

    Raises:
        SettingsError: With the command that starts Triton, and the variable for its URL.
    """
    if not only_triton_serves(platform, folder):
        return
    repository = os.path.abspath(folder) if folder else "MODEL_REPOSITORY"
    if folder and not os.path.isdir(os.path.join(folder, name)):
        repository = os.path.dirname(repository)
    raise SettingsError(
        f"child {alias!r} ({name}) cannot run here: Triton serves models of the framework "
        f"{ModelFramework(platform).value!r}, and MLServer does not; start Triton (docker run --rm "
        f"-p 127.0.0.1:8000:8000 -p 127.0.0.1:8001:8001 -v {repository}:/models {_TRITON_IMAGE} "
        f"tritonserver --model-repository=/models) and set {ENV_PREFIX}MODELS__{alias.upper()}__URL to "
        "http://localhost:8000, or to grpc://localhost:8001"
    )


def missing_file(implementation: str, folder: str) -> str | None:
    """Describe the file that is missing in a model's folder.

    Args:
        implementation: The runtime class of the model.
        folder: The folder.

    Returns:
        The missing file and the remedy; None if no file is missing or the runtime is unknown.
    """
    wanted = _FILES.get(implementation)
    if wanted is None or not os.path.isdir(folder):
        return None
    present = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    if not set(wanted).isdisjoint(present):
        return None
    others = [
        name for name in present if name != _SETTINGS and os.path.isfile(os.path.join(folder, name))
    ]
    remedy = f"rename {others[0]} if it is the model" if len(others) == 1 else "put the model there"
    return (
        f"{folder} does not contain {' or '.join(wanted)}, which {implementation} loads; {remedy}"
    )


def hint(error: Exception) -> str:
    """Return the remedy for an exception of a library that does not explain it; empty if unknown."""
    hints = (hint for message, hint in _HINTS.items() if message in str(error))
    return next((f"; {hint}" for hint in hints), "")


def installing(implementation: str) -> str | None:
    """Return the command that installs one of MLServer's runtimes; None for other classes."""
    module = implementation.partition(".")[0]
    if not module.startswith("mlserver_"):
        return None
    package = module.replace("_", "-")
    no_deps = module in _WITHOUT_REQUIREMENTS
    return f"pip install {f'--no-deps {package}==1.6.1' if no_deps else package}"
