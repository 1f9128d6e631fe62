"""Choose the warnings of a namespace that explain why a model is not ready, by pure functions.

Most warnings resolve themselves: an operator repeats a write that conflicted with another, or the
kubelet mounts a volume at the second attempt. Kubernetes counts repetitions in one event
(client-go/tools/record/events_cache.go), so the events alone show which warnings last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from tempo_runtime.deploy.kubernetes import remedies
from tempo_runtime.deploy.kubernetes.api_errors import line

Event = Mapping[str, Any]
Subject = tuple[str, str, str]  # reason, kind and name of the object

# Seconds between the first and the last event: a mount that only failed at first is over by then.
_LASTING = 5.0
# The pods report the same themselves, or it never keeps a model from being ready.
_QUIET = ("Unhealthy", "BackOff", "FailedScheduling", "FailedToUpdateEndpoint")
_QUIET_KINDS = ("HorizontalPodAutoscaler", "PodDisruptionBudget", "Endpoints", "EndpointSlice")
_CONFLICT = "the object has been modified"
# KServe issues it once, and processes the service again only after a change (TerminalError in
# pkg/controller/v1beta1/inferenceservice/controller.go).
REJECTED = "ServerlessModeRejected"
# Kinds of objects whose name is exactly that of a model or of a Server.
_NAMESAKES = ("SeldonDeployment", "Model", "InferenceService", "Server", "StatefulSet", "")
# The kubelet's message before it stops a container (pkg/kubelet/prober/prober.go).
_LIVENESS = "Liveness probe failed"


def lasting_warning(
    events: Iterable[Event],
    name: str,
    other_names: Iterable[str] = (),
    pods: Iterable[Mapping[str, Any]] | None = None,
    parts: Iterable[str] = ("",),
) -> str:
    """Return the last lasting warning about a model or its parts, or an empty text.

    Args:
        events: Events of its namespace.
        name: Its name.
        other_names: Names of other models, which may begin with this one's.
        pods: The pods of the model; None if they may not be listed.
        parts: See `is_about`.
    """
    other_names, parts = list(other_names), list(parts)
    seen = (
        None
        if pods is None
        else {same_subject["metadata"]["name"]: same_subject for same_subject in pods}
    )
    by_subject: dict[Subject, list[Event]] = {}
    for event in sorted(events, key=_last):
        if _is_relevant(event) and is_about(event, name, other_names, parts):
            kind = str((event.get("involvedObject") or {}).get("kind", ""))
            key = (str(event.get("reason")), kind, subject(event))
            by_subject.setdefault(key, []).append(event)
    lasting = [
        same_subject[-1]
        for same_subject in by_subject.values()
        if _lasts(same_subject) and not _is_over(same_subject[-1], seen)
    ]
    return describe(max(lasting, key=_last)) if lasting else ""


def describe(event: Event) -> str:
    """Describe an event on one line, with a remedy."""
    message = line(event.get("message") or "")
    remedy = remedies.of_event(message)
    return f"{event.get('reason')}: {message}" + (f"; {remedy}" if remedy else "")


def subject(event: Event) -> str:
    """Return the name of the object that an event is about."""
    return str((event.get("involvedObject") or {}).get("name", ""))


def is_about(event: Event, name: str, others: Iterable[str], parts: Iterable[str] = ("",)) -> bool:
    """Return whether an event is about a model or one of its parts.

    Args:
        event: The event.
        name: Name of the model.
        others: Names of other models, which may begin with this name.
        parts: What follows `NAME-` in the names of the objects that the platform creates for it.
    """
    about = subject(event)
    if about == name:
        return (event.get("involvedObject") or {}).get("kind", "") in _NAMESAKES
    longer = (other for other in others if other.startswith(f"{name}-"))
    return any(about.startswith(f"{name}-{part}") for part in parts) and not any(
        about == other or about.startswith(f"{other}-") for other in longer
    )


def parts_of(item: Mapping[str, Any]) -> list[str]:
    """Return what follows `NAME-` in the names of the objects that a platform creates for a model.

    See GetDeploymentName in seldondeployment_types.go of Seldon Core v1, and PredictorServiceName in
    pkg/constants/constants.go of KServe. For a Server any suffix is possible.
    """
    if item["kind"] == "SeldonDeployment":
        predictors = (item.get("spec") or {}).get("predictors") or []
        return [f"{predictor['name']}-" for predictor in predictors]
    return ["predictor"] if item["kind"] == "InferenceService" else [""]


def killed(events: Iterable[Event]) -> dict[str, str]:
    """Return the names of pods whose liveness probe failed, with its message."""
    return {
        subject(event): line(_message(event))
        for event in sorted(events, key=_last)
        if event.get("reason") == "Unhealthy" and _message(event).startswith(_LIVENESS)
    }


def _is_relevant(event: Event) -> bool:
    kind = (event.get("involvedObject") or {}).get("kind")
    quiet = event.get("reason") in _QUIET or kind in _QUIET_KINDS
    return event.get("type") == "Warning" and not quiet and _CONFLICT not in _message(event)


def _lasts(events: list[Event]) -> bool:
    """Return whether a warning was repeated after some seconds, or is final."""
    if events[-1].get("reason") == REJECTED:
        return True
    first = min((when for event in events if (when := _time(_first(event)))), default=None)
    last = max((when for event in events if (when := _time(_last(event)))), default=None)
    return first is not None and last is not None and (last - first).total_seconds() >= _LASTING


def _is_over(event: Event, pods: Mapping[str, Mapping[str, Any]] | None) -> bool:
    """Return whether pods were created or made progress after an event."""
    if pods is None:
        return False
    if event.get("reason") == "FailedCreate":
        made = [
            _time(str(container["metadata"].get("creationTimestamp")))
            for container in pods.values()
        ]
        last = _time(_last(event))
        return last is not None and any(when > last for when in made if when is not None)
    if (event.get("involvedObject") or {}).get("kind") != "Pod":
        return False
    status = (pods.get(subject(event)) or {}).get("status")
    if status is None:
        return True
    containers = [
        *(status.get("initContainerStatuses") or []),
        *(status.get("containerStatuses") or []),
    ]
    return any(
        {"running", "terminated"} & set(container.get("state") or {}) for container in containers
    )


def _message(event: Event) -> str:
    return str(event.get("message") or "")


def _first(event: Event) -> str:
    return str(event.get("firstTimestamp") or event.get("eventTime") or "")


def _last(event: Event) -> str:
    series = event.get("series") or {}
    return str(
        series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or ""
    )


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
