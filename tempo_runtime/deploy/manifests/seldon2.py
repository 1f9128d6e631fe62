"""Seldon Core 2: a Model for each model, and a Server that can run pipelines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tempo_runtime.deploy.addresses import Endpoint, seldon2
from tempo_runtime.deploy.manifests import pods
from tempo_runtime.deploy.manifests.options import Seldon2Remote
from tempo_runtime.deploy.manifests.seldon import DESCRIPTION, LABEL, MODEL, described
from tempo_runtime.deploy.manifests.spec import Deployed
from tempo_runtime.errors import SettingsError

TARGET = "seldon2"
_API = "mlops.seldon.io/v1alpha1"
_CONTAINER = "mlserver"  # the one of serverConfig `mlserver` that podSpec is merged with
SERVER = "tempo-runtime"  # our Server, and what it is capable of


def endpoints(models: Mapping[str, Deployed], options: Seldon2Remote) -> dict[str, Endpoint]:
    """Where each model is called from inside the cluster."""
    return {name: seldon2(name, options.namespace, gateway=options.gateway) for name in models}


def documents(models: Mapping[str, Deployed], options: Seldon2Remote) -> list[dict[str, Any]]:
    """The objects, the pipeline's first.

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
        found.append(_server(options))
    return found


def _model(
    model: Deployed, options: Seldon2Remote, where: Mapping[str, Endpoint]
) -> dict[str, Any]:
    own = options.of(model.name)
    spec: dict[str, Any] = {"storageUri": model.uri}
    if options.auth_secret_name:
        spec["secretName"] = options.auth_secret_name
    if model.ours and options.server:
        spec["server"] = options.server
    else:
        spec["requirements"] = [SERVER if model.ours else model.platform.value]
    if options.memory is not None:
        spec["memory"] = options.memory
    if own.max_replicas is None:
        spec["replicas"] = own.replicas
    else:
        spec |= {"minReplicas": own.min_replicas or 1, "maxReplicas": own.max_replicas}
    if model.calls:
        # They become parameters.extra of model-settings.json; the agent takes text only.
        addresses = json.dumps(pods.addressed(model, where), sort_keys=True)
        spec["parameters"] = [{"name": "models", "value": addresses}]
    annotations = {
        DESCRIPTION: model.description,
        MODEL: json.dumps(described(model, TARGET, options.namespace), sort_keys=True),
    }
    return {
        "apiVersion": _API,
        "kind": "Model",
        "metadata": pods.metadata(model.name, options, {LABEL: "true"}, annotations),
        "spec": spec,
    }


def _server(options: Seldon2Remote) -> dict[str, Any]:
    """A Server for pipelines: they run in it together, so what it has are the common options."""
    container: dict[str, Any] = {"name": _CONTAINER}
    if options.image:
        container["image"] = options.image
    if options.env:
        container["env"] = [{"name": k, "value": v} for k, v in sorted(options.env.items())]
    if options.env_from:
        container["envFrom"] = [{"secretRef": {"name": name}} for name in options.env_from]
    resources = options.resources.model_dump(exclude_defaults=True)
    if resources:
        container["resources"] = resources
    pod = pods.pod(options, {"seldon-server-name": SERVER})
    # The agent shares the pod, and is not ours to change.
    container["securityContext"] = pod.pop("securityContext")
    container["securityContext"] |= pods.UNPRIVILEGED
    return {
        "apiVersion": _API,
        "kind": "Server",
        "metadata": pods.metadata(SERVER, options),
        "spec": {
            "serverConfig": "mlserver",
            "extraCapabilities": [SERVER],
            "replicas": options.replicas,
            "podSpec": {"containers": [container], **pod},
        },
    }


def _refuse(models: Mapping[str, Deployed], options: Seldon2Remote) -> None:
    for name in models:
        own = options.models.get(name)
        meant = {"replicas", "min_replicas", "max_replicas", "target_cpu"}
        other = sorted((own.model_fields_set if own else set()) - meant)
        if other:
            raise SettingsError(
                f"{name}: {', '.join(other)} cannot be a model's own on Seldon Core 2, where models "
                "share a Server; set it for all, or deploy a Server and name it with `server`"
            )
    if options.min_available is not None:
        raise SettingsError(
            "min_available: on Seldon Core 2 pods are a Server's; write a PodDisruptionBudget for it"
        )
    if options.service_account_name:
        raise SettingsError("service_account_name: on Seldon Core 2 it is a Server's; leave it out")
