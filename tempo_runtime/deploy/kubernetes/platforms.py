"""The platforms: their kinds of objects, and how pods and addresses belong to models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tempo_runtime.authoring.details import ModelDetails, ModelFramework
from tempo_runtime.deploy.kubernetes.addresses import Endpoint, seldon_ingress
from tempo_runtime.deploy.kubernetes.addresses import kserve as kserve_service
from tempo_runtime.deploy.kubernetes.api_errors import Resource
from tempo_runtime.deploy.kubernetes.manifests import (
    PLATFORMS,
    RemotePlatform,
    annotation,
    kserve,
    seldon,
    seldon2,
)
from tempo_runtime.deploy.kubernetes.manifests.annotation import MANAGED_BY
from tempo_runtime.deploy.kubernetes.manifests.options import (
    KServeOptions,
    Seldon2Options,
    SeldonCoreOptions,
)
from tempo_runtime.deploy.kubernetes.manifests.pods import MANAGER
from tempo_runtime.deploy.kubernetes.session import (
    BUDGET,
    MODEL,
    RUNTIME,
    SELDON,
    SERVER,
    SERVICE,
)
from tempo_runtime.errors import DeploymentFailed, SettingsError

WARNINGS = {"fieldSelector": "type=Warning"}
OURS = {"labelSelector": f"{MANAGED_BY}={MANAGER}"}


@dataclass(frozen=True)
class Platform:
    """A platform.

    Attributes:
        target: Name of the platform.
        model: Kind of the objects that represent models.
        others: Kinds of the objects that are applied with them.
        pods: The label by which pods are found.
        shared: Whether the label's value is the name of a shared server instead of the model's name.
    """

    target: str
    model: Resource
    others: tuple[Resource, ...]
    pods: str
    shared: bool = False

    def of(self, pod: Mapping[str, Any], item: Mapping[str, Any]) -> bool:
        """Return whether a pod serves the model that an object represents."""
        value = (pod["metadata"].get("labels") or {}).get(self.pods)
        return bool(
            value and value == (server_of(item) if self.shared else item["metadata"]["name"])
        )


_SELDON = Platform(seldon.TARGET, SELDON, (), "seldon-deployment-id")
_SELDON2 = Platform(seldon2.TARGET, MODEL, (SERVER,), "seldon-server-name", True)
_KSERVE = Platform(kserve.TARGET, SERVICE, (RUNTIME, BUDGET), "serving.kserve.io/inferenceservice")


def platform_of(options: RemotePlatform) -> Platform:
    """Return the platform of these options.

    Raises:
        SettingsError: If they are not options of a platform.
    """
    if isinstance(options, SeldonCoreOptions):
        return _SELDON
    if isinstance(options, KServeOptions):
        return _KSERVE
    if isinstance(options, Seldon2Options):
        return _SELDON2
    raise SettingsError(
        f"expected SeldonCoreOptions, Seldon2Options or KServeOptions, not {options!r:.80}"
    )


def endpoint(name: str, options: RemotePlatform) -> Endpoint:
    """Return the address of a model inside the cluster, or at the ingress if the options name one."""
    if isinstance(options, SeldonCoreOptions) and (ingress := options.remote_options.ingress):
        return seldon_ingress(name, options.remote_options.namespace, ingress)
    models: Any = {name: None}
    address: Endpoint = PLATFORMS[type(options)].endpoints(models, options.remote_options)[name]
    return address


def service(name: str, options: RemotePlatform) -> Endpoint:
    """Return the Service of a model, with the port by which the cluster's API knows it."""
    if isinstance(options, KServeOptions):
        # Also if it is headless: only inside the cluster does its name lead to the pods and their ports.
        return kserve_service(name, options.remote_options.namespace)
    return endpoint(name, options)


def check_ingress(options: RemotePlatform) -> None:
    """Refuse an ingress that is not a URL before anything is deployed.

    Raises:
        SettingsError: If it is not a URL.
    """
    from yarl import URL  # which calls will use

    ingress = getattr(options.remote_options, "ingress", None)
    try:
        URL(ingress or "")
    except ValueError as error:
        raise SettingsError(
            f"ingress {ingress!r} is not a URL ({error}); give its scheme and host"
        ) from None


def details_of(item: Mapping[str, Any]) -> ModelDetails:
    """Return a model's details from the annotation of its object, or without one only its name."""
    metadata = item["metadata"]
    try:
        return annotation.details_of((metadata.get("annotations") or {})[annotation.MODEL])
    except (KeyError, DeploymentFailed):
        return ModelDetails(metadata["name"], ModelFramework.Custom)


def is_ours(item: Mapping[str, Any]) -> bool:
    """Return whether tempo-runtime manages an object."""
    return bool((item["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER)


def needs(model: Mapping[str, Any], server: str) -> bool:
    """Return whether a Model of Seldon Core 2 needs a Server or is loaded on it."""
    return server in (server_of(model), (model.get("spec") or {}).get("server"))


def server_of(model: Mapping[str, Any]) -> str:
    """Return the name of the Server of Seldon Core 2 that has a Model; empty if it is unknown.

    From 2.9 on the scheduler names it in `status.selector` (operator/scheduler/model.go).
    """
    spec = model.get("spec") or {}
    selector = str((model.get("status") or {}).get("selector") or "")
    default = seldon2.SERVER if seldon2.SERVER in (spec.get("requirements") or []) else ""
    return selector.removeprefix("server=") or str(spec.get("server") or default)
