"""Addresses of deployed models on each platform, as pure functions of names.

The cluster is not asked, neither when a manifest is written nor when a request is served.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

SELDON_HTTP, SELDON_GRPC = 9000, 9500
SELDON_ENGINE_HTTP, SELDON_ENGINE_GRPC = 8000, 5001
SELDON2_GATEWAY = "seldon-mesh"
KSERVE_HTTP, KSERVE_GRPC = 8080, 9000
_LABEL = 63  # characters of a DNS label, RFC 1123


@dataclass(frozen=True)
class Endpoint:
    """The address of a model.

    Attributes:
        url: Base URL over HTTP.
        grpc: Base URL over gRPC.
        model: Name it is served under.
        headers: Headers that each call needs, so that a gateway can route it.
    """

    url: str
    grpc: str
    model: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Path of the model under the base URL."""
        return f"/v2/models/{self.model}"


def local(host: str, http: int, grpc: int, model: str) -> Endpoint:
    """Return the address of a model on a server with known ports."""
    return Endpoint(f"http://{host}:{http}", f"grpc://{host}:{grpc}", model)


def seldon(
    name: str, namespace: str, *, predictor: str = "default", engine: bool = False
) -> Endpoint:
    """Return the address of a SeldonDeployment of Seldon Core v1 inside the cluster.

    Source: operator/controllers/seldondeployment_controller.go and seldondeployment_types.go.

    Args:
        name: Name of the SeldonDeployment, of its graph and of the model.
        namespace: Its namespace.
        predictor: Name of the predictor.
        engine: Whether calls go through Seldon's engine.
    """
    host = f"{seldon_service(name, predictor)}.{namespace}.svc.cluster.local"
    http, grpc = (SELDON_ENGINE_HTTP, SELDON_ENGINE_GRPC) if engine else (SELDON_HTTP, SELDON_GRPC)
    return local(host, http, grpc, name)


def seldon_service(name: str, predictor: str) -> str:
    """Return the name of a predictor's Service, unless the annotation `seldon.io/svc-name` sets it."""
    service = f"{name}-{predictor}"
    if len(service) <= _LABEL:
        return service
    return f"seldon-{hashlib.md5(service.encode(), usedforsecurity=False).hexdigest()}"


def seldon_ingress(name: str, namespace: str, ingress: str) -> Endpoint:
    """Return the address of a SeldonDeployment of Seldon Core v1 at the ingress.

    The ingress routes gRPC by headers.

    Args:
        name: Its name.
        namespace: Its namespace.
        ingress: Scheme, host and port of the ingress: `http://HOST:PORT`.
    """
    ingress = ingress.rstrip("/")
    grpc = ingress.replace("https://", "grpcs://").replace("http://", "grpc://")
    headers = {"seldon": name, "namespace": namespace}
    return Endpoint(f"{ingress}/seldon/{namespace}/{name}", grpc, name, headers)


def seldon2(name: str, namespace: str, *, gateway: str = SELDON2_GATEWAY) -> Endpoint:
    """Return the address of a Model of Seldon Core 2 at the gateway of the mesh.

    Args:
        name: Its name.
        namespace: Namespace of the gateway, which is that of the SeldonRuntime.
        gateway: Service of the gateway.
    """
    host = f"{gateway}.{namespace}.svc.cluster.local"
    return Endpoint(f"http://{host}", f"grpc://{host}:80", name, {"seldon-model": name})


def kserve(name: str, namespace: str, *, knative: bool = False, headless: bool = False) -> Endpoint:
    """Return the address of an InferenceService of KServe inside the cluster.

    Args:
        name: Its name.
        namespace: Its namespace.
        knative: Whether Knative deploys it, with only one port, instead of a plain Deployment.
        headless: Whether the Service has no address of its own: its name leads to the pods and their
            ports.
    """
    service = name if knative else f"{name}-predictor"
    host = f"{service}.{namespace}.svc.cluster.local"
    if headless and not knative:
        return local(host, KSERVE_HTTP, KSERVE_GRPC, name)
    return Endpoint(f"http://{host}", f"grpc://{host}:{80 if knative else KSERVE_GRPC}", name)
