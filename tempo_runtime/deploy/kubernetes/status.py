"""Judge the progress of a deployed model, by pure functions of the cluster's objects.

The facts come from the operators' sources: operator/apis/machinelearning.seldon.io/v1 and
operator/controllers of SeldonIO/seldon-core, operator/apis/mlops/v1alpha1 of its version 2, and
pkg/apis/serving/v1beta1 of kserve/kserve.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tempo_runtime.deploy.kubernetes.api_errors import line
from tempo_runtime.deploy.kubernetes.core2_servers import Wait
from tempo_runtime.deploy.kubernetes.events import REJECTED, killed, lasting_warning, parts_of
from tempo_runtime.deploy.kubernetes.manifests import kserve, seldon2
from tempo_runtime.deploy.kubernetes.manifests.pinning import uri_of
from tempo_runtime.deploy.kubernetes.platforms import server_of
from tempo_runtime.deploy.kubernetes.pods import (
    Log,
    Trouble,
    is_ready,
    other_artifact,
    restarts,
    rolling,
    summary,
    trouble,
)

State = Literal["ready", "waiting", "failed", "gone"]


@dataclass(frozen=True)
class Progress:
    """The progress of a model.

    Attributes:
        state: `ready`; `waiting`, so it may still become ready; `failed`; or `gone`.
        reason: Why it waits or has failed.
        log: The log that would explain more; None if no log would.
        blocked: Whether there is a problem that someone may solve while it waits.
    """

    state: State
    reason: str = ""
    log: Log | None = None
    blocked: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Old:
    """The state when a model was applied again: the problem of then may have been solved since.

    Attributes:
        pods: Uids of its pods, and how often they had been restarted.
        item: Its object; None if it has changed, so that its status is new and its pods are replaced.
    """

    pods: Mapping[str, int] = field(default_factory=dict)
    item: Mapping[str, Any] | None = None


GONE = Progress("gone", "it does not exist, or has been deleted")


def progress(
    item: Mapping[str, Any] | None,
    pods: Iterable[Mapping[str, Any]] = (),
    events: Iterable[Mapping[str, Any]] = (),
    logs: Mapping[Log, str] | None = None,
    old: Old | None = None,
    others: Iterable[str] = (),
    server: Wait | None = None,
) -> Progress:
    """Return the progress of a model.

    Args:
        item: Its SeldonDeployment, Model or InferenceService; None if it does not exist.
        pods: Its pods.
        events: Events of its namespace.
        logs: The logs that were read.
        old: The state before it was applied again, whose problems may be solved.
        others: Names of the other models of the namespace.
        server: What the Server of a Model waits for.
    """
    old, pods, events = old or Old(), list(pods), list(events)
    if item is None or item["metadata"].get("deletionTimestamp"):
        return GONE
    if why := other_mode(item):
        return Progress("failed", why)  # final: only deleting the object changes it
    result = _KINDS[item["kind"]](item)
    if result.state == "ready" and rolling(pods):
        result = Progress("waiting", "the old pods serve until the new ones are ready")
    server = server or Wait()
    if server.holds or (server.reason and result.state == "waiting"):
        # Also after a failure to load, as on a draining pod: each pod that connects tries again.
        result = Progress("waiting", "; ".join(filter(None, [result.reason, server.reason])))
    ready, least = sum(map(is_ready, pods)), _replicas(item)
    if result.state == "ready" and pods and ready < least:
        result = Progress("waiting", f"{ready} of {least} pods are ready")
    if result.state == "ready":
        return result
    unchanged = old.item is not None and old.item.get("status") == item.get("status")
    if result.state == "failed" and (unchanged or (pods and _blocked(item))):
        result = replace(result, state="waiting")
    # A Server's pods also serve other models, and are not replaced with a model. If one has a problem,
    # another may still serve the model.
    shared = item["kind"] == "Model"
    alone = not shared or server.holds or all(_in_trouble(pod, logs) for pod in pods)
    unhealthy = killed(events)
    troubles = [
        replace(problem, lasting=problem.lasting and alone and not _untried(pod, old.pods))
        for pod in pods
        if shared or old.item is not None or pod["metadata"].get("uid") not in old.pods
        if (problem := trouble(pod, logs, _KEYS[item["kind"]], unhealthy)) is not None
    ]
    with_reason = [problem for problem in troubles if problem.reason]
    worst = max(with_reason, key=lambda problem: problem.lasting, default=None)
    about = [item["metadata"]["name"], *([server_of(item)] if shared else [])]
    seen, parts = pods or None, parts_of(item)
    warnings = (
        []
        if worst
        else [lasting_warning(events, problem, others, seen, parts) for problem in about if problem]
    )
    warning = "; ".join(filter(None, warnings))
    result = _explained(result, worst, warning, shared)
    if worst is None and not shared:
        result = replace(result, log=next((problem.log for problem in troubles), None))
    if digests := other_artifact(result.reason):
        there, deployed = digests
        reason = (
            f"the artifact at {uri_of(item)} has the digest {there}, but {deployed} is deployed: upload "
            "that one (`tempo-runtime upload FOLDER`), or deploy the one that is at the URI"
        )
        return replace(result, reason=reason)
    return result


def without_pods(result: Progress, namespace: str) -> Progress:
    """Add to the reason that the pods, which would explain more, may not be listed."""
    if result.state in ("ready", "gone"):
        return result
    unseen = (
        "its pods would say more, but you may not list them; get the right to list and watch pods in "
        f"{namespace}, as in k8s/rbac"
    )
    return replace(result, reason="; ".join(filter(None, [result.reason, unseen])))


def stale(
    item: Mapping[str, Any], before: Mapping[str, Any] | None, *, renewed: bool = False
) -> bool:
    """Return whether an object's status may still describe the version before a change.

    Seldon Core v1 does not say which generation its status describes: it is new once it differs. KServe
    states the generation of the objects that it creates, but is ready while old pods serve: its status
    is new once there are new pods.

    Args:
        item: The object.
        before: The object before the change; None if it did not exist.
        renewed: Whether pods of the new version exist.
    """
    if before is None or before["metadata"].get("uid") != item["metadata"].get("uid"):
        return False
    generation = item["metadata"].get("generation")
    if before["metadata"].get("generation") == generation:
        return False
    if item["kind"] == "InferenceService":
        return not renewed
    observed = (item.get("status") or {}).get("observedGeneration")
    if observed is not None:
        return bool(observed < generation)
    return item.get("status") == before.get("status")


def tried_again(document: dict[str, Any], live: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return an object, changed if necessary so that a Model that failed to load is loaded again.

    Seldon Core 2 does this itself only when a Server's pod connects. Its operator forwards a Model
    whenever its spec changes, and its scheduler then loads it where it had failed (UpdateModel and
    updateLoadedModelsImpl in scheduler/pkg/store/memory.go). Neither uses `dedicated`
    (AsSchedulerModel in operator/apis/mlops/v1alpha1/model_types.go), and its default is false, so
    setting or omitting it changes nothing else. A Model that did not fail keeps its value.

    Args:
        document: The object.
        live: The object on the cluster; None if it does not exist.
    """
    if live is None or document["kind"] != "Model":
        return document
    is_stated = "dedicated" in (live.get("spec") or {})
    failed = _seldon2(live).state == "failed"
    return (
        {**document, "spec": {**document["spec"], "dedicated": False}}
        if is_stated != failed
        else document
    )


