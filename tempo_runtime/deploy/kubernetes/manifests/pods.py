"""What pods have on every platform: environment, probes, security, and where they run."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from tempo_runtime._util.layers import merge
from tempo_runtime.deploy.kubernetes.addresses import Endpoint
from tempo_runtime.deploy.kubernetes.manifests.annotation import MANAGED_BY
from tempo_runtime.deploy.kubernetes.manifests.options import ModelOptions, Probe, RemoteOptions
from tempo_runtime.deploy.kubernetes.manifests.spec import DeployedModel
from tempo_runtime.errors import SettingsError

MODELS = "TEMPO_RUNTIME_MODELS"
MANAGER = "tempo-runtime"
UNPRIVILEGED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def metadata(
    name: str,
    options: RemoteOptions,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Metadata of an object."""
    found: dict[str, Any] = {"name": name, "namespace": options.namespace}
    found["labels"] = {
        MANAGED_BY: MANAGER,
        **(labels or {}),
        **options.labels,
    }
    if both := {**(annotations or {}), **options.annotations}:
        found["annotations"] = both
    return found


def addressed(model: DeployedModel, endpoints: Mapping[str, Endpoint]) -> dict[str, Any]:
    """Return the settings `models` of a pipeline that say where its children are."""
    found = {}
    for alias, called in model.calls.items():
        endpoint = endpoints[called.model]
        child: dict[str, Any] = {
            "transport": called.transport,
            "model": endpoint.model,  # whatever the artifact says that it is served as elsewhere
            "url": endpoint.grpc if called.transport == "grpc" else endpoint.url,
        }
        if endpoint.headers:
            child["headers"] = dict(endpoint.headers)
        found[alias] = child
    return found


def environment(
    model: DeployedModel, own: ModelOptions, endpoints: Mapping[str, Endpoint]
) -> list[dict[str, Any]]:
    """Environment variables of a server: its children's addresses, and over them the options'."""
    named = dict(own.env)
    if model.calls:
        try:
            stated = {MODELS: named[MODELS]} if MODELS in named else {}
            both = merge({MODELS: addressed(model, endpoints)}, stated)
        except ValueError as error:
            raise SettingsError(f"env.{error}") from error
        named[MODELS] = json.dumps(both[MODELS], sort_keys=True)
    return [{"name": name, "value": value} for name, value in sorted(named.items())]


def container(
    name: str, model: DeployedModel, own: ModelOptions, endpoints: Mapping[str, Endpoint]
) -> dict[str, Any]:
    """Return a container of a model's server, as far as the platform does not make it.

    Args:
        name: Its name, by which the platform finds it.
        model: The model.
        own: What it has.
        endpoints: Where each model is called, by name.
    """
    found: dict[str, Any] = {"name": name}
    if own.image:
        found["image"] = own.image
    if variables := environment(model, own, endpoints):
        found["env"] = variables
    if own.env_from:
        found["envFrom"] = [{"secretRef": {"name": secret}} for secret in own.env_from]
    if quantities := resources(own):
        found["resources"] = quantities
    found["securityContext"] = UNPRIVILEGED
    return found


def resources(own: ModelOptions) -> dict[str, Any]:
    """Return what a container is promised, and may use."""
    kinds = {"requests": own.resources.requests, "limits": own.resources.limits}
    return {kind: dict(quantities) for kind, quantities in kinds.items() if quantities}


def probe(numbers: Probe) -> dict[str, Any]:
    """Return a probe without what it asks, which the platform knows."""
    return {
        "initialDelaySeconds": numbers.initial_delay,
        "periodSeconds": numbers.period,
        "timeoutSeconds": numbers.timeout,
        "failureThreshold": numbers.failures,
    }


def pod(own: ModelOptions, labels: Mapping[str, str]) -> dict[str, Any]:
    """Return what a pod has beside its containers.

    Args:
        own: What the model has.
        labels: Labels that the platform gives its pods, by which they are spread.
    """
    context: dict[str, Any] = {"runAsNonRoot": True}
    if own.run_as_user is not None:
        context["runAsUser"] = own.run_as_user
    context["seccompProfile"] = {"type": "RuntimeDefault"}
    found: dict[str, Any] = {"securityContext": context}
    if own.image_pull_secrets:
        found["imagePullSecrets"] = [{"name": secret} for secret in own.image_pull_secrets]
    if own.node_selector:
        found["nodeSelector"] = dict(own.node_selector)
    if own.tolerations:
        found["tolerations"] = [
            toleration.model_dump(exclude_none=True, by_alias=True)
            for toleration in own.tolerations
        ]
    if own.spread:
        found["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": dict(labels)},
            }
        ]
    return found


def secure_container(pod: dict[str, Any], container: dict[str, Any]) -> None:
    """Move a pod's securityContext into its container, where the pod may have none of ours."""
    container["securityContext"] = {**pod.pop("securityContext"), **UNPRIVILEGED}


def refuse_idle_targets(names: Collection[str], options: RemoteOptions) -> None:
    """Refuse the target of an autoscaler where there is none.

    Args:
        names: The models that are deployed.
        options: How they are deployed.

    Raises:
        SettingsError: If `target_cpu` is stated, for all models or for one, and `maxReplicas` is not.
    """
    fixed = {name for name in names if options.of(name).max_replicas is None}
    where = {f"models.{name}.target_cpu" for name in fixed}
    if fixed == {*names}:
        where.add("target_cpu")
    if stated := sorted(where.intersection(options.stating(("target_cpu",)))):
        raise SettingsError(
            f"{', '.join(stated)}: it is for an autoscaler; give maxReplicas too, or leave it out"
        )
