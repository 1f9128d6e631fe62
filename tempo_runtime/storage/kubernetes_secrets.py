"""Read from a Kubernetes cluster: secrets with rclone's settings, MinIO's address, deployed digests."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
from collections.abc import Iterator
from typing import Any

from tempo_runtime._util import extras
from tempo_runtime.errors import StorageError

_TIMEOUT = 5.0
_PREFIX = "RCLONE_CONFIG_"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# The objects of deployed models: group, version, plural.
_MODELS = (
    ("machinelearning.seldon.io", "v1", "seldondeployments"),
    ("mlops.seldon.io", "v1alpha1", "models"),
    ("serving.kserve.io", "v1beta1", "inferenceservices"),
)


class NoCluster(StorageError):
    """No cluster is configured here, or it does not answer."""


class NotConfigured(NoCluster):
    """No cluster is configured here."""


def secret_settings(secret: str) -> dict[str, str]:
    """Return rclone's settings from a Secret as environment variables.

    The Secret has the form of Seldon Core v1, `RCLONE_CONFIG_*`, or that of Seldon Core 2: one key with
    rclone's name, type and parameters.

    Args:
        secret: `NAME`, in the namespace of the current context, or `NAMESPACE/NAME`.

    Raises:
        StorageError: If it cannot be read, or has no settings.
    """
    from_context, _, name = secret.rpartition("/")
    with _cluster(f"the secret {secret!r} cannot be read") as (api, current):
        namespace = from_context or current
        object_ = api.read_namespaced_secret(name, namespace, _request_timeout=_TIMEOUT)
    data = {key: base64.b64decode(value).decode() for key, value in (object_.data or {}).items()}
    settings = {key: value for key, value in data.items() if key.startswith(_PREFIX)}
    if not settings and len(data) == 1:
        settings = _remote(next(iter(data.values())))
    if not settings:
        raise StorageError(
            f"the secret {name!r} in the namespace {namespace!r} has no {_PREFIX}... ; it needs "
            f"{_PREFIX}S3_TYPE and so on, as for Seldon's storage initializer, or one key with "
            "rclone's name, type and parameters, as for Seldon Core 2"
        )
    return settings


def _remote(text: str) -> dict[str, str]:
    """Convert a remote in the form of Seldon Core 2 to variables; return none for any other text."""
    import yaml

    try:
        content = yaml.safe_load(text)  # JSON as well
        options = {"type": content["type"], **content["parameters"]}
        prefix = f"{_PREFIX}{content['name']}_"
    except (yaml.YAMLError, KeyError, TypeError):
        return {}  # the error is not shown, because it may contain a key
    return {
        f"{prefix}{option}".upper(): str(value).lower() if isinstance(value, bool) else str(value)
        for option, value in options.items()
    }


def load_balancer(namespace: str, service: str) -> str | None:
    """Return the external `HOST:PORT` of a service; None if there is no such service.

    Raises:
        NoCluster: If there is no cluster.
        StorageError: If the cluster refuses, or the service has no external address.
    """
    with _cluster(f"the service {service!r} in {namespace!r} cannot be read") as (api, _):
        services = api.list_namespaced_service(
            namespace, field_selector=f"metadata.name={service}", _request_timeout=_TIMEOUT
        ).items
    if not services:
        return None
    addresses = services[0].status.load_balancer.ingress or []
    address = next((one.ip or one.hostname for one in addresses), None)
    if not address:
        raise StorageError(
            f"the service {service!r} in the namespace {namespace!r} has no address from a load "
            "balancer; give an endpoint, such as that of `kubectl port-forward`"
        )
    return f"{address}:{services[0].spec.ports[0].port}"


def deployed_digests() -> set[str]:
    """Return the digests of the models deployed on the cluster of the current context.

    All namespaces are read, or only the context's own if the others may not be. None without a cluster.

    Raises:
        StorageError: If there is a cluster, but it does not answer or refuses.
    """
    doing = (
        "the deployed artifacts cannot be listed, so none is removed (KUBECONFIG=/dev/null ignores the "
        "cluster)"
    )
    digests: set[str] = set()
    try:
        with _cluster(doing) as (core, namespace):
            for model in _MODELS:
                digests |= set(
                    _DIGEST.findall(json.dumps(_list(core.api_client, model, namespace)))
                )
    except NotConfigured:
        return set()
    return digests


def _list(connection: Any, model: tuple[str, str, str], namespace: str) -> Any:
    from kubernetes import client

    api = client.CustomObjectsApi(connection)
    group, version, plural = model
    try:
        return api.list_cluster_custom_object(*model, _request_timeout=_TIMEOUT)
    except client.ApiException as error:
        if error.status == 404:  # not installed
            return []
        if error.status != 403:
            raise
        where = (group, version, namespace, plural)
        return api.list_namespaced_custom_object(*where, _request_timeout=_TIMEOUT)


@contextlib.contextmanager
def _cluster(doing: str) -> Iterator[tuple[Any, str]]:
    """Connect to the cluster of the current context; yield its API and the context's namespace."""
    client, config, urllib3, yaml = _kubernetes(doing)
    # The client itself only reads KUBECONFIG when it is imported.
    named = os.environ.get("KUBECONFIG")
    kubeconfig = {"config_file": named} if named else {}
    try:
        settings = client.Configuration()
        config.load_config(client_configuration=settings, **kubeconfig)
        settings.retries = 0
        with client.ApiClient(settings) as connection:
            yield client.CoreV1Api(connection), _namespace(config, kubeconfig)
    except client.ApiException as error:
        raise StorageError(f"{doing}: {_explained(error.status, error.reason)}") from error
    except config.ConfigException as error:
        raise NotConfigured(
            f"{doing}: no cluster is configured here ({error}); set KUBECONFIG"
        ) from error
    except yaml.YAMLError as error:
        raise NoCluster(f"{doing}: the kubeconfig is not valid YAML; correct KUBECONFIG") from error
    except urllib3.exceptions.HTTPError as error:
        raise NoCluster(
            f"{doing}: the cluster at {settings.host} does not answer; correct KUBECONFIG, or try "
            "again once it is up"
        ) from error


def _kubernetes(doing: str) -> Any:
    try:
        import urllib3
        import yaml
        from kubernetes import client, config
    except ModuleNotFoundError as error:
        raise NotConfigured(
            f"{doing} without the package kubernetes: {extras.command('k8s')}"
        ) from error
    return client, config, urllib3, yaml


def _namespace(config: Any, kubeconfig: dict[str, str]) -> str:
    try:
        _, current = config.list_kube_config_contexts(**kubeconfig)
        return str(current["context"].get("namespace") or "default")
    except config.ConfigException:  # in a pod
        with open("/var/run/secrets/kubernetes.io/serviceaccount/namespace") as file:
            return file.read().strip()


def _explained(status: int, reason: str) -> str:
    if status == 404:
        return "it does not exist in that namespace; correct the name, or create it"
    if status in (401, 403):
        return f"the cluster refuses it ({status} {reason}); ask for the right to read it"
    return f"the cluster answers {status} {reason}; try again"
