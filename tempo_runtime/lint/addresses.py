"""Rules about the settings of pipelines, and the addresses of children in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tempo_runtime._util.yaml_document import SETTINGS, Document, Run, differ
from tempo_runtime.deploy.kubernetes.addresses import (
    KSERVE_GRPC,
    KSERVE_HTTP,
    SELDON_ENGINE_GRPC,
    SELDON_ENGINE_HTTP,
    SELDON_GRPC,
    SELDON_HTTP,
)
from tempo_runtime.lint.rules import Hits, across, rule
from tempo_runtime.lint.runtimes import runtime_of
from tempo_runtime.lint.views import (
    WITH_PODS,
    component_containers,
    pipeline_settings,
    predictors,
    units,
)

_SELDON = (SELDON_HTTP, SELDON_GRPC)
_SELDON_ENGINE = (SELDON_ENGINE_HTTP, SELDON_ENGINE_GRPC)
_DEFAULT_PORTS = {"http": 80, "https": 443}
# Suffixes that people write after a deployment's name when they mean its service.
_SUFFIXES = ("", "-default", "-predictor", "-predictor-default", "-svc")


@dataclass(frozen=True)
class _Service:
    """A Service that a platform creates for a document.

    Attributes:
        host: Its name.
        namespace: Its namespace.
        ports: Its ports; empty if they are not known.
        document: The document.
    """

    host: str
    namespace: str
    ports: tuple[int, ...]
    document: Document


def _services(run: Run) -> Iterator[_Service]:
    for document in run.of("SeldonDeployment"):
        for predictor in predictors(document):
            base = f"{document.name}-{predictor['name'].text}"
            main = predictor["annotations"]["seldon.io/svc-name"].text or base
            bare = predictor["annotations"]["seldon.io/no-engine"].text.lower() == "true"
            behind = _SELDON if bare else _SELDON_ENGINE
            yield _Service(main, document.namespace, behind, document)
            for unit in units(predictor["graph"]):
                host = f"{base}-{unit['name'].text}"
                yield _Service(host, document.namespace, _SELDON, document)
    for document in run.of("InferenceService"):
        for name in ("predictor", "transformer"):
            ports = _kserve_ports(document, name, run)
            yield _Service(f"{document.name}-{name}", document.namespace, ports, document)
        # the name that Knative gives it
        yield _Service(document.name, document.namespace, (80, 443), document)


def _kserve_ports(document: Document, component: str, run: Run) -> tuple[int, ...]:
    """Return 80, the ports behind it (all that a headless Service has), and the declared ports.

    Empty if a runtime that is not in these files may declare more.
    """
    place = document["spec"][component]
    containers = list(component_containers(place))
    if component == "predictor" and not list(place["containers"]):
        runtime = runtime_of(document, run)
        if runtime is None:
            return ()
        containers += runtime.containers
    declared = [port["containerPort"].number for holder in containers for port in holder["ports"]]
    return (80, KSERVE_HTTP, KSERVE_GRPC, *filter(None, declared))


def child_urls(settings: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the URLs of children in a pipeline's settings, each with the setting that has it."""
    models = settings.get("models")
    values = [("base_url", settings.get("base_url"))]
    for alias, child in models.items() if isinstance(models, dict) else ():
        if isinstance(child, dict):
            values.append((f"child {alias!r}", child.get("url")))
    for what, value in values:
        for url in value if isinstance(value, list) else [value]:
            if isinstance(url, str):
                yield from ((what, part.strip()) for part in url.split(","))


@across(
    "child-url",
    "error",
    *WITH_PODS,
    "Model",
    SETTINGS,
    consequence="Every call of that child fails: the name or the port does not exist.",
    fix="use the name, namespace and port of the deployment's Service",
)
def child_url(document: Document, run: Run) -> Hits:
    """A child's URL that names a deployment in these files has its Service, namespace and port.

    Source: seldon-core constants.go, seldondeployment_controller.go:151-161; kserve raw deployments.
    """
    services = list(_services(run))
    for place, settings in pipeline_settings(document):
        for what, url in child_urls(settings):
            if fault := _fault(url, document.namespace, services):
                yield place, f"{what}: {fault}"


def _fault(url: str, here: str, services: list[_Service]) -> str | None:
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    host, _, rest = (parts.hostname or "").partition(".")
    namespace = rest.partition(".")[0] or here
    inside = re.fullmatch(r"([^.]+(\.svc(\.cluster\.local\.?)?)?)?", rest)
    if not host or not inside:
        return None
    known = [service for service in services if service.host == host]
    if not known:
        for service in services:
            name = service.document.name
            if name and host.removeprefix(name) in _SUFFIXES:
                return f"{host} is not a Service of {name}; {service.host} is"
        return None
    near = [service for service in known if not differ(service.namespace, namespace)]
    if not near:
        return f"{host} is in namespace {known[0].namespace}, not in {namespace}"
    if port is not None and all(service.ports and port not in service.ports for service in near):
        return f"{host} has port {near[0].ports[0]}, not {port}"
    return None


@rule(
    "pipeline-settings",
    "error",
    *WITH_PODS,
    "Model",
    SETTINGS,
    consequence="The pipeline does not load.",
    fix="correct the setting",
)
def pipeline_settings_hold(document: Document) -> Hits:
    """Settings of a pipeline (TEMPO_RUNTIME_*, parameters of a Model, parameters.extra) are valid."""
    from tempo_runtime.errors import SettingsError
    from tempo_runtime.settings import PipelineSettings

    for place, settings in pipeline_settings(document):
        try:
            PipelineSettings.read(settings, {})
        except SettingsError as error:
            yield place, str(error).rpartition("variables: ")[2]
        except RecursionError:
            continue
