"""Runtimes of KServe: those in the files, and those for MLServer and Triton that KServe includes."""

from __future__ import annotations

from dataclasses import dataclass

from tempo_runtime._util.yaml_document import Document, Place, Run, differ
from tempo_runtime.lint.views import RUNTIMES

# config/runtimes/kserve-mlserver.yaml
MLSERVER = "kserve-mlserver"
MLSERVER_FORMATS = frozenset({"sklearn", "xgboost", "lightgbm", "mlflow"})
# config/runtimes/kserve-tritonserver.yaml
TRITON = "kserve-tritonserver"
_TRITON_FORMATS = frozenset({"triton", "tensorflow", "pytorch", "onnx", "tensorrt"})
_SERVER_TYPE = "serving.kserve.io/server-type"


@dataclass(frozen=True)
class Runtime:
    """The properties of a runtime that rules need.

    Attributes:
        name: Its name.
        formats: Model formats that it supports.
        protocols: Protocols that it supports; empty if it states none.
        by_mlserver: Whether KServe recognizes it as MLServer.
        containers: Its containers, if it is in the files.
    """

    name: str
    formats: frozenset[str]
    protocols: tuple[str, ...]
    by_mlserver: bool
    containers: tuple[Place, ...] = ()


_INCLUDED = {
    MLSERVER: Runtime(MLSERVER, MLSERVER_FORMATS, ("v2",), True),
    TRITON: Runtime(TRITON, _TRITON_FORMATS, ("v2", "grpc-v2"), False),
}


def formats(document: Document) -> frozenset[str]:
    """Return the model formats that a runtime in the files supports."""
    return frozenset(entry["name"].text for entry in document["spec"]["supportedModelFormats"])


def reachable(document: Document, run: Run) -> tuple[list[Document], list[Document]]:
    """Return the runtimes in these files that an InferenceService names: all, and those in its reach."""
    name = document["spec"]["predictor"]["model"]["runtime"].text
    runtimes = run.named(name, *RUNTIMES) if name else []
    near = [
        runtime
        for runtime in runtimes
        if runtime.kind == "ClusterServingRuntime"
        or not differ(runtime.namespace, document.namespace)
    ]
    return runtimes, near


def runtime_of(document: Document, run: Run) -> Runtime | None:
    """Return the runtime that an InferenceService names, if it is known."""
    _, near = reachable(document, run)
    if not near:
        name = document["spec"]["predictor"]["model"]["runtime"].text
        return _INCLUDED.get(name)
    runtime = near[0]
    server = runtime["metadata"]["annotations"][_SERVER_TYPE].text
    return Runtime(
        runtime.name,
        formats(runtime),
        tuple(protocol.text for protocol in runtime["spec"]["protocolVersions"]),
        server == "mlserver" or runtime.name == MLSERVER,
        tuple(runtime["spec"]["containers"]),
    )
