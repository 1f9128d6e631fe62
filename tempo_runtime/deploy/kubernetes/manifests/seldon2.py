"""Generate Seldon Core 2's objects: a Model for each model, and a Server only for pipelines.

The facts come from operator/apis/mlops/v1alpha1 and operator/controllers/reconcilers/server of
SeldonIO/seldon-core.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tempo_runtime._util.layers import merge, parse_json
from tempo_runtime.deploy.kubernetes.addresses import Endpoint, seldon2
from tempo_runtime.deploy.kubernetes.manifests import annotation, pods
from tempo_runtime.deploy.kubernetes.manifests.options import ModelOptions, Seldon2Remote
from tempo_runtime.deploy.kubernetes.manifests.quantities import canonical
from tempo_runtime.deploy.kubernetes.manifests.spec import DeployedModel
from tempo_runtime.errors import SettingsError

TARGET = "seldon2"
_API = "mlops.seldon.io/v1alpha1"
_CONTAINER = "mlserver"  # the container of serverConfig `mlserver`, with which podSpec is merged
SERVER = "tempo-runtime"  # the name of our Server, and its capability
_CAPABILITIES = "capabilities"
_CLAIMS = "statefulSetPersistentVolumeClaimRetentionPolicy"
# Messages about a field that the schema lacks, from strict validation and from server-side apply.
_UNKNOWN = re.compile(r"unknown field \"spec\.(\w+)\"|\.spec\.(\w+): field not declared in schema")


def endpoints(models: Mapping[str, DeployedModel], options: Seldon2Remote) -> dict[str, Endpoint]:
    """Return the address of each model inside the cluster."""
    return {name: seldon2(name, options.namespace, gateway=options.gateway) for name in models}


def documents(models: Mapping[str, DeployedModel], options: Seldon2Remote) -> list[dict[str, Any]]:
    """Return the objects, the pipeline's first.

    Args:
        models: The result of `resolve_models`.
        options: The options.

    Raises:
        SettingsError: If Seldon Core 2 does not support an option.
    """
    _refuse(models, options)
    where = endpoints(models, options)
    objects = [_model(model, options, where) for model in models.values()]
    if options.server is None and any(model.ours for model in models.values()):
        objects.append(_server(models, options))
    return objects


def _model(
    model: DeployedModel, options: Seldon2Remote, where: Mapping[str, Endpoint]
) -> dict[str, Any]:
    model_options = options.of(model.name)
    spec: dict[str, Any] = {"storageUri": model.uri}
    if options.auth_secret_name:
        spec["secretName"] = options.auth_secret_name
    if model.ours and options.server:
        spec["server"] = options.server
    else:
        spec["requirements"] = [SERVER if model.ours else model.platform.value.lower()]
    if options.memory is not None:
        # In the operator's spelling: it rewrites any other when it adds its finalizer. Then it owns the
        # field, and refuses a change (handleFinalizer in
        # operator/controllers/mlops/model_controller.go).
        spec["memory"] = canonical(options.memory)
    spec |= _scaled(model_options)
    if model.calls:
        # It replaces parameters.extra.models in model-settings.json as a whole.
        merged = merge({"models": model.stated}, {"models": pods.child_settings(model, where)})
        value = json.dumps(merged["models"], sort_keys=True)
        spec["parameters"] = [{"name": "models", "value": value}]
    annotations = annotation.annotations_of(model, TARGET, options.namespace)
    return {
        "apiVersion": _API,
        "kind": "Model",
        "metadata": pods.metadata(model.name, options, annotation.LABELS, annotations),
        "spec": spec,
    }


def _scaled(model_options: ModelOptions) -> dict[str, Any]:
    if model_options.max_replicas is None:
        return {"replicas": model_options.replicas}
    return {
        "minReplicas": model_options.min_replicas or 1,
        "maxReplicas": model_options.max_replicas,
    }


def _server(models: Mapping[str, DeployedModel], options: Seldon2Remote) -> dict[str, Any]:
    """Return a Server for pipelines, which they share, so it has only the options for all models."""
    container: dict[str, Any] = {"name": _CONTAINER}
    if options.image:
        container["image"] = options.image
    if variables := pods.entries(pods.settings_of_server(options), options.env_secrets):
        container["env"] = variables
    if options.env_from:
        container["envFrom"] = [{"secretRef": {"name": name}} for name in options.env_from]
    if quantities := pods.resources(options):
        container["resources"] = quantities
    pod = pods.pod(options, {"seldon-server-name": SERVER})
    pods.secure_container(pod, container)  # the agent shares the pod, and must stay as it is
    # Each replica of a model needs its own replica of the Server.
    pipeline_options = [options.of(name) for name, model in models.items() if model.ours]
    most = max(
        model_options.max_replicas or model_options.replicas for model_options in pipeline_options
    )
    return {
        "apiVersion": _API,
        "kind": "Server",
        "metadata": pods.metadata(SERVER, options),
        "spec": {
            "serverConfig": "mlserver",
            # Instead of MLServer's own capabilities: our image lacks most of its frameworks.
            _CAPABILITIES: [SERVER],
            "replicas": most,
            # The volume only caches artifacts; without this it would stay when its Server is deleted.
            _CLAIMS: {"whenDeleted": "Delete"},
            "podSpec": {"containers": [container], **pod},
        },
    }


def for_older(document: dict[str, Any], refusal: str) -> dict[str, Any] | None:
    """Return a Server without the fields that an older Seldon Core 2 does not know.

    `capabilities` exists from 2.6.0 on; before, a Server could only add to MLServer's own. The retention
    policy of its volumes exists from 2.8.5 on.

    Args:
        document: The object that was refused.
        refusal: The API's message, which names each unknown field.

    Returns:
        The object for the older version; None if it has none of these fields.
    """
    unknown = {name for match in _UNKNOWN.findall(refusal) for name in match}
    spec = document["spec"]
    if document["kind"] != "Server" or not unknown & {_CAPABILITIES, _CLAIMS} & spec.keys():
        return None
    kept = {name: value for name, value in spec.items() if name not in unknown}
    if _CAPABILITIES in unknown and _CAPABILITIES in spec:
        kept["extraCapabilities"] = spec[_CAPABILITIES]
    return {**document, "spec": kept}


_SCALE = {"replicas", "min_replicas", "max_replicas", "uri"}
_NEVER = ("target_cpu", "min_available", "progress_deadline", "liveness", "readiness")
# Options of our Server.
_SERVERS = (
    "image",
    "resources",
    "env",
    "env_secrets",
    "env_from",
    "node_selector",
    "tolerations",
    "image_pull_secrets",
    "spread",
    "run_as_user",
    "page",
)


def _refuse(models: Mapping[str, DeployedModel], options: Seldon2Remote) -> None:
    if fields := options.stating(("logger",)):
        raise SettingsError(
            f"{', '.join(fields)}: Seldon Core 2 has no logger for the requests of a model; leave it "
            "out, and declare `insights` on the pipeline"
        )
    if fields := options.stating((*_NEVER, "service_account_name")):
        raise SettingsError(
            f"{', '.join(fields)}: on Seldon Core 2 only a Server can have it; leave it out, or deploy a "
            "Server that has it and name that Server with `server`"
        )
    if options.server or not any(model.ours for model in models.values()):
        fields = options.stating(_SERVERS)
        if fields:
            raise SettingsError(
                f"{', '.join(fields)}: no Server is deployed here that could have it; leave it out"
            )
    for name, model_options in options.models.items():
        if other := sorted(model_options.model_fields_set - _SCALE - {"pin_artifact"}):
            raise SettingsError(
                f"{name}: {', '.join(other)} cannot be set for one model on Seldon Core 2, where models "
                "share a Server; set it for all, or deploy a Server and name it with `server`"
            )
    for model in models.values():
        for alias, settings in model.stated.items():
            if model.calls and "headers" in (parse_json(settings) or {}):
                raise SettingsError(
                    f"{model.name}: headers of child {alias!r} in its model-settings.json may be secret, "
                    "and would be in the manifest; put them in a Secret, as "
                    f"TEMPO_RUNTIME_MODELS__{alias.upper()}__HEADERS, and name that in env_from"
                )
