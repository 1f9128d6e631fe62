"""How a deployed model gets on: pure functions of what the cluster says.

Facts are from the operators' sources: operator/apis/machinelearning.seldon.io/v1 and
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
from tempo_runtime.deploy.kubernetes.events import REJECTED, killed, parts_of, warned
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
    """How a model gets on.

    Attributes:
        state: `ready`; `waiting`, and so it may still become ready; `failed`; or `gone`.
        reason: What it waits for, or why it failed.
        log: The log that would tell more, if one does.
        blocked: Whether something is wrong that may be put right while it waits.
    """

    state: State
    reason: str = ""
    log: Log | None = None
    blocked: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Old:
    """What was there when a model was applied again: what it failed of may have been put right since.

    Attributes:
        pods: Its pods by uid, with how often they had been restarted.
        item: Its object; None if that has changed, so that its word is new, and its pods are replaced.
    """

    pods: Mapping[str, int] = field(default_factory=dict)
    item: Mapping[str, Any] | None = None


GONE = Progress("gone", "it is not there, or has been deleted")


def progress(
    item: Mapping[str, Any] | None,
    pods: Iterable[Mapping[str, Any]] = (),
    events: Iterable[Mapping[str, Any]] = (),
    logs: Mapping[Log, str] | None = None,
    old: Old | None = None,
    others: Iterable[str] = (),
    server: Wait | None = None,
) -> Progress:
    """Return how a model gets on.

    Args:
        item: Its SeldonDeployment, Model or InferenceService; None if there is none.
        pods: Its pods.
        events: Events of its namespace.
        logs: The logs that were read.
        old: What is from before, and may be over.
        others: Names of the other models of the namespace.
        server: What the Server of a Model waits for.
    """
    old, pods, events = old or Old(), list(pods), list(events)
    if item is None or item["metadata"].get("deletionTimestamp"):
        return GONE
    if why := other_mode(item):
        return Progress("failed", why)  # for good: it is changed by deleting the object only
    found = _KINDS[item["kind"]](item)
    if found.state == "ready" and rolling(pods):
        found = Progress("waiting", "the pods from before serve until the new ones are ready")
    server = server or Wait()
    if server.holds or (server.reason and found.state == "waiting"):
        # Also after a failure to load, as on a pod that drains: each pod that connects tries again.
        found = Progress("waiting", "; ".join(filter(None, [found.reason, server.reason])))
    ready, least = sum(map(is_ready, pods)), _replicas(item)
    if found.state == "ready" and pods and ready < least:
        found = Progress("waiting", f"{ready} of {least} pods are ready")
    if found.state == "ready":
        return found
    unchanged = old.item is not None and old.item.get("status") == item.get("status")
    if found.state == "failed" and (unchanged or (pods and _blocked(item))):
        found = replace(found, state="waiting")
    # A Server's pods serve the models of others as well, and are not replaced with a model. One that is
    # in trouble is not the end while another may serve it.
    shared = item["kind"] == "Model"
    alone = not shared or server.holds or all(_in_trouble(pod, logs) for pod in pods)
    unhealthy = killed(events)
    troubles = [
        replace(each, lasting=each.lasting and alone and not _untried(pod, old.pods))
        for pod in pods
        if shared or old.item is not None or pod["metadata"].get("uid") not in old.pods
        if (each := trouble(pod, logs, _KEYS[item["kind"]], unhealthy)) is not None
    ]
    told = [each for each in troubles if each.reason]
    worst = max(told, key=lambda each: each.lasting, default=None)
    about = [item["metadata"]["name"], *([server_of(item)] if shared else [])]
    seen, parts = pods or None, parts_of(item)
    warnings = (
        [] if worst else [warned(events, each, others, seen, parts) for each in about if each]
    )
    warning = "; ".join(filter(None, warnings))
    found = _explained(found, worst, warning, shared)
    if worst is None and not shared:
        found = replace(found, log=next((each.log for each in troubles), None))
    if digests := other_artifact(found.reason):
        there, deployed = digests
        reason = (
            f"the artifact at {uri_of(item)} has the digest {there}, but {deployed} is deployed: upload "
            "that one (`tempo-runtime upload FOLDER`), or deploy the one that is at the URI"
        )
        return replace(found, reason=reason)
    return found


def without_pods(found: Progress, namespace: str) -> Progress:
    """Add to what a model waits for that its pods, which would tell more, may not be seen."""
    if found.state in ("ready", "gone"):
        return found
    unseen = (
        "its pods may not be listed, and would tell more; get the right to list and watch pods in "
        f"{namespace}, as in k8s/rbac"
    )
    return replace(found, reason="; ".join(filter(None, [found.reason, unseen])))


def stale(
    item: Mapping[str, Any], before: Mapping[str, Any] | None, *, renewed: bool = False
) -> bool:
    """Return whether what an object says of itself may still be of what it was before it was changed.

    Seldon Core v1 does not say which generation it means. Its word is new once it differs. KServe says
    which generation of what it makes, and that it is ready while old pods serve. Its word is new once
    there are new ones.

    Args:
        item: The object.
        before: The same before the change; None if there was none.
        renewed: Whether pods of what it is now are there.
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
    """Return an object as it is applied so that a Model which failed to load is loaded again.

    Seldon Core 2 does so by itself only when a Server's pod connects. Its operator passes on a Model
    whenever the spec is another, and its scheduler then loads it where it had failed (UpdateModel and
    updateLoadedModelsImpl in scheduler/pkg/store/memory.go). `dedicated` means nothing to either
    (AsSchedulerModel in operator/apis/mlops/v1alpha1/model_types.go), and false is what it is when it is
    left out, so stating that, or not, changes nothing else. A Model that did not fail keeps it as it is.

    Args:
        document: The object.
        live: The object as it is; None if there is none.
    """
    if live is None or document["kind"] != "Model":
        return document
    stated = "dedicated" in (live.get("spec") or {})
    failed = _seldon2(live).state == "failed"
    return (
        {**document, "spec": {**document["spec"], "dedicated": False}}
        if stated != failed
        else document
    )


