"""Which warnings of a namespace say why a model is not ready: pure functions of its events.

Most warnings pass by themselves: an operator tries a write again that another one came before, the
kubelet mounts a volume at the second try. Kubernetes counts what repeats in one event
(client-go/tools/record/events_cache.go), so that what lasts can be told from the events alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from tempo_runtime.deploy.kubernetes import remedies
from tempo_runtime.deploy.kubernetes.api_errors import line

Event = Mapping[str, Any]
Subject = tuple[str, str, str]  # reason, kind and name of the object

# Seconds between the first and the last: a failed mount of the first seconds is over by then.
_LASTING = 5.0
# The pods say the same themselves, or it never keeps a model from being ready.
_QUIET = ("Unhealthy", "BackOff", "FailedScheduling", "FailedToUpdateEndpoint")
_QUIET_KINDS = ("HorizontalPodAutoscaler", "PodDisruptionBudget", "Endpoints", "EndpointSlice")
_CONFLICT = "the object has been modified"
# KServe says so once, and looks at the service again only when that has changed (TerminalError in
# pkg/controller/v1beta1/inferenceservice/controller.go).
REJECTED = "ServerlessModeRejected"
# What a platform gives the name of a model or of a Server, and no suffix.
_NAMESAKES = ("SeldonDeployment", "Model", "InferenceService", "Server", "StatefulSet", "")
# The kubelet's, before it ends a container (pkg/kubelet/prober/prober.go).
_LIVENESS = "Liveness probe failed"


def warned(
    events: Iterable[Event],
    name: str,
    others: Iterable[str] = (),
    pods: Iterable[Mapping[str, Any]] | None = None,
    parts: Iterable[str] = ("",),
) -> str:
    """Return the last warning that lasts about a model or what was made of it; empty without any.

    Args:
        events: Events of its namespace.
        name: Its name.
        others: Names of other models, which may begin with this one's.
        pods: The pods that it has. None if they cannot be seen.
        parts: As of `is_about`.
    """
    others, parts = list(others), list(parts)
    seen = None if pods is None else {each["metadata"]["name"]: each for each in pods}
    told: dict[Subject, list[Event]] = {}
    for event in sorted(events, key=_last):
        if _worth_telling(event) and is_about(event, name, others, parts):
            kind = str((event.get("involvedObject") or {}).get("kind", ""))
            key = (str(event.get("reason")), kind, subject(event))
            told.setdefault(key, []).append(event)
    lasting = [each[-1] for each in told.values() if _lasts(each) and not _is_over(each[-1], seen)]
    return said(max(lasting, key=_last)) if lasting else ""


def said(event: Event) -> str:
    """Return an event in a line, with what helps."""
    message = line(event.get("message") or "")
    remedy = remedies.of_event(message)
    return f"{event.get('reason')}: {message}" + (f"; {remedy}" if remedy else "")


def subject(event: Event) -> str:
    """Return the name of the object that an event is about."""
    return str((event.get("involvedObject") or {}).get("name", ""))


def is_about(event: Event, name: str, others: Iterable[str], parts: Iterable[str] = ("",)) -> bool:
    """Return whether an event is about a model or what was made of it.

    Args:
        event: The event.
        name: Name of the model.
        others: Names of other models, which may begin with this one's.
        parts: How the names go on after `NAME-` that the platform gives to what it makes of it.
    """
    about = subject(event)
    if about == name:
        return (event.get("involvedObject") or {}).get("kind", "") in _NAMESAKES
    longer = (each for each in others if each.startswith(f"{name}-"))
    return any(about.startswith(f"{name}-{part}") for part in parts) and not any(
        about == each or about.startswith(f"{each}-") for each in longer
    )


def parts_of(item: Mapping[str, Any]) -> list[str]:
    """Return how the names go on that a platform gives to what it makes of a model.

    They are those of GetDeploymentName in seldondeployment_types.go of Seldon Core v1, and of
    PredictorServiceName in pkg/constants/constants.go of KServe. A Server's are its own with any suffix.
    """
    if item["kind"] == "SeldonDeployment":
        predictors = (item.get("spec") or {}).get("predictors") or []
        return [f"{each['name']}-" for each in predictors]
    return ["predictor"] if item["kind"] == "InferenceService" else [""]


def killed(events: Iterable[Event]) -> dict[str, str]:
    """Return the pods whose liveness probe failed, with what it says."""
    return {
        subject(event): line(_message(event))
        for event in sorted(events, key=_last)
        if event.get("reason") == "Unhealthy" and _message(event).startswith(_LIVENESS)
    }


def _worth_telling(event: Event) -> bool:
    kind = (event.get("involvedObject") or {}).get("kind")
    quiet = event.get("reason") in _QUIET or kind in _QUIET_KINDS
    return event.get("type") == "Warning" and not quiet and _CONFLICT not in _message(event)


def _lasts(events: list[Event]) -> bool:
    """Return whether an object was warned of again after some seconds, or for good."""
    if events[-1].get("reason") == REJECTED:
        return True
    first = min((when for event in events if (when := _time(_first(event)))), default=None)
    last = max((when for event in events if (when := _time(_last(event)))), default=None)
    return first is not None and last is not None and (last - first).total_seconds() >= _LASTING


def _is_over(event: Event, pods: Mapping[str, Mapping[str, Any]] | None) -> bool:
    """Return whether pods have been made, or got further, since an event."""
    if pods is None:
        return False
    if event.get("reason") == "FailedCreate":
        made = [_time(str(each["metadata"].get("creationTimestamp"))) for each in pods.values()]
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
    return any({"running", "terminated"} & set(each.get("state") or {}) for each in containers)


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
