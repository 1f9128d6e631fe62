"""Generate the parts of pods that all platforms share: environment, probes, security, placement."""

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
from tempo_runtime.settings import ServerSettings

MODELS = "TEMPO_RUNTIME_MODELS"
MANAGER = "tempo-runtime"
UNPRIVILEGED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def metadata(
    name: str,
    options: RemoteOptions,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the metadata of an object."""
    content: dict[str, Any] = {"name": name, "namespace": options.namespace}
    content["labels"] = {
        MANAGED_BY: MANAGER,
        **(labels or {}),
        **options.labels,
    }
    if both := {**(annotations or {}), **options.annotations}:
        content["annotations"] = both
    return content


def child_settings(model: DeployedModel, endpoints: Mapping[str, Endpoint]) -> dict[str, Any]:
    """Return the settings `models` of a pipeline, with the addresses of its children."""
    settings = {}
    for alias, call in model.calls.items():
        endpoint, transport = endpoints[call.child.name], call.settings.transport
        child: dict[str, Any] = {
            "transport": transport,
            "model": endpoint.model,  # whatever name the artifact says
            "url": endpoint.grpc if transport == "grpc" else endpoint.url,
        }
        if endpoint.headers:
            child["headers"] = dict(endpoint.headers)
        settings[alias] = child
    return settings


def environment(
    model: DeployedModel, options: ModelOptions, endpoints: Mapping[str, Endpoint]
) -> list[dict[str, Any]]:
    """Return the environment variables of a server: its children's addresses and the options' `env`."""
    variables = settings_of_server(options) if model.ours else dict(options.env)
    if model.calls:
        if MODELS in options.env_secrets:
            raise SettingsError(
                f"env_secrets.{MODELS} would replace the addresses of the models that {model.name} "
                f"calls; set single values, such as {MODELS}__NAME__HEADERS"
            )
        try:
            user_models = {MODELS: variables[MODELS]} if MODELS in variables else {}
            merged = merge({MODELS: child_settings(model, endpoints)}, user_models)
        except ValueError as error:
            raise SettingsError(f"env.{error}") from error
        variables[MODELS] = json.dumps(merged[MODELS], sort_keys=True)
    return entries(variables, options.env_secrets)


def settings_of_server(options: ModelOptions) -> dict[str, str]:
    """Return the environment variables of a server of pipelines, without addresses and Secrets."""
    return (
        {**ServerSettings(page=True).variables(), **options.env}
        if options.page
        else {**options.env}
    )


def entries(variables: Mapping[str, str], secrets: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return `env` of a container.

    Args:
        variables: Its variables.
        secrets: Its variables whose values are in Secrets: the name of a Secret, `/`, and a key.
    """
    found: dict[str, dict[str, Any]] = {name: {"value": value} for name, value in variables.items()}
    for name, place in secrets.items():
        secret, _, key = place.partition("/")
        found[name] = {"valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
    return [{"name": name, **content} for name, content in sorted(found.items())]


def container(
    name: str, model: DeployedModel, options: ModelOptions, endpoints: Mapping[str, Endpoint]
) -> dict[str, Any]:
    """Return the container of a model's server, without the parts that the platform adds.

    Args:
        name: Its name, by which the platform finds it.
        model: The model.
        options: What it has.
        endpoints: Addresses of the models, by name.
    """
    content: dict[str, Any] = {"name": name}
    if options.image:
        content["image"] = options.image
    if variables := environment(model, options, endpoints):
        content["env"] = variables
    if options.env_from:
        content["envFrom"] = [{"secretRef": {"name": secret}} for secret in options.env_from]
    if quantities := resources(options):
        content["resources"] = quantities
    content["securityContext"] = UNPRIVILEGED
    return content


def options_of(
    model: DeployedModel, options: RemoteOptions, models: Mapping[str, DeployedModel]
) -> ModelOptions:
    """Return the options of one model's pods.

    An image for all models is one of MLServer, unless Triton serves all of them.

    Args:
        model: The model.
        options: The options.
        models: All models that are deployed.
    """
    model_options = options.of(model.name)
    own = options.models.get(model.name)
    stated = own is not None and "image" in own.model_fields_set
    if model.on_triton and not stated and not all(other.on_triton for other in models.values()):
        return model_options.unchecked(image=None)
    return model_options


def resources(options: ModelOptions) -> dict[str, Any]:
    """Return the resources that a container requests, and their limits."""
    kinds = {"requests": options.resources.requests, "limits": options.resources.limits}
    return {kind: dict(quantities) for kind, quantities in kinds.items() if quantities}


def probe(numbers: Probe) -> dict[str, Any]:
    """Return a probe without its request, which depends on the platform."""
    return {
        "initialDelaySeconds": numbers.initial_delay,
        "periodSeconds": numbers.period,
        "timeoutSeconds": numbers.timeout,
        "failureThreshold": numbers.failures,
    }


def pod(options: ModelOptions, labels: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of a pod other than its containers.

    Args:
        options: What the model has.
        labels: Labels that the platform gives to its pods; pods with these labels are spread.
    """
    context: dict[str, Any] = {"runAsNonRoot": True}
    if options.run_as_user is not None:
        context["runAsUser"] = options.run_as_user
    context["seccompProfile"] = {"type": "RuntimeDefault"}
    content: dict[str, Any] = {"securityContext": context}
    if options.image_pull_secrets:
        content["imagePullSecrets"] = [{"name": secret} for secret in options.image_pull_secrets]
    if options.node_selector:
        content["nodeSelector"] = dict(options.node_selector)
    if options.tolerations:
        content["tolerations"] = [
            toleration.model_dump(exclude_none=True, by_alias=True)
            for toleration in options.tolerations
        ]
    if options.spread:
        content["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": dict(labels)},
            }
        ]
    return content


def secure_container(pod: dict[str, Any], container: dict[str, Any]) -> None:
    """Move a pod's securityContext into its container, if the pod's own must not be changed."""
    container["securityContext"] = {**pod.pop("securityContext"), **UNPRIVILEGED}


def refuse_idle_targets(names: Collection[str], options: RemoteOptions) -> None:
    """Refuse an autoscaler's target if there is no autoscaler.

    Args:
        names: Names of the deployed models.
        options: The options.

    Raises:
        SettingsError: If `target_cpu` is set, for all models or for one, but `maxReplicas` is not.
    """
    fixed = {name for name in names if options.of(name).max_replicas is None}
    where = {f"models.{name}.target_cpu" for name in fixed}
    if fixed == {*names}:
        where.add("target_cpu")
    if fields := sorted(where.intersection(options.stating(("target_cpu",)))):
        raise SettingsError(
            f"{', '.join(fields)}: it is for an autoscaler; set maxReplicas, too, or leave it out"
        )
