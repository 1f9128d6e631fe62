"""Generate KServe's objects: an InferenceService for each model, and a ServingRuntime for pipelines.

KServe's webhook reads an InferenceService into Go's types and stores the result. So objects are
written in that form, and a GitOps tool that compares the manifest with the cluster sees no difference.
From pkg/apis/serving/v1beta1/inference_service_defaults.go (DefaultInferenceService) and
pkg/constants/constants.go of KServe: `deploymentMode` is `Standard` or `Knative` from 0.16.0 on, and from
0.17.0 on the webhook rewrites `RawDeployment` and `Serverless` to these. The autoscaler class `none`
exists from 0.15.1 on, and earlier webhooks reject it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tempo_runtime.authoring.details import ModelFramework
from tempo_runtime.deploy.kubernetes.addresses import KSERVE_GRPC, KSERVE_HTTP, Endpoint, kserve
from tempo_runtime.deploy.kubernetes.manifests import annotation, pods
from tempo_runtime.deploy.kubernetes.manifests.options import KServeRemote, ModelOptions
from tempo_runtime.deploy.kubernetes.manifests.quantities import canonical
from tempo_runtime.deploy.kubernetes.manifests.spec import DeployedModel
from tempo_runtime.errors import SettingsError

TARGET = "kserve"
RUNTIME = "tempo-runtime"
FORMAT = "tempo"
IMAGE = "tempo-runtime-server"
_CONTAINER = "kserve-container"
_PORTS = [
    {"name": "http1", "containerPort": KSERVE_HTTP, "protocol": "TCP"},
    {"name": "h2c", "containerPort": KSERVE_GRPC, "protocol": "TCP"},
]
MODE = "serving.kserve.io/deploymentMode"
MODES = {
    "RawDeployment": "Standard",
    "Serverless": "Knative",
}  # the names from 0.16 on, by the older names
_AUTOSCALER = "serving.kserve.io/autoscalerClass"
_MODES_RENAMED = (0, 16, 0)
_AUTOSCALER_CAN_BE_NONE = (0, 15, 1)
_LONGEST = 53  # the name of the Service, with `-predictor`, may have 63
# config/runtimes/kserve-mlserver.yaml
MLSERVER = "kserve-mlserver"
_FORMATS = {
    ModelFramework.SKLearn: "sklearn",
    ModelFramework.XGBoost: "xgboost",
    ModelFramework.LightGBM: "lightgbm",
    ModelFramework.MLFlow: "mlflow",
}
# config/runtimes/kserve-tritonserver.yaml
TRITON = "kserve-tritonserver"
_TRITON_FORMATS = {
    ModelFramework.Triton: "triton",
    ModelFramework.TensorFlow: "tensorflow",
    ModelFramework.PyTorch: "pytorch",
    ModelFramework.ONNX: "onnx",
    ModelFramework.TensorRT: "tensorrt",
}


def endpoints(models: Mapping[str, DeployedModel], options: KServeRemote) -> dict[str, Endpoint]:
    """Return the address of each model inside the cluster."""
    return {
        name: kserve(name, options.namespace, knative=options.knative, headless=options.headless)
        for name in models
    }


def documents(models: Mapping[str, DeployedModel], options: KServeRemote) -> list[dict[str, Any]]:
    """Return the objects, the pipeline's first.

    Args:
        models: The result of `resolve_models`.
        options: The options.

    Raises:
        SettingsError: If KServe has no runtime for a model, or does not support an option.
    """
    _refuse(models, options)
    where = endpoints(models, options)
    by_grpc = _called_by_grpc(models)
    objects = []
    for model in models.values():
        model_options = pods.options_of(model, options, models)
        objects.append(_service(model, options, model_options, where, model.name in by_grpc))
        if model_options.min_available is not None:
            objects.append(_budget(model, options, model_options.min_available))
    if options.runtime is None and any(model.ours for model in models.values()):
        objects.append(_runtime(options))
    return objects


def _service(
    model: DeployedModel,
    options: KServeRemote,
    model_options: ModelOptions,
    where: Mapping[str, Endpoint],
    by_grpc: bool,
) -> dict[str, Any]:
    served = pods.container(_CONTAINER, model, model_options, where)
    del served["name"]
    if by_grpc:
        served["ports"] = _PORTS  # without ports the Service would have only that for HTTP
    served |= {
        "modelFormat": {"name": _format(model)},
        "runtime": _runtime_name(model, options),
        "protocolVersion": "v2",
        "storageUri": model.uri,
        "livenessProbe": {**pods.probe(model_options.liveness), **_http_get("/v2/health/live")},
        "readinessProbe": {
            **pods.probe(model_options.readiness),
            **_http_get(f"/v2/models/{model.name}/ready"),
        },
    }
    predictor: dict[str, Any] = {"model": served, "timeout": options.timeout}
    if model_options.max_replicas is None:
        predictor |= {"minReplicas": model_options.replicas, "maxReplicas": model_options.replicas}
    else:
        predictor |= {
            "minReplicas": model_options.min_replicas or 1,
            "maxReplicas": model_options.max_replicas,
        }
        if not options.knative:  # Knative counts requests instead
            predictor |= {"scaleMetric": "cpu", "scaleTarget": model_options.target_cpu}
    if model_options.logger is not None:
        predictor["logger"] = {"mode": model_options.logger.mode, "url": model_options.logger.url}
    if options.service_account_name:
        predictor["serviceAccountName"] = options.service_account_name
    pod = pods.pod(model_options, {"serving.kserve.io/inferenceservice": model.name})
    if options.knative:
        # Knative rejects it for a pod, unless its flag kubernetes.podspec-securitycontext is set.
        pods.secure_container(pod, served)
    predictor |= pod
    _write_as_stored(predictor)
    annotations = {
        **annotation.annotations_of(model, TARGET, options.namespace),
        MODE: _mode(options),
    }
    if (
        model_options.max_replicas is None
        and not options.knative
        and _is_from(options, _AUTOSCALER_CAN_BE_NONE)
    ):
        # Otherwise KServe creates an HPA even if both bounds are equal, and starts with one pod.
        annotations[_AUTOSCALER] = "none"
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": pods.metadata(model.name, options, annotation.LABELS, annotations),
        "spec": {"predictor": predictor},
    }


def _runtime_name(model: DeployedModel, options: KServeRemote) -> str:
    if model.ours:
        return options.runtime or RUNTIME
    return TRITON if model.on_triton else MLSERVER


def _mode(options: KServeRemote) -> str:
    if _is_from(options, _MODES_RENAMED):
        return "Knative" if options.knative else "Standard"
    return "Serverless" if options.knative else "RawDeployment"


def _is_from(options: KServeRemote, version: tuple[int, ...]) -> bool:
    """Return whether the cluster's KServe has this version or a later one."""
    version_text = options.kserve_version
    if version_text is None:
        return True
    number = version_text.removeprefix("v").partition("-")[0]
    return tuple(map(int, number.split("."))) >= version