def _in_trouble(pod: Mapping[str, Any], logs: Mapping[Log, str] | None) -> bool:
    problem = trouble(pod, logs)
    return problem is not None and bool(problem.reason)


def _untried(pod: Mapping[str, Any], known: Mapping[str, int]) -> bool:
    """Return whether a pod has not been restarted since it was recorded."""
    return known.get(str(pod["metadata"].get("uid"))) == restarts(pod)


def _explained(result: Progress, worst: Trouble | None, warning: str, shared: bool) -> Progress:
    if worst is None:
        if warning.startswith(REJECTED):
            return Progress("failed", warning)
        parts = [result.reason, warning]
        return Progress(result.state, "; ".join(filter(None, parts)), blocked=bool(warning))
    new_state: State = "failed" if worst.lasting else result.state
    reason = result.reason if result.state == "failed" or shared else ""
    return Progress(
        new_state, "; ".join(filter(None, [reason, worst.reason])), worst.log, blocked=True
    )


def _seldon(item: Mapping[str, Any]) -> Progress:
    status = item.get("status") or {}
    state = status.get("state")
    if state == "Available":
        return Progress("ready")
    if state == "Failed":
        return Progress("failed", line(status.get("description") or "Seldon Core gives no reason"))
    if not status:
        return Progress(
            "waiting", "Seldon Core has not processed it yet; check that its operator runs"
        )
    counts = [
        f"{name}: {counted.get('availableReplicas', 0)} of {counted.get('replicas', 0)} pods are ready"
        for name, counted in sorted((status.get("deploymentStatus") or {}).items())
    ]
    return Progress("waiting", ", ".join(counts) or _unmet(status) or "it is being created")


