"""Errors of the cluster's API, and what can be done about them."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tempo_runtime._util.credentials import redacted
from tempo_runtime.deploy.kubernetes.manifests.annotation import MANAGED_BY
from tempo_runtime.deploy.kubernetes.manifests.pods import MANAGER
from tempo_runtime.errors import DeploymentFailed

_LONGEST = 400
_MOST_NAMES = 20
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")
_OPERATORS = {
    "machinelearning.seldon.io": "Seldon Core v1 (its Helm chart seldon-core-operator)",
    "mlops.seldon.io": "Seldon Core 2 (its Helm charts seldon-core-v2-crds and seldon-core-v2-setup)",
    "serving.kserve.io": "KServe (its Helm charts kserve-crd and kserve-resources)",
}
# Messages of KServe's webhook if its version has other names for what is written by default.
_OTHER_VERSION = ("is not a supported autoscaler class type", "deploymentMode cannot be changed")


@dataclass(frozen=True)
class Resource:
    """A kind of object, as it appears in the API's paths.

    Attributes:
        group: Its API group; empty for the core's.
        version: Version of the group.
        plural: Its name in paths.
        kind: Its name in objects.
    """

    group: str
    version: str
    plural: str
    kind: str

    @property
    def prefix(self) -> str:
        """Path of the group and version."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @property
    def rule(self) -> str:
        """Name of the resource in a Role."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


@dataclass(frozen=True)
class ApiCall:
    """A call of the API.

    Attributes:
        verb: Verb of the call in a Role.
        resource: The kind of object.
        namespace: Its namespace.
        name: Name of the object; empty for all objects.
    """

    verb: str
    resource: Resource
    namespace: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.resource.kind} {self.name}".strip()


class ApiError(DeploymentFailed):
    """The API answered with an error.

    Attributes:
        code: Its HTTP status.
        conflicts: Fields such as `spec.replicas` that other managers own, if that is the cause.
    """

    def __init__(self, message: str, code: int, conflicts: Collection[str] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.conflicts = frozenset(conflicts)

    @property
    def forbidden(self) -> bool:
        """Whether the caller lacks a right."""
        return self.code == 403


class NotFound(ApiError):
    """The object does not exist."""


def refusal(call: ApiCall, code: int, body: bytes) -> ApiError:
    """Return the error for a failed call.

    Args:
        call: What was asked.
        code: The HTTP status.
        body: The body of the answer.
    """
    status = _status(body)
    details = status.get("details") or {}
    absent = code == 404 and details.get("name") and details.get("kind") != "namespaces"
    return (NotFound if absent else ApiError)(
        _message(call, code, status, line(status.get("message") or body)), code, _conflicts(details)
    )


def not_managed(call: ApiCall, item: Mapping[str, Any]) -> DeploymentFailed:
    """Return the error for an object that tempo-runtime does not manage."""
    metadata = item["metadata"]
    label = (metadata.get("labels") or {}).get(MANAGED_BY)
    managers = [entry.get("manager") for entry in metadata.get("managedFields") or []]
    others = [manager for manager in (label, *managers) if manager and manager != MANAGER]
    owner = others[0] if others else "someone else"
    return DeploymentFailed(
        f"{call} in {call.namespace} belongs to {owner} and was not deployed by {MANAGER}; give the "
        "model another name, choose another namespace, or delete that object"
    )


def check_name(name: str) -> None:
    """Refuse an invalid name of a model before it becomes part of a request's path.

    Raises:
        DeploymentFailed: If it is invalid.
    """
    if not _NAME.fullmatch(name):
        raise DeploymentFailed(
            f"{name!r} is not a valid model name; use lowercase letters, digits, `-` and `.` only"
        )


def absent(call: ApiCall, existing: Collection[str] = ()) -> DeploymentFailed:
    """Return the error for an object that does not exist.

    Args:
        call: What was asked for.
        existing: Names of objects that exist, one of which was probably meant.
    """
    close = difflib.get_close_matches(call.name, existing, n=1)
    remedy = "deploy it first, or correct its name, the namespace or the platform"
    if close:
        remedy = f"did you mean {close[0]!r}?"
    elif existing:
        names = sorted(existing)
        more = ", ..." if len(names) > _MOST_NAMES else ""
        remedy = f"there are: {', '.join(names[:_MOST_NAMES])}{more}"
    return DeploymentFailed(f"there is no {call} in {call.namespace}; {remedy}")


def line(text: str | bytes) -> str:
    """Return text as one short line, without credentials in URLs.

    The end is kept, because the cause and the line of the author's code are often there.
    """
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    text = redacted(" ".join(text.split()))
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[: half - 5]} ... {text[-half:]}"


def _message(call: ApiCall, code: int, status: Mapping[str, Any], message: str) -> str:
    space, rule = call.namespace, call.resource.rule
    details = status.get("details") or {}
    if any(sign in message for sign in _OTHER_VERSION):
        return (
            f"{call} is refused: {message}; if the cluster's KServe is older than 0.16, set "
            "kserve_version to its version; to change its mode, undeploy the model first"
        )
    if "denied the request" in message:
        return f"{call} is refused: {message}; correct the options, or change what the webhook requires"
    if "failed calling webhook" in message:
        return f"{call}: {message}; check that the operator's own pods run, and deploy again"
    if "exceeded quota" in message:
        return (
            f"{call}: {message}; request less with resources or replicas, or get a higher quota in "
            f"{space}"
        )
    if code == 403 and "system:anonymous" in message:
        return (
            "the cluster does not know who you are (403, system:anonymous): the current context gives no "
            "credentials, for example because its plugin failed; log in again, or correct KUBECONFIG"
        )
    if code == 401:
        return (
            "the cluster does not accept the credentials of the current context (401); log in again, or "
            "correct KUBECONFIG"
        )
    if code == 403 and "is being terminated" in message:
        return f"{call}: the namespace {space} is being deleted; choose another"
    if code == 403:
        return (
            f"you may not {call.verb} {rule} in the namespace {space} (403); a Role as in k8s/rbac "
            f"grants it: {message}"
        )
    if code == 404 and details.get("kind") == "namespaces":
        return f"there is no namespace {space}; create it: kubectl create namespace {space}"
    if code == 404 and not details.get("name"):
        operator = _OPERATORS.get(call.resource.group, "the operator that defines it")
        return f"the cluster has no {rule}; install {operator}, or choose another platform"
    if code == 404:
        return str(absent(call))
    if code == 409 and (conflicts := _conflicts(details)):
        whose = ", ".join(f"{field} belongs to {manager}" for field, manager in conflicts.items())
        return (
            f"{call}: {line(whose)}, and is not overwritten; change it there, or make that manager "
            "release it"
        )
    if code == 409 and "Precondition failed" in message:
        return f"{call} was replaced by someone else in the meantime; check it, and deploy again"
    if code in (400, 422):
        return f"{call} is invalid: {message}; correct the options"
    return f"{call}: the cluster answers {code}: {message}; try again"


def _conflicts(details: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields that an apply must not change, each with its manager."""
    managers = {}
    for cause in details.get("causes") or []:
        if cause.get("reason") == "FieldManagerConflict":
            manager = str(cause.get("message", "")).partition('"')[2].partition('"')[0]
            managers[str(cause.get("field")).lstrip(".")] = manager or "another"
    return managers


def _status(body: bytes) -> dict[str, Any]:
    try:
        status = json.loads(body)
    except ValueError:
        return {}
    return status if isinstance(status, dict) else {}
