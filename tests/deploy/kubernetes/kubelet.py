"""A stand-in for a platform and its nodes: it creates pods, which download their artifact.

A changed template makes a new pod, and the old one goes when the new one is ready. A pod that may not
load what it finds ends again and again as MLServer does: with status 0, and its reason in the log before
the lines of its shutdown.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tempo_runtime.artifact.store import read_description
from tempo_runtime.artifact.trust import TrustPolicy
from tempo_runtime.errors import ArtifactUntrusted
from tests.deploy.kubernetes.api_server import ApiServer, Object

READY = [{"type": "Ready", "status": "True"}]
LOG = """[mlserver] ERROR - Some of the models failed to load during startup!
Traceback (most recent call last):
tempo_runtime.errors.ArtifactUntrusted: {why}

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
mlserver.errors.MLServerError: {why}
INFO:     Shutting down
INFO:     Waiting for application shutdown.
INFO:     Application shutdown complete.
[mlserver.grpc] INFO - gRPC server shutdown complete
"""


class Kubelet:
    """An operator for an API.

    Args:
        api: The API.

    Attributes:
        bucket: What was uploaded: URI -> folder.
        made: The model of each pod that was made, in order.
    """

    def __init__(self, api: ApiServer) -> None:
        self.bucket: dict[str, str] = {}
        self.made: list[str] = []
        self._api = api
        self._templates: dict[str, str] = {}
        api.operator = self._applied

    def _applied(self, item: Object) -> None:
        name = item["metadata"]["name"]
        if item["kind"] == "Model":
            self._load(item)
        elif item["kind"] in ("SeldonDeployment", "InferenceService"):
            template = hashlib.sha256(json.dumps(_template(item)).encode()).hexdigest()[:8]
            if self._templates.get(name) != template:
                self._templates[name] = template
                self._roll(item, f"{name}-{template}-x")
            self._say(item)

    def _roll(self, item: Object, pod: str) -> None:
        name = item["metadata"]["name"]
        self.made.append(name)
        key = "seldon-deployment-id"
        if item["kind"] == "InferenceService":
            key = "serving.kserve.io/inferenceservice"
        labels = {key: name, "pod-template-hash": pod.split("-")[-2]}
        container = _container(item)
        variables = {each["name"]: each["value"] for each in container.get("env", [])}
        why = self._untrusted(_uri(item), TrustPolicy.of_environment(variables))
        if why:
            self._api.logs[pod, name] = LOG.format(why=why)
            ended = {"terminated": {"exitCode": 0, "reason": "Completed"}}
            waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
            told = {"name": name, "state": waiting, "lastState": ended, "restartCount": 1}
            self._api.pod(pod, labels, containerStatuses=[told])
            return
        running = {"name": name, "ready": True, "state": {"running": {}}}
        self._api.pod(pod, labels, containerStatuses=[running], conditions=READY)
        for kind, old in list(self._api.objects):
            if kind == "pods" and old.startswith(f"{name}-") and old != pod:
                self._api.drop("pods", old)

    def _say(self, item: Object) -> None:
        """Says that a model is ready, as platforms do while old pods serve."""
        name = item["metadata"]["name"]
        if item["kind"] == "SeldonDeployment":
            self._api.state("seldondeployments", name, state="Creating")
            self._api.state("seldondeployments", name, state="Available")
        else:
            generation = item["metadata"]["generation"]
            self._api.state(
                "inferenceservices", name, conditions=READY, observedGeneration=generation
            )

    def _load(self, item: Object) -> None:
        """Has a Server load a Model of Seldon Core 2, and its agent say how that went."""
        name, spec = item["metadata"]["name"], item["spec"]
        self.made.append(name)
        extra = {each["name"]: each["value"] for each in spec.get("parameters", [])}
        why = self._untrusted(spec["storageUri"], TrustPolicy.of_settings(extra))
        conditions: list[dict[str, Any]] = READY
        if why:
            failed = {"type": "ModelReady", "status": "False", "reason": "ModelFailed"}
            conditions = [{**failed, "message": why}]
        self._api.state("models", name, conditions=conditions)

    def _untrusted(self, uri: str, demands: TrustPolicy) -> str:
        try:
            if uri in self.bucket:
                demands.check("/mnt/models", read_description(self.bucket[uri]))
        except ArtifactUntrusted as error:
            return str(error)
        return ""


def _template(item: Object) -> Any:
    """Return the specification of a model's pods."""
    if item["kind"] == "InferenceService":
        return item["spec"]["predictor"]
    [predictor] = item["spec"]["predictors"]
    return [predictor["graph"], predictor["componentSpecs"][0]]


def _container(item: Object) -> Object:
    if item["kind"] == "InferenceService":
        found: Object = item["spec"]["predictor"]["model"]
        return found
    found = item["spec"]["predictors"][0]["componentSpecs"][0]["spec"]["containers"][0]
    return found


def _uri(item: Object) -> str:
    if item["kind"] == "InferenceService":
        return str(item["spec"]["predictor"]["model"]["storageUri"])
    return str(item["spec"]["predictors"][0]["graph"]["modelUri"])
