"""Call a cluster's API within one deadline: apply, read, list, delete and watch objects."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tempo_runtime.deploy.kubernetes.api_errors import (
    ApiCall,
    ApiError,
    NotFound,
    Resource,
    refusal,
)
from tempo_runtime.deploy.kubernetes.connection import (
    ApiConnection,
    Deadline,
    Unreachable,
    bounded,
    patient,
)
from tempo_runtime.deploy.kubernetes.manifests.pods import MANAGER

SELDON = Resource("machinelearning.seldon.io", "v1", "seldondeployments", "SeldonDeployment")
MODEL = Resource("mlops.seldon.io", "v1alpha1", "models", "Model")
SERVER = Resource("mlops.seldon.io", "v1alpha1", "servers", "Server")
SERVICE = Resource("serving.kserve.io", "v1beta1", "inferenceservices", "InferenceService")
RUNTIME = Resource("serving.kserve.io", "v1alpha1", "servingruntimes", "ServingRuntime")
BUDGET = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
PODS = Resource("", "v1", "pods", "Pod")
EVENTS = Resource("", "v1", "events", "Event")
_KNOWN = {resource.kind: resource for resource in (SELDON, MODEL, SERVER, SERVICE, RUNTIME, BUDGET)}
_AGAIN = (429, 503, 504)
_FIRST_DELAY, _LONGEST_DELAY = 0.2, 5.0
# The API ends a watch itself, long before a silent connection counts as lost.
_WATCHED, _SILENT = 50, 70.0
_READ, _BEGUN = 30.0, 10.0
_MOST_LINES = (
    2**31 - 1
)  # the API answers 400 to more than an int64, which would look like a pod without a log


def resource_of(document: Mapping[str, Any]) -> Resource:
    """Return the resource of a document's kind."""
    return _KNOWN[document["kind"]]


