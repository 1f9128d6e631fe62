"""Runtimes of KServe: those in the files, and the one for MLServer that comes along."""

from __future__ import annotations

from dataclasses import dataclass

from tempo_runtime._util.yaml_document import Document, Place, Run, apart
from tempo_runtime.lint.views import RUNTIMES

# config/runtimes/kserve-mlserver.yaml
MLSERVER = "kserve-mlserver"
MLSERVER_FORMATS = frozenset({"sklearn", "xgboost", "lightgbm", "mlflow"})
_SERVER_TYPE = "serving.kserve.io/server-type"


@dataclass(frozen=True)
class Runtime:
    """What is known of a runtime.

    Attributes:
        name: Its name.
        formats: Formats of models that it serves.
        protocols: Protocols that it has; none where it does not say.
        by_mlserver: Whether KServe knows it as MLServer's.
        containers: Its containers, where it is in the files.
    """

    name: str
    formats: frozenset[str]
    protocols: tuple[str, ...]
    by_mlserver: bool
    containers: tuple[Place, ...] = ()


def formats(document: Document) -> frozenset[str]:
    """The formats of models that a runtime of the files serves."""
    return frozenset(each["name"].text for each in document["spec"]["supportedModelFormats"])


def reached(document: Document, run: Run) -> tuple[list[Document], list[Document]]:
    """The runtimes of these files that an InferenceService names: all, and those that it can reach."""
    name = document["spec"]["predictor"]["model"]["runtime"].text
    found = run.named(name, *RUNTIMES) if name else []
    near = [
        each
        for each in found
        if each.kind == "ClusterServingRuntime" or not apart(each.namespace, document.namespace)
    ]
    return found, near


def runtime_of(document: Document, run: Run) -> Runtime | None:
    """The runtime that an InferenceService names, where it is known."""
    _, near = reached(document, run)
    if not near:
        name = document["spec"]["predictor"]["model"]["runtime"].text
        return Runtime(MLSERVER, MLSERVER_FORMATS, ("v2",), True) if name == MLSERVER else None
    found = near[0]
    stated = found["metadata"]["annotations"][_SERVER_TYPE].text
    return Runtime(
        found.name,
        formats(found),
        tuple(each.text for each in found["spec"]["protocolVersions"]),
        stated == "mlserver" or found.name == MLSERVER,
        tuple(found["spec"]["containers"]),
    )
