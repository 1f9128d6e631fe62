"""What the cluster's API says no to, and what can be done about it."""

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
# Of KServe's webhook: a version that has other names for what is written by default.
_OTHER_VERSION = ("is not a supported autoscaler class type", "deploymentMode cannot be changed")


@dataclass(frozen=True)
class Resource:
    """A kind of object, as the API's paths have it.

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
        """Path of its group and version."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @property
    def rule(self) -> str:
        """Its name in a Role."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


@dataclass(frozen=True)
class ApiCall:
    """What was asked of the API.

    Attributes:
        verb: As a Role has it.
        resource: The kind of object.
        namespace: Its namespace.
        name: Name of the object; empty for all.
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
        conflicts: Fields that other managers have, such as `spec.replicas`, where that is why.
    """

    def __init__(self, message: str, code: int, conflicts: Collection[str] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.conflicts = frozenset(conflicts)

    @property
    def forbidden(self) -> bool:
        """Whether a right is missing."""
        return self.code == 403


class NotFound(ApiError):
    """The object is not there."""


def refusal(asked: ApiCall, code: int, body: bytes) -> ApiError:
    """Return the error of an answer that is one.

    Args:
        asked: What was asked.
        code: The HTTP status.
        body: What came with it.
    """
    status = _status(body)
    details = status.get("details") or {}
    absent = code == 404 and details.get("name") and details.get("kind") != "namespaces"
    return (NotFound if absent else ApiError)(
        _told(asked, code, status, line(status.get("message") or body)), code, _conflicts(details)
    )


def not_managed(asked: ApiCall, found: Mapping[str, Any]) -> DeploymentFailed:
    """Return the error of a name that another's object has."""
    metadata = found["metadata"]
    label = (metadata.get("labels") or {}).get(MANAGED_BY)
    managers = [each.get("manager") for each in metadata.get("managedFields") or []]
    others = [each for each in (label, *managers) if each and each != MANAGER]
    owner = others[0] if others else "somebody else"
    return DeploymentFailed(
        f"{asked} in {asked.namespace} is {owner}'s, and not one that {MANAGER} deployed; give the model "
        "another name, choose another namespace, or delete that one"
    )


def check_name(name: str) -> None:
    """Refuse text that cannot be the name of a model, before it gets into the path of a request.

    Raises:
        DeploymentFailed: If it cannot.
    """
    if not _NAME.fullmatch(name):
        raise DeploymentFailed(
            f"{name!r} is not a valid model name; use lowercase letters, digits, `-` and `.` only"
        )


def absent(asked: ApiCall, there: Collection[str] = ()) -> DeploymentFailed:
    """Make the error of what is not there.

    Args:
        asked: What was asked for.
        there: Names of what is there instead, one of which was probably meant.
    """
    close = difflib.get_close_matches(asked.name, there, n=1)
    remedy = "deploy it first, or correct its name, the namespace or the platform"
    if close:
        remedy = f"did you mean {close[0]!r}?"
    elif there:
        names = sorted(there)
        more = ", ..." if len(names) > _MOST_NAMES else ""
        remedy = f"there are: {', '.join(names[:_MOST_NAMES])}{more}"
    return DeploymentFailed(f"there is no {asked} in {asked.namespace}; {remedy}")


def line(text: str | bytes) -> str:
    """Text in one line that is not too long, in which no URL has credentials.

    Its end is kept: the cause, and the line of the author's code, are often there.
    """
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    text = redacted(" ".join(text.split()))
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[: half - 5]} ... {text[-half:]}"


def _told(asked: ApiCall, code: int, status: Mapping[str, Any], message: str) -> str:
    space, rule = asked.namespace, asked.resource.rule
    details = status.get("details") or {}
    if any(sign in message for sign in _OTHER_VERSION):
        return (
            f"{asked} is refused: {message}; if the cluster's KServe is older than 0.16, set "
            "kserve_version to its version; to change its mode, undeploy the model first"
        )
    if "denied the request" in message:
        return f"{asked} is refused: {message}; correct the options, or what the webhook demands"
    if "failed calling webhook" in message:
        return f"{asked}: {message}; see that the operator's own pods are up, and deploy again"
    if "exceeded quota" in message:
        return (
            f"{asked}: {message}; ask for less with resources or replicas, or have the quota of {space} "
            "raised"
        )
    if code == 403 and "system:anonymous" in message:
        return (
            "the cluster does not know who is asking (403, system:anonymous): the current context gives "
            "no credentials, as when its plugin fails; log in again, or correct KUBECONFIG"
        )
    if code == 401:
        return (
            "the cluster does not accept the credentials of the current context (401); log in again, or "
            "correct KUBECONFIG"
        )
    if code == 403 and "is being terminated" in message:
        return f"{asked}: the namespace {space} is being deleted; choose another"
    if code == 403:
        return (
            f"you may not {asked.verb} {rule} in the namespace {space} (403); a Role as in k8s/rbac "
            f"grants it: {message}"
        )
    if code == 404 and details.get("kind") == "namespaces":
        return f"there is no namespace {space}; create it: kubectl create namespace {space}"
    if code == 404 and not details.get("name"):
        operator = _OPERATORS.get(asked.resource.group, "what defines it")
        return f"the cluster knows no {rule}; install {operator}, or choose another platform"
    if code == 404:
        return str(absent(asked))
    if code == 409 and (conflicts := _conflicts(details)):
        whose = ", ".join(f"{field} belongs to {manager}" for field, manager in conflicts.items())
        return (
            f"{asked}: {line(whose)}, and is not overwritten; change it there, or have that manager give "
            "it up"
        )
    if code == 409 and "Precondition failed" in message:
        return f"{asked} was replaced by somebody else meanwhile; look at it, and deploy again"
    if code in (400, 422):
        return f"{asked} is invalid: {message}; correct the options"
    return f"{asked}: the cluster answers {code}: {message}; try again"


def _conflicts(details: Mapping[str, Any]) -> dict[str, str]:
    """Return the managers of the fields that an apply may not change, by field."""
    found = {}
    for cause in details.get("causes") or []:
        if cause.get("reason") == "FieldManagerConflict":
            manager = str(cause.get("message", "")).partition('"')[2].partition('"')[0]
            found[str(cause.get("field")).lstrip(".")] = manager or "another"
    return found


def _status(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