def _in_trouble(pod: Mapping[str, Any], logs: Mapping[Log, str] | None) -> bool:
    found = trouble(pod, logs)
    return found is not None and bool(found.reason)


def _untried(pod: Mapping[str, Any], known: Mapping[str, int]) -> bool:
    """Return whether a pod was not tried again since it was known."""
    return known.get(str(pod["metadata"].get("uid"))) == restarts(pod)


def _explained(found: Progress, worst: Trouble | None, warning: str, shared: bool) -> Progress:
    if worst is None:
        if warning.startswith(REJECTED):
            return Progress("failed", warning)
        parts = [found.reason, warning]
        return Progress(found.state, "; ".join(filter(None, parts)), blocked=bool(warning))
    state: State = "failed" if worst.lasting else found.state
    said = found.reason if found.state == "failed" or shared else ""
    return Progress(state, "; ".join(filter(None, [said, worst.reason])), worst.log, blocked=True)


def _seldon(item: Mapping[str, Any]) -> Progress:
    status = item.get("status") or {}
    state = status.get("state")
    if state == "Available":
        return Progress("ready")
    if state == "Failed":
        return Progress("failed", line(status.get("description") or "Seldon Core gives no reason"))
    if not status:
        return Progress("waiting", "Seldon Core has not looked at it yet; does its operator run?")
    counts = [
        f"{name}: {each.get('availableReplicas', 0)} of {each.get('replicas', 0)} pods are ready"
        for name, each in sorted((status.get("deploymentStatus") or {}).items())
    ]
    return Progress("waiting", ", ".join(counts) or _unmet(status) or "it is being made")


def _seldon2(item: Mapping[str, Any]) -> Progress:
    status, spec = item.get("status") or {}, item.get("spec") or {}
    needed = spec.get("requirements") or []
    ready, model = _condition(status, "Ready"), _condition(status, "ModelReady")
    if (model or ready).get("status") == "True":
        return Progress("ready")
    told = next((each for each in (model, ready) if each.get("reason") or each.get("message")), {})
    state, why = told.get("reason"), told.get("message")
    if why in _SELDON2_STATES:  # newer versions have them the other way round
        state, why = why, state
    reason = line(": ".join(filter(None, [state, why])))
    if remedy := next((each for part, each in _SELDON2_REMEDIES if re.search(part, reason)), ""):
        reason += "; " + remedy.format(secret=spec.get("secretName") or "")
    elif _UNSCHEDULED in reason and spec.get("server"):
        reason += f"; see that Server {spec['server']} is there and ready, or correct server"
    elif _UNSCHEDULED in reason and seldon2.SERVER not in needed:
        reason += (
            f"; it needs a Server that has {', '.join(needed)}, such as that of the Helm chart "
            f"seldon-core-v2-servers; the one for pipelines, {seldon2.SERVER}, does not have it"
        )
    if state == "ModelFailed" or (
        why is None and state not in _SELDON2_STATES and _is_final(reason)
    ):
        return Progress("failed", reason)
    unseen = "Seldon Core 2 has not looked at it yet; does its operator run?"
    return Progress("waiting", reason or unseen)


