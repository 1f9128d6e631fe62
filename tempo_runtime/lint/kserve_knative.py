"""Rules for services that KServe deploys with Knative."""

from __future__ import annotations

from tempo_runtime._util.yaml_document import Document
from tempo_runtime.lint.rules import Hits, rule
from tempo_runtime.lint.views import components

_MODE = "serving.kserve.io/deploymentMode"
_FIELDS = (
    "affinity",
    "dnsConfig",
    "dnsPolicy",
    "hostAliases",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "nodeSelector",
    "priorityClassName",
    "runtimeClassName",
    "schedulerName",
    "securityContext",
    "shareProcessNamespace",
    "tolerations",
    "topologySpreadConstraints",
)
_FLAGS = {field: f"kubernetes.podspec-{field.lower()}" for field in _FIELDS}
_FLAGS["initContainers"] = "kubernetes.podspec-init-containers"


@rule(
    "kserve-knative-flag",
    "warning",
    "InferenceService",
    consequence="Without the field's flag, Knative refuses the revision: must not set the field(s).",
    fix="enable the flag in Knative's ConfigMap config-features, or remove the field; a "
    "securityContext may be set for the container",
)
def knative_flag(document: Document) -> Hits:
    """A pod that Knative deploys has no field that Knative disables by default.

    Source: knative serving pkg/apis/serving/fieldmask.go, PodSpecMask; pkg/apis/config/features.go.
    """
    # Without the annotation, the cluster's configuration decides.
    if document["metadata"]["annotations"][_MODE].text not in ("Serverless", "Knative"):
        return
    for component in components(document):
        for field, place in component.items():
            if place.value and field in _FLAGS:
                yield (
                    place,
                    f"{field} needs Knative's flag {_FLAGS[field]}, which is off by default",
                )
