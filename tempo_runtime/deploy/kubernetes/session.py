"""What is asked of a cluster's API: applied, read, deleted and followed, within one deadline."""

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
_KNOWN = {each.kind: each for each in (SELDON, MODEL, SERVER, SERVICE, RUNTIME, BUDGET)}
_AGAIN = (429, 503, 504)
_FIRST_DELAY, _LONGEST_DELAY = 0.2, 5.0
# The API ends a watch by itself, and long before a connection that says nothing is given up.
_WATCHED, _SILENT = 50, 70.0
_READ, _BEGUN = 30.0, 10.0
_MOST_LINES = 2**31 - 1  # the API answers 400 to more than an int64, as to a pod without a log


def resource_of(document: Mapping[str, Any]) -> Resource:
    """Return the kind of an object."""
    return _KNOWN[document["kind"]]


@dataclass(frozen=True)
class _Request:
    """A request.

    Attributes:
        asked: What it asks.
        method: Its method.
        query: Its query.
        body: An object, that becomes JSON.
        kind: Content type of the body.
        suffix: What comes after the object's path.
        read: Seconds until the answer begins.
    """

    asked: ApiCall
    method: str = "GET"
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    kind: str = ""
    suffix: str = ""
    read: float = _READ

    @property
    def path(self) -> str:
        """Its path."""
        resource = self.asked.resource
        plural = resource.plural.partition("/")[0]
        path = f"{resource.prefix}/namespaces/{quote(self.asked.namespace, safe='')}/{plural}"
        return path + (
            f"/{quote(self.asked.name, safe='')}{self.suffix}" if self.asked.name else ""
        )

    @property
    def headers(self) -> dict[str, str]:
        """Its headers."""
        kind = {"content-type": self.kind} if self.kind else {}
        return {"accept": "application/json, */*", **kind}


class Api:
    """The API, for one operation.

    What fails for the moment is asked again until the deadline: 429 and 503 as long after as the API
    says, and a connection that breaks once there had been one.

    Args:
        connection: Where it is.
        deadline: Of the operation.
        stopped: Set when nobody waits for it any more.
    """

    def __init__(
        self, connection: ApiConnection, deadline: Deadline, stopped: threading.Event | None = None
    ) -> None:
        self.connection = connection
        self.deadline = deadline
        self.stopped = stopped or threading.Event()
        self._reached = stopped is not None

    def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        """Return an object; None if there is none.

        Raises:
            DeploymentFailed: If it may not be read, or its kind or namespace is not there.
        """
        asked = ApiCall("get", resource, namespace, name)
        try:
            return self._object(_Request(asked))
        except NotFound:
            return None

    def apply(
        self, document: Mapping[str, Any], *, dry_run: bool = False, over: Collection[str] = ()
    ) -> dict[str, Any]:
        """Apply an object server-side, and take no field from another manager.

        Args:
            document: All that we say of it.
            dry_run: Whether it is only checked.
            over: Fields that are taken from other managers all the same.

        Returns:
            The object as it is then.

        Raises:
            DeploymentFailed: If it is refused, or a field is another manager's.
        """
        metadata = document["metadata"]
        asked = ApiCall("patch", resource_of(document), metadata["namespace"], metadata["name"])
        query = {"fieldManager": MANAGER, "force": "false", "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        kind = "application/apply-patch+yaml"  # of which JSON is a part
        try:
            return self._object(_Request(asked, "PATCH", query, document, kind))
        except ApiError as refused:
            if not refused.conflicts or not refused.conflicts.issubset(over):
                raise
        return self._object(_Request(asked, "PATCH", {**query, "force": "true"}, document, kind))

    def relabel(self, asked: ApiCall, labels: Mapping[str, str | None]) -> dict[str, Any] | None:
        """Change labels of an object; None takes one away.

        Returns:
            The object as it is then; None if it is not there any more.

        Raises:
            DeploymentFailed: If it is refused.
        """
        body = {"metadata": {"labels": dict(labels)}}
        kind = "application/merge-patch+json"
        try:
            return self._object(_Request(asked, "PATCH", {"fieldManager": MANAGER}, body, kind))
        except NotFound:
            return None

    def delete(self, asked: ApiCall, item: Mapping[str, Any]) -> None:
        """Delete an object as it was read, after all that it owns; nothing happens if it is gone.

        Raises:
            Refused: With code 409 if it has changed since, or another if it is refused.
        """
        read = {key: item["metadata"][key] for key in ("uid", "resourceVersion")}
        body = {"propagationPolicy": "Foreground", "preconditions": read}
        with contextlib.suppress(NotFound):
            self._object(_Request(asked, "DELETE", {}, body, "application/json"))

    def list(
        self, resource: Resource, namespace: str, selector: Mapping[str, str]
    ) -> tuple[list[dict[str, Any]], str]:
        """Return the objects of a kind, and the version of the whole.

        Args:
            resource: The kind.
            namespace: Their namespace.
            selector: Which of them: `labelSelector`, `fieldSelector`.

        Raises:
            DeploymentFailed: If it is refused.
        """
        found = self._object(_Request(ApiCall("list", resource, namespace), query=selector))
        # The items of a list do not say what they are.
        kind = {"apiVersion": resource.prefix.split("/", 2)[2], "kind": resource.kind}
        items = [{**kind, **item} for item in found.get("items") or []]
        return items, str(found.get("metadata", {}).get("resourceVersion", ""))

    def watch(
        self, resource: Resource, namespace: str, selector: Mapping[str, str], version: str
    ) -> Any:
        """Return a response that goes on with a line of JSON for each change since a version.

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
        asked = ApiCall("watch", resource, namespace)
        response = self._open(_Request(asked, query=query, read=_BEGUN))
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
        """Return what a container has printed, or the one before it that ended.

        Args:
            namespace: Namespace of the pod.
            pod: Its name.
            container: Name of the container.
            lines: How many of the last lines; all that are kept without it.
            ended: Whether of the one before.
            since: The second from which on, in RFC 3339.
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
        asked = ApiCall("get", logs, namespace, pod)
        content = self._bytes(_Request(asked, query=query, suffix="/log"))
        return content.decode(errors="replace")

    def _object(self, request: _Request) -> dict[str, Any]:
        content = self._bytes(request)
        try:
            found = json.loads(content)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise refusal(request.asked, 200, b"no JSON: is that the URL of a Kubernetes API?")
        return found

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
        """Return a response that is not an error; asks again for as long as that can help."""
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
                refused = refusal(request.asked, response.status, self._content(response))
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
            Unreachable: If it breaks off, or is not there at the deadline.
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
        """Wait before something is asked again.

        Raises:
            Exception: The error, if the deadline is sooner.
        """
        if seconds >= self.deadline.left or self.stopped.wait(seconds):
            raise error


def _retry_after(response: Any, otherwise: float) -> float:
    try:
        # Never sooner than without it: some say 0.
        return max(otherwise, float(response.headers["retry-after"]))
    except (KeyError, ValueError):
        return otherwise