def _is_final(reason: str) -> bool:
    """Return whether a reason without a state, as up to 2.4, is that of a model that failed to load."""
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
        return Progress("failed", f"{why or _INVALID}; {_of_runtime(item)}")
    if _blocked(item):
        return Progress("failed", why or str(model["transitionStatus"]))
    reason = why or _unmet(status) or line(ready.get("message") or ready.get("reason") or "")
    return Progress(
        "waiting", reason or "KServe has not looked at it yet; does its controller run?"
    )


def other_mode(item: Mapping[str, Any]) -> str:
    """Return why KServe deploys a service in another mode than its object asks for; empty if it does not.

    Up to 0.15.2 KServe does not know the names `Standard` and `Knative`, and takes the mode of its
    configuration instead, in which a service has other addresses. From 0.15.1 on it says which it took
    (GetDeploymentMode in pkg/controller/v1beta1/inferenceservice/utils/utils.go), and keeps to that.

    Args:
        item: The object.
    """
    asked = (item["metadata"].get("annotations") or {}).get(kserve.MODE)
    taken = (item.get("status") or {}).get("deploymentMode")
    if item["kind"] != "InferenceService" or not (asked and taken):
        return ""
    if kserve.MODES.get(asked, asked) == kserve.MODES.get(taken, taken):
        return ""
    return (
        f"KServe deploys it as {taken}, and not as {asked}, which versions before 0.16 do not know: "
        "undeploy, set kserve_version to the cluster's version, and deploy again"
    )


def invalid(item: Mapping[str, Any]) -> bool:
    """Return whether KServe refuses the spec, as it does until it has seen the ServingRuntime."""
    model = (item.get("status") or {}).get("modelStatus") or {}
    return bool(model.get("transitionStatus") == _INVALID)


def _of_runtime(item: Mapping[str, Any]) -> str:
    """Return which runtime a model asks for, and what helps."""
    name = item["spec"]["predictor"]["model"].get("runtime")
    if name == kserve.MLSERVER:
        return f"install ClusterServingRuntime {name}, which comes with KServe"
    return f"correct ServingRuntime {name}, or name another with runtime"


def _replicas(item: Mapping[str, Any]) -> int:
    """Return how many pods must be ready.

    KServe is ready with one pod, and makes the others later. The other platforms wait for all.
    """
    if item["kind"] != "InferenceService":
        return 0
    return int(item["spec"]["predictor"].get("minReplicas") or 1)


def _blocked(item: Mapping[str, Any]) -> bool:
    """Return whether KServe reports a failed load, which it does at the first crash and may revoke."""
    model = (item.get("status") or {}).get("modelStatus") or {}
    return bool(model.get("transitionStatus") == "BlockedByFailedLoad")


# Of a Model, as apis/mlops/scheduler/scheduler.proto has them.
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
# What helps, by what scheduler and agent say (scheduler/pkg/scheduler/scheduler.go, and below
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
        "see that it was uploaded to its uri, and that the Secret of auth_secret_name opens that; the "
        "log of the container rclone in the Server's pods says more",
    ),
    (
        "no such host|connection refused",
        "see that the namespace has a SeldonRuntime, and that its scheduler is up",
    ),
    (
        "enough suitable replicas",
        "its Server needs as many ready pods as the model has replicas, each with room for its memory; "
        "ask for fewer replicas or less memory",
    ),
)
_UNSCHEDULED = "no matching servers are available"
_INVALID = "InvalidSpec"
# The option that names the Secrets that artifacts are downloaded with.
_KEYS = {
    "SeldonDeployment": "auth_secret_name",
    "Model": "auth_secret_name",
    "InferenceService": "service_account_name",
}
_KINDS = {"SeldonDeployment": _seldon, "Model": _seldon2, "InferenceService": _kserve}


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return next((each for each in status.get("conditions") or [] if each.get("type") == kind), {})


def _unmet(status: Mapping[str, Any]) -> str:
    """Return the required conditions that do not hold (knative.dev/pkg: apis/condition_types.go)."""
    unmet = []
    for condition in status.get("conditions") or []:
        counts = condition.get("type") != "Ready" and condition.get("severity") != "Info"
        if condition.get("status") != "True" and counts:
            told = condition.get("message") or condition.get("reason")
            unmet.append(f"{condition.get('type')}" + (f" ({told})" if told else ""))
    return line("not yet: " + ", ".join(unmet)) if unmet else ""