def _write_as_stored(predictor: dict[str, Any]) -> None:
    """Omit the fields that Go omits from JSON, and write quantities as Go does."""
    served = predictor["model"]
    for kind, quantities in served.get("resources", {}).items():
        served["resources"][kind] = {
            name: canonical(quantity) for name, quantity in quantities.items()
        }
    for item in (*served.get("env", []), *predictor.get("tolerations", [])):
        if item.get("value") == "":
            del item["value"]
    for probe in (served["livenessProbe"], served["readinessProbe"]):
        if not probe["initialDelaySeconds"]:
            del probe["initialDelaySeconds"]


def _runtime(options: KServeRemote) -> dict[str, Any]:
    """Return our own ServingRuntime; KServe's for MLServer takes the class from a label that it sets."""
    from tempo_runtime import __version__

    ports = {"MLSERVER_HTTP_PORT": KSERVE_HTTP, "MLSERVER_GRPC_PORT": KSERVE_GRPC}
    variables = {
        "MLSERVER_MODEL_IMPLEMENTATION": "tempo_runtime.TempoPipelineRuntime",
        **{name: str(port) for name, port in ports.items()},
        "MLSERVER_MODELS_DIR": "/mnt/models",
        "MLSERVER_PARALLEL_WORKERS": "0",
    }
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": pods.metadata(
            RUNTIME, options, annotations={"serving.kserve.io/server-type": "mlserver"}
        ),
        "spec": {
            "protocolVersions": ["v2"],
            "supportedModelFormats": [{"name": FORMAT, "version": "1", "autoSelect": True}],
            "containers": [
                {
                    "name": _CONTAINER,
                    "image": options.image or f"{IMAGE}:{__version__}",
                    "env": [{"name": k, "value": v} for k, v in variables.items()],
                    "ports": _PORTS[:1] if options.knative else _PORTS,
                    "securityContext": pods.UNPRIVILEGED,
                }
            ],
        },
    }


def _budget(model: DeployedModel, options: KServeRemote, least: int) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": pods.metadata(model.name, options),
        "spec": {
            "minAvailable": least,
            "selector": {"matchLabels": {"serving.kserve.io/inferenceservice": model.name}},
        },
    }


def _called_by_grpc(models: Mapping[str, DeployedModel]) -> set[str]:
    calls = [call for model in models.values() for call in model.calls.values()]
    return {call.child.name for call in calls if call.settings.transport == "grpc"}


def _refuse(models: Mapping[str, DeployedModel], options: KServeRemote) -> None:
    if options.auth_secret_name:
        raise SettingsError(
            "auth_secret_name: KServe downloads with the secrets of a service account; set "
            "service_account_name to one that has them"
        )
    if fields := options.stating(("progress_deadline",)):
        raise SettingsError(f"{', '.join(fields)}: KServe has no such option; leave it out")
    if options.knative and (fields := options.stating(("target_cpu", "min_available"))):
        raise SettingsError(
            f"{', '.join(fields)}: Knative scales by requests, down to the needed pods; leave it out"
        )
    if options.knative and options.headless:
        raise SettingsError(
            "headless: a service of Knative has an address and port 80; leave it out, or set knative to "
            "false"
        )
    pods.refuse_idle_targets(models, options)
    if options.knative and (called := sorted(_called_by_grpc(models))):
        raise SettingsError(
            f"{', '.join(called)}: a service of Knative has only a port for HTTP; call it over http, or "
            "set knative to false"
        )
    for name in models:
        if len(name) > _LONGEST or not name[0].isalpha():
            raise SettingsError(
                f"{name}: KServe accepts names of up to {_LONGEST} characters that begin with a letter; "
                "rename it"
            )
        if options.of(name).replicas == 0:
            raise SettingsError(
                f"{name}: replicas is 0, which KServe reads as no limit; set it to 1 or more"
            )


def _http_get(path: str) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": KSERVE_HTTP}}


def _format(model: DeployedModel) -> str:
    if model.ours:
        return FORMAT
    if model.on_triton:
        return _TRITON_FORMATS[model.platform]
    if model.platform not in _FORMATS:
        raise SettingsError(
            f"{model.name}: KServe has no MLServer runtime for {model.platform.value!r}; deploy it by "
            "hand, and set its URL in the settings of the pipeline that calls it"
        )
    return _FORMATS[model.platform]
