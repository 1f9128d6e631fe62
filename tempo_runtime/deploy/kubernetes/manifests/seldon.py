"""Seldon Core v1: a SeldonDeployment for each model.

Facts are from the operator's sources, named where they are used; `operator/` is SeldonIO/seldon-core's.
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
# operator/apis/machinelearning.seldon.io/v1/prepack.go
_PREPACKED = {
    ModelFramework.SKLearn: "SKLEARN_SERVER",
    ModelFramework.XGBoost: "XGBOOST_SERVER",
    ModelFramework.MLFlow: "MLFLOW_SERVER",
    ModelFramework.HuggingFace: "HUGGINGFACE_SERVER",
    ModelFramework.TempoPipeline: "TEMPO_SERVER",
    ModelFramework.Custom: "TEMPO_SERVER",
}


def endpoints(models: Mapping[str, DeployedModel], options: SeldonRemote) -> dict[str, Endpoint]:
    """Return where each model is called from inside the cluster."""
    return {
        name: seldon(name, options.namespace, predictor=PREDICTOR, engine=options.engine)
        for name in models
    }


def documents(models: Mapping[str, DeployedModel], options: SeldonRemote) -> list[dict[str, Any]]:
    """Return the objects, the pipeline's first.

    Args:
        models: What `specified` found.
        options: How they are deployed.

    Raises:
        SettingsError: If Seldon Core has no server for a model's framework, cannot name a Service after a
            model, or an option would have no effect.
    """
    _refuse(models, options)
    where = endpoints(models, options)
    first = next(iter(models))
    return [
        _deployment(model, options, where, options.canary if name == first else None)
        for name, model in models.items()
    ]


def _refuse(models: Mapping[str, DeployedModel], options: SeldonRemote) -> None:
    pods.refuse_idle_targets(models, options)
    for name in models:
        if not name[0].isalpha():
            raise SettingsError(
                f"{name}: Seldon Core names a Service after it, which begins with a letter; rename it"
            )


def _deployment(
    model: DeployedModel,
    options: SeldonRemote,
    where: Mapping[str, Endpoint],
    canary: Canary | None,
) -> dict[str, Any]:
    own = options.of(model.name)
    predictors = [_predictor(model, options, own, where, PREDICTOR, model.uri)]
    if canary is not None:
        predictors += [_canary(model, options, own, where, canary)]
        predictors[0]["traffic"] = 100 if canary.shadow else 100 - _traffic(canary)
    annotations = annotation.written(model, TARGET, options.namespace)
    return {
        "apiVersion": "machinelearning.seldon.io/v1",
        "kind": "SeldonDeployment",
        "metadata": pods.metadata(model.name, options, annotation.LABELS, annotations),
        "spec": {"protocol": options.protocol, "predictors": predictors},
    }


def _predictor(
    model: DeployedModel,
    options: SeldonRemote,
    own: ModelOptions,
    where: Mapping[str, Endpoint],
    name: str,
    uri: str,
) -> dict[str, Any]:
    annotations: dict[str, str] = {}
    if not options.engine:
        # The engine has no streams and no handlers of one's own (executor/api/rest/server.go).
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
    found = {
        "name": name,
        "annotations": annotations,
        "progressDeadlineSeconds": own.progress_deadline,
        "graph": graph,
        "componentSpecs": [_component(model, own, where)],
    }
    if own.max_replicas is None:
        found["replicas"] = own.replicas
    return found


def _component(
    model: DeployedModel, own: ModelOptions, where: Mapping[str, Endpoint]
) -> dict[str, Any]:
    # Named as the graph's node: under another name it is a second container without an image
    # (operator/apis/machinelearning.seldon.io/v1/seldondeployment_webhook.go).
    container = pods.container(model.name, model, own, where)
    container["livenessProbe"] = pods.probe(own.liveness)
    container["readinessProbe"] = pods.probe(own.readiness)
    labels = {"seldon-deployment-id": model.name}
    spec = {"containers": [container], **pods.pod(own, labels)}
    found: dict[str, Any] = {"spec": spec}
    if own.max_replicas is not None:
        found["hpaSpec"] = {
            "minReplicas": own.min_replicas or 1,
            "maxReplicas": own.max_replicas,
            "metricsv2": [
                {
                    "type": "Resource",
                    "resource": {
                        "name": "cpu",
                        "target": {"type": "Utilization", "averageUtilization": own.target_cpu},
                    },
                }
            ],
        }
    if own.min_available is not None:
        found["pdbSpec"] = {"minAvailable": own.min_available}
    return found


def _canary(
    model: DeployedModel,
    options: SeldonRemote,
    own: ModelOptions,
    where: Mapping[str, Endpoint],
    canary: Canary,
) -> dict[str, Any]:
    if canary.image:
        own = own.model_copy(update={"image": canary.image})
    name = "shadow" if canary.shadow else "canary"
    found = _predictor(model, options, own, where, name, canary.uri)
    if canary.shadow:
        found["shadow"] = True
    return {**found, "traffic": _traffic(canary)}


def _traffic(canary: Canary) -> int:
    return canary.traffic or (100 if canary.shadow else 10)


def implementation(model: DeployedModel) -> str:
    """Seldon Core's server for a model.

    Raises:
        SettingsError: If it has none.
    """
    found = _PREPACKED.get(model.platform)
    if found is None:
        raise SettingsError(
            f"{model.name}: Seldon Core has no server for {model.platform.value!r}; deploy it by hand, "
            "and set its URL in the settings of the pipeline that calls it"
        )
    return found
