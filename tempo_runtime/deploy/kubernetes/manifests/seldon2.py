"""Seldon Core 2: a Model for each model, and a Server that runs pipelines and nothing else.

Facts are from operator/apis/mlops/v1alpha1 and operator/controllers/reconcilers/server of
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
_CONTAINER = "mlserver"  # the one of serverConfig `mlserver` that podSpec is merged with
SERVER = "tempo-runtime"  # our Server, and what it is capable of
_CAPABILITIES = "capabilities"
_CLAIMS = "statefulSetPersistentVolumeClaimRetentionPolicy"
# How the API names a field that its schema lacks: as kubectl's check, and as a server-side apply.
_UNKNOWN = re.compile(r"unknown field \"spec\.(\w+)\"|\.spec\.(\w+): field not declared in schema")


def endpoints(models: Mapping[str, DeployedModel], options: Seldon2Remote) -> dict[str, Endpoint]:
    """Return where each model is called from inside the cluster."""
    return {name: seldon2(name, options.namespace, gateway=options.gateway) for name in models}


def documents(models: Mapping[str, DeployedModel], options: Seldon2Remote) -> list[dict[str, Any]]:
    """Return the objects, the pipeline's first.

    Args:
        models: What `specified` found.
        options: How they are deployed.

    Raises:
        SettingsError: If an option means nothing to Seldon Core 2.
    """
    _refuse(models, options)
    where = endpoints(models, options)
    found = [_model(model, options, where) for model in models.values()]
    if options.server is None and any(model.ours for model in models.values()):
        found.append(_server(models, options))
    return found


def _model(
    model: DeployedModel, options: Seldon2Remote, where: Mapping[str, Endpoint]
) -> dict[str, Any]:
    own = options.of(model.name)
    spec: dict[str, Any] = {"storageUri": model.uri}
    if options.auth_secret_name:
        spec["secretName"] = options.auth_secret_name
    if model.ours and options.server:
        spec["server"] = options.server
    else:
        spec["requirements"] = [SERVER if model.ours else model.platform.value.lower()]
    if options.memory is not None:
        # As the operator writes it when it adds its finalizer: it would own another spelling, and a
        # changed one be refused (handleFinalizer in operator/controllers/mlops/model_controller.go).
        spec["memory"] = canonical(options.memory)
    spec |= _scaled(own)
    if model.calls:
        # It takes the place of parameters.extra.models in model-settings.json, as a whole.
        both = merge({"models": model.stated}, {"models": pods.addressed(model, where)})
        value = json.dumps(both["models"], sort_keys=True)
        spec["parameters"] = [{"name": "models", "value": value}]
    annotations = annotation.written(model, TARGET, options.namespace)
    return {
        "apiVersion": _API,
        "kind": "Model",
        "metadata": pods.metadata(model.name, options, annotation.LABELS, annotations),
        "spec": spec,
    }


def _scaled(own: ModelOptions) -> dict[str, Any]:
    if own.max_replicas is None:
        return {"replicas": own.replicas}
    return {"minReplicas": own.min_replicas or 1, "maxReplicas": own.max_replicas}


def _server(models: Mapping[str, DeployedModel], options: Seldon2Remote) -> dict[str, Any]:
    """Return a Server for pipelines: they run in it together, so what it has are the common options."""
    container: dict[str, Any] = {"name": _CONTAINER}
    if options.image:
        container["image"] = options.image
    if options.env:
        container["env"] = [{"name": k, "value": v} for k, v in sorted(options.env.items())]
    if options.env_from:
        container["envFrom"] = [{"secretRef": {"name": name}} for name in options.env_from]
    if quantities := pods.resources(options):
        container["resources"] = quantities
    pod = pods.pod(options, {"seldon-server-name": SERVER})
    pods.secure_container(pod, container)  # the agent shares the pod, and is not ours to change
    # Each of a model's replicas is on another of the Server's.
    own = [options.of(name) for name, model in models.items() if model.ours]
    most = max(each.max_replicas or each.replicas for each in own)
    return {
        "apiVersion": _API,
        "kind": "Server",
        "metadata": pods.metadata(SERVER, options),
        "spec": {
            "serverConfig": "mlserver",
            # In place of MLServer's own: our image lacks most of its frameworks.
            _CAPABILITIES: [SERVER],
            "replicas": most,
            # A volume only caches artifacts, and otherwise stays when its Server is deleted.
            _CLAIMS: {"whenDeleted": "Delete"},
            "podSpec": {"containers": [container], **pod},
        },
    }


def for_older(document: dict[str, Any], refusal: str) -> dict[str, Any] | None:
    """Return a Server without what the schema of an older Seldon Core 2 lacks.

    `capabilities` came with 2.6.0; before, a Server can only have more than MLServer's own. What
    becomes of its volumes can be stated from 2.8.5 on.

    Args:
        document: The object that was refused.
        refusal: What the API says, in which it names each field.

    Returns:
        The object for that version; None if it has none of those fields.
    """
    unknown = {name for found in _UNKNOWN.findall(refusal) for name in found}
    spec = document["spec"]
    if document["kind"] != "Server" or not unknown & {_CAPABILITIES, _CLAIMS} & spec.keys():
        return None
    kept = {name: value for name, value in spec.items() if name not in unknown}
    if _CAPABILITIES in unknown and _CAPABILITIES in spec:
        kept["extraCapabilities"] = spec[_CAPABILITIES]
    return {**document, "spec": kept}


_SCALE = {"replicas", "min_replicas", "max_replicas", "uri"}
_NEVER = ("target_cpu", "min_available", "progress_deadline", "liveness", "readiness")
# What our Server has.
_SERVERS = (
    "image",
    "resources",
    "env",
    "env_from",
    "node_selector",
    "tolerations",
    "image_pull_secrets",
    "spread",
    "run_as_user",
)


def _refuse(models: Mapping[str, DeployedModel], options: Seldon2Remote) -> None:
    if stated := options.stating((*_NEVER, "service_account_name")):
        raise SettingsError(
            f"{', '.join(stated)}: on Seldon Core 2 this is a Server's; leave it out, or deploy a Server "
            "that has it, and name that with `server`"
        )
    if options.server or not any(model.ours for model in models.values()):
        stated = options.stating(_SERVERS)
        if stated:
            raise SettingsError(
                f"{', '.join(stated)}: no Server is written here that would have it; leave it out"
            )
    for name, own in options.models.items():
        if other := sorted(own.model_fields_set - _SCALE - {"pin_artifact"}):
            raise SettingsError(
                f"{name}: {', '.join(other)} cannot be a model's own on Seldon Core 2, where models "
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
