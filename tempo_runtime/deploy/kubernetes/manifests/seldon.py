"""Generate Seldon Core v1's objects: a SeldonDeployment for each model.

The facts come from the operator's sources, named where they are used, in SeldonIO/seldon-core.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tempo_runtime.authoring.details import ModelFramework
from tempo_runtime.deploy.kubernetes.addresses import Endpoint, seldon, seldon_service
from tempo_runtime.deploy.kubernetes.manifests import annotation, pods
from tempo_runtime.deploy.kubernetes.manifests.options import Canary, ModelOptions, SeldonRemote
from tempo_runtime.deploy.kubernetes.manifests.spec import DeployedModel
from tempo_runtime.errors import SettingsError

TARGET = "seldon"
PREDICTOR = "default"
NO_ENGINE = "seldon.io/no-engine"
SERVICE = "seldon.io/svc-name"
_TRITON = "TRITON_SERVER"
# operator/apis/machinelearning.seldon.io/v1/prepack.go
_PREPACKED = {
    ModelFramework.SKLearn: "SKLEARN_SERVER",
    ModelFramework.XGBoost: "XGBOOST_SERVER",
    ModelFramework.MLFlow: "MLFLOW_SERVER",
    ModelFramework.HuggingFace: "HUGGINGFACE_SERVER",
    ModelFramework.TempoPipeline: "TEMPO_SERVER",
    ModelFramework.Custom: "TEMPO_SERVER",
    ModelFramework.Triton: _TRITON,
    ModelFramework.PyTorch: _TRITON,
    ModelFramework.ONNX: _TRITON,
    ModelFramework.TensorRT: _TRITON,
}


def endpoints(models: Mapping[str, DeployedModel], options: SeldonRemote) -> dict[str, Endpoint]:
    """Return the address of each model inside the cluster."""
    return {
        name: seldon(name, options.namespace, predictor=PREDICTOR, engine=options.engine)
        for name in models
    }


def documents(models: Mapping[str, DeployedModel], options: SeldonRemote) -> list[dict[str, Any]]:
    """Return the objects, the pipeline's first.

    Args:
        models: The result of `resolve_models`.
        options: The options.

    Raises:
        SettingsError: If Seldon Core has no server for a model's framework, cannot name a Service after a
            model, or an option would have no effect.
    """
    _refuse(models, options)
    where = endpoints(models, options)
    first = next(iter(models))
    return [
        _deployment(
            model,
            options,
            pods.options_of(model, options, models),
            where,
            options.canary if name == first else None,
        )
        for name, model in models.items()
    ]


def _refuse(models: Mapping[str, DeployedModel], options: SeldonRemote) -> None:
    pods.refuse_idle_targets(models, options)
    if not options.engine and (fields := options.stating(("logger",))):
        raise SettingsError(
            f"{', '.join(fields)}: Seldon Core logs requests in its engine; set engine to true, or "
            "declare `insights` on the pipeline, which logs without the engine"
        )
    for name in models:
        if not name[0].isalpha():
            raise SettingsError(
                f"{name}: Seldon Core names a Service after it, so it must begin with a letter; rename it"
            )


def _deployment(
    model: DeployedModel,
    options: SeldonRemote,
    model_options: ModelOptions,
    where: Mapping[str, Endpoint],
    canary: Canary | None,
) -> dict[str, Any]:
    predictors = [_predictor(model, options, model_options, where, PREDICTOR, model.uri)]
    if canary is not None:
        predictors += [_canary(model, options, model_options, where, canary)]
        predictors[0]["traffic"] = 100 if canary.shadow else 100 - _traffic(canary)
    annotations = annotation.annotations_of(model, TARGET, options.namespace)
    return {
        "apiVersion": "machinelearning.seldon.io/v1",
        "kind": "SeldonDeployment",
        "metadata": pods.metadata(model.name, options, annotation.LABELS, annotations),
        "spec": {"protocol": options.protocol, "predictors": predictors},
    }


def _predictor(
    model: DeployedModel,
    options: SeldonRemote,
    model_options: ModelOptions,
    where: Mapping[str, Endpoint],
    name: str,
    uri: str,
) -> dict[str, Any]:
    annotations: dict[str, str] = {}
    if not options.engine:
        # The engine supports neither streams nor custom handlers (executor/api/rest/server.go).
        annotations[NO_ENGINE] = "true"
    service = seldon_service(model.name, name)
    if service != f"{model.name}-{name}":
        annotations[SERVICE] = service
    graph: dict[str, Any] = {
        "name": model.name,
        "type": "MODEL",
        "implementation": implementation(model),
        "modelUri": uri,
    }
    if options.auth_secret_name:
        graph["envSecretRefName"] = options.auth_secret_name
    if options.service_account_name and model.ours:
        graph["serviceAccountName"] = options.service_account_name
    if model_options.logger is not None:
        graph["logger"] = {"mode": model_options.logger.mode, "url": model_options.logger.url}
    predictor = {
        "name": name,
        "annotations": annotations,
        "progressDeadlineSeconds": model_options.progress_deadline,
        "graph": graph,
        "componentSpecs": [_component(model, model_options, where)],
    }
    if model_options.max_replicas is None:
        predictor["replicas"] = model_options.replicas
    return predictor


def _component(
    model: DeployedModel, model_options: ModelOptions, where: Mapping[str, Endpoint]
) -> dict[str, Any]:
    # It has the name of the graph's node: with another name it would be a second container without an
    # image (operator/apis/machinelearning.seldon.io/v1/seldondeployment_webhook.go).
    container = pods.container(model.name, model, model_options, where)
    container["livenessProbe"] = pods.probe(model_options.liveness)
    container["readinessProbe"] = pods.probe(model_options.readiness)
    if model.on_triton:
        # The operator gives a probe its request only for MLServer (addTritonServer in
        # operator/controllers/seldondeployment_prepackaged_servers.go).
        container["livenessProbe"] |= _http_get("/v2/health/live")
        container["readinessProbe"] |= _http_get(f"/v2/models/{model.name}/ready")
    labels = {"seldon-deployment-id": model.name}
    spec = {"containers": [container], **pods.pod(model_options, labels)}
    component: dict[str, Any] = {"spec": spec}
    if model_options.max_replicas is not None:
        component["hpaSpec"] = {
            "minReplicas": model_options.min_replicas or 1,
            "maxReplicas": model_options.max_replicas,
            "metricsv2": [
                {
                    "type": "Resource",
                    "resource": {
                        "name": "cpu",
                        "target": {
                            "type": "Utilization",
                            "averageUtilization": model_options.target_cpu,
                        },
                    },
                }
            ],
        }
    if model_options.min_available is not None:
        component["pdbSpec"] = {"minAvailable": model_options.min_available}
    return component


def _http_get(path: str) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": "http"}}  # the operator names the container's port


def _canary(
    model: DeployedModel,
    options: SeldonRemote,
    model_options: ModelOptions,
    where: Mapping[str, Endpoint],
    canary: Canary,
) -> dict[str, Any]:
    if canary.image:
        model_options = model_options.unchecked(image=canary.image)
    name = "shadow" if canary.shadow else "canary"
    predictor = _predictor(model, options, model_options, where, name, canary.uri)
    if canary.shadow:
        predictor["shadow"] = True
    return {**predictor, "traffic": _traffic(canary)}


def _traffic(canary: Canary) -> int:
    return canary.traffic or (100 if canary.shadow else 10)


def implementation(model: DeployedModel) -> str:
    """Return Seldon Core's server for a model.

    Raises:
        SettingsError: If Seldon Core has no server for it.
    """
    server = _PREPACKED.get(model.platform)
    if model.platform is ModelFramework.TensorFlow:
        # With protocol v2 it has no image: helm-charts/seldon-core-operator/values.yaml.
        raise SettingsError(
            f"{model.name}: Seldon Core's TENSORFLOW_SERVER does not speak the V2 protocol, in which "
            "pipelines call models; put the SavedModel into a model repository of Triton, and declare "
            "platform=ModelFramework.Triton"
        )
    if server is None:
        raise SettingsError(
            f"{model.name}: Seldon Core has no server for {model.platform.value!r}; deploy it by hand, "
            "and set its URL in the settings of the pipeline that calls it"
        )
    return server