@dataclass(frozen=True)
class _Request:
    """A request to the API.

    Attributes:
        call: The call.
        method: Its method.
        query: Its query.
        body: An object, which becomes JSON.
        kind: Content type of the body.
        suffix: Text that follows the object's path.
        read: Seconds until the answer begins.
    """

    call: ApiCall
    method: str = "GET"
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    kind: str = ""
    suffix: str = ""
    read: float = _READ

    @property
    def path(self) -> str:
        """Path of the request."""
        resource = self.call.resource
        plural = resource.plural.partition("/")[0]
        path = f"{resource.prefix}/namespaces/{quote(self.call.namespace, safe='')}/{plural}"
        return path + (f"/{quote(self.call.name, safe='')}{self.suffix}" if self.call.name else "")

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the request."""
        kind = {"content-type": self.kind} if self.kind else {}
        return {"accept": "application/json, */*", **kind}


class Api:
    """The API for one operation.

    Temporary failures are retried until the deadline: 429 and 503 after the time that the API states, and
    lost connections if there has been one.

    Args:
        connection: The connection to the cluster.
        deadline: Deadline of the operation.
        stopped: Set when nobody waits for the operation any longer.
    """

    def __init__(
        self, connection: ApiConnection, deadline: Deadline, stopped: threading.Event | None = None
    ) -> None:
        self.connection = connection
        self.deadline = deadline
        self.stopped = stopped or threading.Event()
        self._reached = stopped is not None

    def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        """Return an object; None if it does not exist.

        Raises:
            DeploymentFailed: If it may not be read, or its kind or namespace does not exist.
        """
        call = ApiCall("get", resource, namespace, name)
        try:
            return self._object(_Request(call))
        except NotFound:
            return None

    def apply(
        self, document: Mapping[str, Any], *, dry_run: bool = False, over: Collection[str] = ()
    ) -> dict[str, Any]:
        """Apply an object server-side, without taking fields from other managers.

        Args:
            document: The fields that we set.
            dry_run: Whether the object is only checked.
            over: Fields that may be taken from other managers nevertheless.

        Returns:
            The resulting object.

        Raises:
            DeploymentFailed: If it is refused, or another manager owns a field.
        """
        metadata = document["metadata"]
        call = ApiCall("patch", resource_of(document), metadata["namespace"], metadata["name"])
        query = {"fieldManager": MANAGER, "force": "false", "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        kind = "application/apply-patch+yaml"  # JSON is valid YAML
        try:
            return self._object(_Request(call, "PATCH", query, document, kind))
        except ApiError as refused:
            if not refused.conflicts or not refused.conflicts.issubset(over):
                raise
        return self._object(_Request(call, "PATCH", {**query, "force": "true"}, document, kind))

    def relabel(self, call: ApiCall, labels: Mapping[str, str | None]) -> dict[str, Any] | None:
        """Change labels of an object; the value None removes a label.

        Returns:
            The resulting object; None if it no longer exists.

        Raises:
            DeploymentFailed: If it is refused.
        """
        body = {"metadata": {"labels": dict(labels)}}
        kind = "application/merge-patch+json"
        try:
            return self._object(_Request(call, "PATCH", {"fieldManager": MANAGER}, body, kind))
        except NotFound:
            return None

    def delete(self, call: ApiCall, item: Mapping[str, Any]) -> None:
        """Delete an object in the state in which it was read, after what it owns, unless it is gone.

        Raises:
            ApiError: With code 409 if it has changed since then, or another code if it is refused.
        """
        read = {key: item["metadata"][key] for key in ("uid", "resourceVersion")}
        body = {"propagationPolicy": "Foreground", "preconditions": read}
        with contextlib.suppress(NotFound):
            self._object(_Request(call, "DELETE", {}, body, "application/json"))

    def list(
        self, resource: Resource, namespace: str, selector: Mapping[str, str]
    ) -> tuple[list[dict[str, Any]], str]:
        """Return the objects of a kind, and the version of the list.

        Args:
            resource: The kind.
            namespace: Their namespace.
            selector: Query that selects objects: `labelSelector`, `fieldSelector`.

        Raises:
            DeploymentFailed: If it is refused.
        """
        answer = self._object(_Request(ApiCall("list", resource, namespace), query=selector))
        # The items of a list do not have their own kind.
        kind = {"apiVersion": resource.prefix.split("/", 2)[2], "kind": resource.kind}
        items = [{**kind, **item} for item in answer.get("items") or []]
        return items, str(answer.get("metadata", {}).get("resourceVersion", ""))

    def watch(
        self, resource: Resource, namespace: str, selector: Mapping[str, str], version: str
    ) -> Any:
        """Return a response that streams a line of JSON for each change since a version.

        Raises:
            DeploymentFailed: If it is refused.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": _WATCHED,
            "resourceVersion": version,
            **selector,
        }
        call = ApiCall("watch", resource, namespace)
        response = self._open(_Request(call, query=query, read=_BEGUN))
        patient(response, _SILENT)
        return response

    def log(
        self,
        namespace: str,
        pod: str,
        container: str,
        *,
        lines: int | None = None,
        ended: bool = False,
        since: str | None = None,
        timestamps: bool = False,
    ) -> str:
        """Return the log of a container, or of its previous run.

        Args:
            namespace: Namespace of the pod.
            pod: Name of the pod.
            container: Name of the container.
            lines: Number of last lines; None for all that are kept.
            ended: Whether to read the previous run, which has ended.
            since: The second to start at, in RFC 3339.
            timestamps: Whether each line begins with its time.

        Raises:
            DeploymentFailed: If it is refused.
        """
        query: dict[str, Any] = {"container": container}
        if lines is not None:
            query["tailLines"] = min(lines, _MOST_LINES)
        if ended:
            query["previous"] = "true"
        if since is not None:
            query["sinceTime"] = since
        if timestamps:
            query["timestamps"] = "true"
        logs = Resource("", "v1", "pods/log", "Pod")
        call = ApiCall("get", logs, namespace, pod)
        content = self._bytes(_Request(call, query=query, suffix="/log"))
        return content.decode(errors="replace")

    def _object(self, request: _Request) -> dict[str, Any]:
        content = self._bytes(request)
        try:
            item = json.loads(content)
        except ValueError:
            item = None
        if not isinstance(item, dict):
            raise refusal(request.call, 200, b"not JSON: is this the URL of a Kubernetes API?")
        return item

    def _bytes(self, request: _Request) -> bytes:
        delay = _FIRST_DELAY
        while True:
            try:
                return self._content(self._open(request))
            except Unreachable as error:
                if not self._reached:
                    raise
                self.pause(error, delay)
                delay = min(2 * delay, _LONGEST_DELAY)

    def _open(self, request: _Request) -> Any:
        """Return a successful response, and retry as long as that can help."""
        delay = _FIRST_DELAY
        while True:
            left = max(self.deadline.left, 0.1)
            try:
                response = self.connection.open(
                    request.method,
                    request.path,
                    query=request.query,
                    body=request.body,
                    headers=request.headers,
                    read=min(request.read, left),
                    connect=min(10.0, left),
                )
                self._reached = True
                if response.status < 300:
                    return response
                refused = refusal(request.call, response.status, self._content(response))
            except Unreachable as error:
                if not self._reached:
                    raise
                self.pause(error, delay)
            else:
                if response.status not in _AGAIN and "retry-after" not in response.headers:
                    raise refused
                self.pause(refused, _retry_after(response, delay))
            delay = min(2 * delay, _LONGEST_DELAY)

    def _content(self, response: Any) -> bytes:
        """Return the body of a response.

        Raises:
            Unreachable: If the connection is lost, or the body is incomplete at the deadline.
        """
        import urllib3

        try:
            with bounded(response, max(self.deadline.left, 0.1)):
                content: bytes = response.data
        except urllib3.exceptions.HTTPError as error:
            why = error if self.deadline.left else TimeoutError("timed out")
            raise self.connection.unreachable(why) from error
        finally:
            response.release_conn()
        return content

    def pause(self, error: Exception, seconds: float) -> None:
        """Wait before a retry.

        Raises:
            Exception: The error, if the deadline comes first.
        """
        if seconds >= self.deadline.left or self.stopped.wait(seconds):
            raise error


def _retry_after(response: Any, otherwise: float) -> float:
    try:
        # Never wait less than without the header, because some servers say 0.
        return max(otherwise, float(response.headers["retry-after"]))
    except (KeyError, ValueError):
        return otherwise
