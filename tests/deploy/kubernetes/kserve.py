"""A stand-in for KServe: its webhooks, its controller, and its autoscaler.

Read in KServe's sources: pkg/apis/serving/v1beta1/inference_service_defaults.go (DefaultInferenceService)
and inference_service_validation.go (validateInferenceServiceAutoscaler, validateDeploymentMode); in
pkg/controller/v1beta1/inferenceservice/reconcilers/ the files deployment/deployment_reconciler.go
(createRawDefaultDeployment) and hpa/hpa_reconciler.go (shouldCreateHPA).
"""

from __future__ import annotations

import copy
from typing import Any

from tests.deploy.kubernetes.api_server import ApiServer, Denied, Object

NEWEST = (0, 20, 0)
MODE = "serving.kserve.io/deploymentMode"
AUTOSCALER = "serving.kserve.io/autoscalerClass"
_RENAMED = {"RawDeployment": "Standard", "Serverless": "Knative"}
# As Go's resource.Quantity writes these.
_QUANTITIES = {"0.5": "500m", "1000m": "1", "1024Mi": "1Gi"}


class KServe:
    """KServe of a version, which deploys without Knative by default.

    Args:
        api: The API.
        version: The version.

    Attributes:
        address: What its Services have as clusterIP.
        replicas: Pods that the Deployment of each service asks for.
        autoscaled: Services that have an autoscaler.
        default_mode: The mode of its configuration.
        has_knative: Whether Knative is installed.
    """

    def __init__(self, api: ApiServer, version: tuple[int, int, int] = NEWEST) -> None:
        self.address = "10.0.0.1"
        self.replicas: dict[str, int] = {}
        self.autoscaled: set[str] = set()
        self.default_mode = "RawDeployment"
        self.has_knative = True
        self._api = api
        self._version = version
        api.admit = self._admit
        api.operator = self._reconcile

    def _admit(self, item: Object, live: Object | None) -> Object:
        """Change and check an object as the webhooks do."""
        if item["kind"] != "InferenceService":
            return item
        item = copy.deepcopy(item)
        annotations = item["metadata"].setdefault("annotations", {})
        if self._version >= (0, 17, 0) and annotations.get(MODE) in _RENAMED:
            annotations[MODE] = _RENAMED[annotations[MODE]]
        if self._version >= (0, 17, 0):
            name = item["spec"]["predictor"]["model"]["modelFormat"]["name"]
            annotations.setdefault("modelFormat", name)
        item["spec"]["predictor"] = _through_go(item["spec"]["predictor"])
        classes = ["hpa", "external", *(["none"] if self._version >= (0, 15, 1) else [])]
        if (chosen := annotations.get(AUTOSCALER, "hpa")) not in classes:
            raise Denied(f"[{chosen}] is not a supported autoscaler class type")
        before = ((live or {}).get("status") or {}).get("deploymentMode")
        if before and annotations.get(MODE, before) != before:
            change = f"from '{before}' to '{annotations[MODE]}'"
            raise Denied(f"update rejected: deploymentMode cannot be changed {change}")
        return item

    def _reconcile(self, item: Object) -> None:
        """Make the pods that a service's Deployment asks for, and say that it is ready."""
        if item["kind"] != "InferenceService":
            return
        metadata, predictor = item["metadata"], item["spec"]["predictor"]
        name, annotations = metadata["name"], metadata["annotations"]
        mode = self._mode(annotations)
        if mode in ("Serverless", "Knative") and not self.has_knative:
            why = f"It is not possible to use {mode} deployment mode when Knative Services are not"
            kind = "InferenceService"
            self._api.warn(name, "ServerlessModeRejected", f"{why} available", kind, lasted=0)
            return
        if annotations.get(AUTOSCALER) == "none":
            self.autoscaled.discard(name)
            self.replicas[name] = predictor["minReplicas"]
        else:
            self.autoscaled.add(name)
            self.replicas.setdefault(name, 1)  # until the autoscaler asks for more
        self._api.put(
            "services",
            {"metadata": {"name": f"{name}-predictor"}, "spec": {"clusterIP": self.address}},
        )
        labels = {"serving.kserve.io/inferenceservice": name, "pod-template-hash": "1"}

        def pod(number: int) -> None:
            up = [{"name": "kserve-container", "ready": True}]
            ready = [{"type": "Ready", "status": "True"}]
            pod = f"{name}-predictor-1-{number}"
            self._api.pod(pod, labels, containerStatuses=up, conditions=ready)

        for number in range(self.replicas[name]):
            pod(number)
        self._api.state(
            "inferenceservices",
            name,
            conditions=[{"type": "Ready", "status": "True"}],
            observedGeneration=metadata["generation"],
            **({"deploymentMode": mode} if self._version >= (0, 15, 1) else {}),
        )
        for number in range(self.replicas[name], predictor.get("minReplicas") or 1):
            pod(number)  # the autoscaler's first

    def _mode(self, annotations: dict[str, str]) -> str:
        mode = annotations.get(MODE, "")
        known = {"RawDeployment", "Serverless"}
        if self._version >= (0, 16, 0):
            mode, known = _RENAMED.get(mode, mode), {"Standard", "Knative"}
        return mode if mode in known else self.default_mode


def _through_go(value: Any, path: tuple[str, ...] = ()) -> Any:
    """Return a predictor as it is after Go has read it into its types and written it again."""
    if isinstance(value, list):
        return [_through_go(each, path) for each in value]
    if path[-2:-1] in (("requests",), ("limits",)):
        return _QUANTITIES.get(value, value)
    if not isinstance(value, dict):
        return value
    empty = {"value": "", "initialDelaySeconds": 0}
    kept = {key: each for key, each in value.items() if empty.get(key, value) != each}
    found = {key: _through_go(each, (*path, key)) for key, each in kept.items()}
    if path == ("model",):
        found = {"name": "", "resources": {}, **found}  # which have no omitempty
    return found