def _seldon2(item: Mapping[str, Any]) -> Progress:
    status, spec = item.get("status") or {}, item.get("spec") or {}
    needed = spec.get("requirements") or []
    ready, model = _condition(status, "Ready"), _condition(status, "ModelReady")
    if (model or ready).get("status") == "True":
        return Progress("ready")
    condition = next(
        (
            candidate
            for candidate in (model, ready)
            if candidate.get("reason") or candidate.get("message")
        ),
        {},
    )
    state, why = condition.get("reason"), condition.get("message")
    if why in _SELDON2_STATES:  # newer versions have swapped them
        state, why = why, state
    reason = line(": ".join(filter(None, [state, why])))
    if remedy := next(
        (candidate for part, candidate in _SELDON2_REMEDIES if re.search(part, reason)), ""
    ):
        reason += "; " + remedy.format(secret=spec.get("secretName") or "")
    elif _UNSCHEDULED in reason and spec.get("server"):
        reason += f"; check that Server {spec['server']} exists and is ready, or correct server"
    elif _UNSCHEDULED in reason and seldon2.SERVER not in needed:
        reason += (
            f"; it needs a Server with {', '.join(needed)}, such as that of the Helm chart "
            f"seldon-core-v2-servers; the Server for pipelines, {seldon2.SERVER}, does not have it"
        )
    if state == "ModelFailed" or (
        why is None and state not in _SELDON2_STATES and _is_final(reason)
    ):
        return Progress("failed", reason)
    unseen = "Seldon Core 2 has not processed it yet; check that its operator runs"
    return Progress("waiting", reason or unseen)


def _is_final(reason: str) -> bool:
    """Return whether a reason without a state, as before 2.5, means that the model failed to load."""
    return bool(reason) and not re.match("Failed to schedule|rpc error: code = Unavailable", reason)


def _kserve(item: Mapping[str, Any]) -> Progress:
    status = item.get("status") or {}
    ready = _condition(status, "Ready")
    model = status.get("modelStatus") or {}
    failure = model.get("lastFailureInfo") or {}
    parts = [failure.get("reason"), summary(failure.get("message") or "")]
    why = ": ".join(filter(None, parts))
    if ready.get("status") == "True":
        return Progress("ready")
    if invalid(item):
        return Progress("failed", f"{why or _INVALID}; {_runtime_remedy(item)}")
    if _blocked(item):
        return Progress("failed", why or str(model["transitionStatus"]))
    reason = why or _unmet(status) or line(ready.get("message") or ready.get("reason") or "")
    return Progress(
        "waiting", reason or "KServe has not processed it yet; check that its controller runs"
    )


def other_mode(item: Mapping[str, Any]) -> str:
    """Return why KServe deploys a service in another mode than requested; empty if it does not.

    Up to 0.15.2 KServe does not know the names `Standard` and `Knative`, and uses the mode of its
    configuration instead, in which a service has other addresses. From 0.15.1 on it reports the mode
    (GetDeploymentMode in pkg/controller/v1beta1/inferenceservice/utils/utils.go), and keeps it.

    Args:
        item: The object.
    """
    requested = (item["metadata"].get("annotations") or {}).get(kserve.MODE)
    actual = (item.get("status") or {}).get("deploymentMode")
    if item["kind"] != "InferenceService" or not (requested and actual):
        return ""
    if kserve.MODES.get(requested, requested) == kserve.MODES.get(actual, actual):
        return ""
    return (
        f"KServe deploys it as {actual} instead of {requested}, which versions before 0.16 do not know: "
        "undeploy, set kserve_version to the cluster's version, and deploy again"
    )


