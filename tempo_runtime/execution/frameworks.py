"""Which MLServer runtime serves the models of a framework, and how it is installed."""

from __future__ import annotations

import os

from tempo_runtime.authoring.details import ModelFramework

IMPLEMENTATIONS = {
    ModelFramework.SKLearn: "mlserver_sklearn.SKLearnModel",
    ModelFramework.XGBoost: "mlserver_xgboost.XGBoostModel",
    ModelFramework.LightGBM: "mlserver_lightgbm.LightGBMModel",
    ModelFramework.MLFlow: "mlserver_mlflow.MLflowRuntime",
    ModelFramework.HuggingFace: "mlserver_huggingface.HuggingFaceRuntime",
    ModelFramework.AlibiExplain: "mlserver_alibi_explain.AlibiExplainRuntime",
    ModelFramework.AlibiDetect: "mlserver_alibi_detect.AlibiDetectRuntime",
}
# What these two require does not go with MLServer 1.7, and they do without it.
_WITHOUT_REQUIREMENTS = ("mlserver_alibi_explain", "mlserver_alibi_detect")
# File names that these runtimes look for in a model's folder, as MLServer lists them.
_FILES = {
    "mlserver_sklearn.SKLearnModel": ("model.joblib", "model.pickle", "model.pkl"),
    "mlserver_xgboost.XGBoostModel": ("model.bst", "model.json", "model.ubj"),
    "mlserver_lightgbm.LightGBMModel": ("model.bst",),
    "mlserver_mlflow.MLflowRuntime": ("MLmodel",),
}
# Messages of libraries that do not explain the cause, and what to do.
_HINTS = {
    "train and valid dataset categorical_feature do not match": (
        "the model was trained on a DataFrame with categorical columns, and MLServer's LightGBM runtime "
        "cannot take them: send an array, with the number of each category in the order of training"
    ),
}


def missing_file(implementation: str, folder: str) -> str | None:
    """Name the file that a model's folder lacks.

    Args:
        implementation: The runtime class that serves it.
        folder: The folder.

    Returns:
        What is missing and what to do; None if nothing is missing or the runtime is not known.
    """
    wanted = _FILES.get(implementation)
    if wanted is None or not os.path.isdir(folder):
        return None
    there = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    if not set(wanted).isdisjoint(there):
        return None
    others = [
        name
        for name in there
        if name != "model-settings.json" and os.path.isfile(os.path.join(folder, name))
    ]
    remedy = f"rename {others[0]} if it is the model" if len(others) == 1 else "put the model there"
    return f"{folder} has no {' or '.join(wanted)}, which {implementation} loads; {remedy}"


def hint(error: Exception) -> str:
    """Return what to do about a library's exception that does not explain it; empty if unknown."""
    found = (told for said, told in _HINTS.items() if said in str(error))
    return next((f"; {told}" for told in found), "")


def installing(implementation: str) -> str | None:
    """Return the command that installs a runtime class of MLServer's; None for a class of others."""
    module = implementation.partition(".")[0]
    if not module.startswith("mlserver_"):
        return None
    package = module.replace("_", "-")
    without = module in _WITHOUT_REQUIREMENTS
    return f"pip install {f'--no-deps {package}==1.6.1' if without else package}"
