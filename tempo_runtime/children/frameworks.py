"""Which MLServer runtime serves the models of a framework, and how it is installed."""

from __future__ import annotations

from tempo_runtime.details import ModelFramework

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


def installing(implementation: str) -> str | None:
    """The command that installs a runtime class of MLServer's; None for a class of others."""
    module = implementation.partition(".")[0]
    if not module.startswith("mlserver_"):
        return None
    package = module.replace("_", "-")
    without = module in _WITHOUT_REQUIREMENTS
    return f"pip install {f'--no-deps {package}==1.6.1' if without else package}"