def invalid(item: Mapping[str, Any]) -> bool:
    """Return whether KServe rejects the spec, as it does until it has seen the ServingRuntime."""
    model = (item.get("status") or {}).get("modelStatus") or {}
    return bool(model.get("transitionStatus") == _INVALID)


def _runtime_remedy(item: Mapping[str, Any]) -> str:
    """Return the remedy for the runtime that a model names."""
    name = item["spec"]["predictor"]["model"].get("runtime")
    if name in (kserve.MLSERVER, kserve.TRITON):
        return f"install ClusterServingRuntime {name}, which comes with KServe"
    return f"correct ServingRuntime {name}, or set runtime to another one"


def _replicas(item: Mapping[str, Any]) -> int:
    """Return the number of pods that must be ready.

    KServe is ready with one pod, and creates the others later. The other platforms wait for all.
    """
    if item["kind"] != "InferenceService":
        return 0
    return int(item["spec"]["predictor"].get("minReplicas") or 1)


def _blocked(item: Mapping[str, Any]) -> bool:
    """Return whether KServe reports a failed load, which it does at the first crash and may withdraw."""
    model = (item.get("status") or {}).get("modelStatus") or {}
    return bool(model.get("transitionStatus") == "BlockedByFailedLoad")


# States of a Model, from apis/mlops/scheduler/scheduler.proto.
_SELDON2_STATES = (
    "ModelAvailable",
    "ModelFailed",
    "ModelProgressing",
    "ModelScaledDown",
    "ModelStateUnknown",
    "ModelTerminateFailed",
    "ModelTerminated",
    "ModelTerminating",
    "ScheduleFailed",
)
# Remedies by messages of the scheduler and the agent (scheduler/pkg/scheduler/scheduler.go, and in
# scheduler/pkg/agent: k8s/secrets.go, rclone/rclone.go, repository/model_repository.go).
_FORM = "one key, with rclone's name, type and parameters, as in k8s/rbac/secret-seldon2.yaml"
_SELDON2_REMEDIES = (
    (
        "Secret does not have 1 key",
        f"auth_secret_name: the Secret {{secret}} must have the form of Seldon Core 2: {_FORM}",
    ),
    (
        'secrets "[^"]*" not found',
        "create the Secret in the namespace of the Model, or correct auth_secret_name",
    ),
    (
        'secrets "[^"]*" is forbidden',
        "give the service account of the Server the right to read the Secret of auth_secret_name",
    ),
    (
        "does not match secret|Failed to unmarshall config|RcloneConfigCreate",
        "auth_secret_name: the name in the Secret {secret} must be the scheme of the uri, and its form "
        f"that of Seldon Core 2: {_FORM}",
    ),
    (
        "failed to sync/copy|Failed rclone request|Failed to download from",
        "check that it was uploaded to its uri, and that the Secret of auth_secret_name gives access to "
        "it; the log of the container rclone in the Server's pods says more",
    ),
    (
        "no such host|connection refused",
        "check that the namespace has a SeldonRuntime, and that its scheduler is up",
    ),
    (
        "enough suitable replicas",
        "its Server needs as many ready pods as the model has replicas, each with room for its memory; "
        "request fewer replicas or less memory",
    ),
)
_UNSCHEDULED = "no matching servers are available"
_INVALID = "InvalidSpec"
# The option that names the Secret for downloading artifacts.
_KEYS = {
    "SeldonDeployment": "auth_secret_name",
    "Model": "auth_secret_name",
    "InferenceService": "service_account_name",
}
_KINDS = {"SeldonDeployment": _seldon, "Model": _seldon2, "InferenceService": _kserve}


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return next(
        (
            condition
            for condition in status.get("conditions") or []
            if condition.get("type") == kind
        ),
        {},
    )


def _unmet(status: Mapping[str, Any]) -> str:
    """Return the required conditions that do not hold (knative.dev/pkg: apis/condition_types.go)."""
    unmet = []
    for condition in status.get("conditions") or []:
        counts = condition.get("type") != "Ready" and condition.get("severity") != "Info"
        if condition.get("status") != "True" and counts:
            message = condition.get("message") or condition.get("reason")
            unmet.append(f"{condition.get('type')}" + (f" ({message})" if message else ""))
    return line("not yet: " + ", ".join(unmet)) if unmet else ""
