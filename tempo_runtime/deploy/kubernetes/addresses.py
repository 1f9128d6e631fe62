"""Where a deployed model is called, on each platform: pure functions of names.

No API is asked, neither when a manifest is written nor when a request is served.
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
    """Where a model is called.

    Attributes:
        url: Base URL over HTTP.
        grpc: The same over gRPC.
        model: Name it is served under.
        headers: Headers of each call, by which a gateway finds it.
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
    """Return a server on a machine that is known by name."""
    return Endpoint(f"http://{host}:{http}", f"grpc://{host}:{grpc}", model)


def seldon(
    name: str, namespace: str, *, predictor: str = "default", engine: bool = False
) -> Endpoint:
    """Return a SeldonDeployment of Seldon Core v1, from inside the cluster.

    Source: operator/controllers/seldondeployment_controller.go and seldondeployment_types.go.

    Args:
        name: Its name, that of its graph, and of the model.
        namespace: Its namespace.
        predictor: Name of the predictor.
        engine: Whether calls go through Seldon's engine.
    """
    host = f"{seldon_service(name, predictor)}.{namespace}.svc.cluster.local"
    http, grpc = (SELDON_ENGINE_HTTP, SELDON_ENGINE_GRPC) if engine else (SELDON_HTTP, SELDON_GRPC)
    return local(host, http, grpc, name)


def seldon_service(name: str, predictor: str) -> str:
    """Return the Service of a predictor, where the annotation `seldon.io/svc-name` names no other."""
    service = f"{name}-{predictor}"
    if len(service) <= _LABEL:
        return service
    return f"seldon-{hashlib.md5(service.encode(), usedforsecurity=False).hexdigest()}"


def seldon_ingress(name: str, namespace: str, ingress: str) -> Endpoint:
    """Return a SeldonDeployment of Seldon Core v1, through the ingress.

    Over gRPC it is found by headers.

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
    """Return a Model of Seldon Core 2, through the mesh's gateway.

    Args:
        name: Its name.
        namespace: Namespace of the gateway; that of the runtime.
        gateway: Service of the gateway.
    """
    host = f"{gateway}.{namespace}.svc.cluster.local"
    return Endpoint(f"http://{host}", f"grpc://{host}:80", name, {"seldon-model": name})


def kserve(name: str, namespace: str, *, knative: bool = False, headless: bool = False) -> Endpoint:
    """Return an InferenceService of KServe, from inside the cluster.

    Args:
        name: Its name.
        namespace: Its namespace.
        knative: Whether it is deployed by Knative, which has one port, and not as plain Deployments.
        headless: Whether the Service has no address of its own: its name is that of the pods, and only
            their ports are there.
    """
    service = name if knative else f"{name}-predictor"
    host = f"{service}.{namespace}.svc.cluster.local"
    if headless and not knative:
        return local(host, KSERVE_HTTP, KSERVE_GRPC, name)
    return Endpoint(f"http://{host}", f"grpc://{host}:{80 if knative else KSERVE_GRPC}", name)
