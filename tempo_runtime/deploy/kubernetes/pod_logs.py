"""What the pods of models have printed, each pod apart.

Pods of Seldon Core 2 serve several models, and their log is that of all of them. The platforms' own
containers are left out: what downloads an artifact, Seldon's engine and agent, and sidecars.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tempo_runtime.deploy.kubernetes.api_errors import ApiError
from tempo_runtime.deploy.kubernetes.connection import QUERY_SECONDS, ApiConnection, Deadline
from tempo_runtime.deploy.kubernetes.members import models
from tempo_runtime.deploy.kubernetes.platforms import Platform
from tempo_runtime.deploy.kubernetes.session import PODS, Api
from tempo_runtime.errors import DeploymentFailed

LINES = 1000
_EVERY = 1.0  # seconds between two looks
# Seldon Core v1 calls the container as the model, KServe and Seldon Core 2 as follows.
_CONTAINERS = ("kserve-container", "mlserver")
# As the kubelet writes times: pkg/kubelet/kuberuntime/logs/logs.go of kubernetes/kubernetes.
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(Z|[+-]\d\d:\d\d)")
_FRACTION = re.compile(r"\.\d+")
# What has not started has no log, and what is gone has none any more.
_NO_LOG = (400, 404)


@dataclass(frozen=True)
class PodLog:
    """A pod of a deployment, and what it has printed.

    Attributes:
        models: The models of the deployment that it serves.
        pod: Its name.
        label: Short name for it, that no other pod of these models has: the end of its name.
        text: What its server has printed.
        note: What there is to know of it besides, such as that it has ended; empty if nothing.
    """

    models: tuple[str, ...]
    pod: str
    label: str
    text: str = ""
    note: str = ""


@dataclass(frozen=True)
class _Pod:
    """A pod as it was seen, and the state of its server's container."""

    log: PodLog
    uid: str
    container: str
    restarts: int


class PodLogs:
    """The logs of a model's pods, and of those of the models that were deployed with it.

    Args:
        connection: Where the cluster is.
        platform: What deployed them.
        namespace: Their namespace.
        name: Name of the model.
        model: One of these models, if only its pods count.
        pod: Name or label of a pod, if only that one counts.
    """

    def __init__(
        self,
        connection: ApiConnection,
        platform: Platform,
        namespace: str,
        name: str,
        *,
        model: str | None = None,
        pod: str | None = None,
    ) -> None:
        self._connection = connection
        self._platform = platform
        self._namespace = namespace
        self._name = name
        self._model = model
        self._pod = pod

    def read(self, lines: int | None = LINES, *, previous: bool = False) -> list[PodLog]:
        """Read the log of each pod.

        Args:
            lines: How many of its last lines; all that are kept if None.
            previous: Whether of the container before, which has ended.

        Raises:
            DeploymentFailed: If they may not be read, or the named model or pod is not there.
        """
        api = Api(self._connection, Deadline(QUERY_SECONDS))
        found = self._named_pods(api)
        return [
            replace(each.log, text=self._text(api, each, lines=lines, ended=previous))
            for each in found
        ]

    def follow(self, lines: int | None = LINES) -> Iterator[PodLog]:
        """Yield what each pod prints, in whole lines, until the model is undeployed.

        Each look asks for what is new since the one before: a pod may end, start again, or be replaced
        meanwhile. A time in the log tells what is new, because the API knows whole seconds only.

        Args:
            lines: How many of the last lines of a pod come first.

        Raises:
            DeploymentFailed: As `read` does.
        """
        seen: dict[str, tuple[_Pod, str]] = {}
        first = True
        while True:
            api = Api(self._connection, Deadline(QUERY_SECONDS))
            pods = self._named_pods(api) if first else self._pods(api)
            for pod in pods:
                before, since = seen.get(pod.uid, (None, ""))
                text = ""
                if before is not None and pod.restarts > before.restarts:
                    text, since = self._new(api, pod, since, ended=True)
                # One line at least, which tells the time from which on lines are new.
                most = max(lines, 1) if first and lines is not None else None
                more, since = self._new(api, pod, since, lines=most)
                if first and lines == 0:
                    more = ""
                seen[pod.uid] = (pod, since)
                changed = before is None or before.log.note != pod.log.note
                note = pod.log.note if changed else ""
                if text or more or note:
                    yield replace(pod.log, text=text + more, note=note)
            there = {pod.uid for pod in pods}
            for uid in [each for each in seen if each not in there]:
                yield replace(seen.pop(uid)[0].log, note="is gone")
            if not pods and api.get(self._platform.model, self._namespace, self._name) is None:
                return
            first = False
            time.sleep(_EVERY)

    def _named_pods(self, api: Api) -> list[_Pod]:
        """List the pods, and refuse the name of a model or a pod that is not there."""
        found = self._pods(api)
        if self._pod is not None and not found:
            raise DeploymentFailed(
                f"{self._name} has no pod {self._pod!r}; leave it out to see the logs of all"
            )
        return found

    def _pods(self, api: Api) -> list[_Pod]:
        """List the pods, those of the model itself first, and older ones before younger."""
        items = models(api, self._platform, self._namespace, self._name)
        if items and self._model not in (None, *items):
            raise DeploymentFailed(
                f"{self._name} has no model {self._model!r}; it has {', '.join(items)}"
            )
        pods, _ = api.list(PODS, self._namespace, {"labelSelector": self._platform.pods})
        pods.sort(key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))
        served = {
            pod["metadata"]["name"]: tuple(
                name for name, item in items.items() if self._platform.of(pod, item)
            )
            for pod in pods
        }
        found = []
        for first in items:
            for pod in pods:
                name = pod["metadata"]["name"]
                if served[name][:1] == (first,):
                    others = [each for each in served if served[each] == served[name]]
                    found.append(_seen(pod, served[name], others))
        return [
            each
            for each in found
            if self._model in (None, *each.log.models)
            and self._pod in (None, each.log.pod, each.log.label)
        ]

    def _new(
        self, api: Api, pod: _Pod, since: str, *, lines: int | None = None, ended: bool = False
    ) -> tuple[str, str]:
        """Read what a pod has printed after a time.

        Returns:
            The whole lines, and the time of the last one.
        """
        second = _FRACTION.sub("", since) if since else None
        text = self._text(api, pod, lines=lines, ended=ended, since=second, timestamps=True)
        new, last = [], since
        # Only at newlines: a progress bar has carriage returns. The last part is not a whole line.
        for line in text.split("\n")[:-1]:
            when, _, rest = line.partition(" ")
            # Without a time it is the kubelet's own word, as of a log that is not kept any more.
            if when > since and _TIME.fullmatch(when):
                new.append(f"{rest}\n")
                last = when
        return "".join(new), last

    def _text(self, api: Api, pod: _Pod, **asked: Any) -> str:
        try:
            return api.log(self._namespace, pod.log.pod, pod.container, **asked)
        except ApiError as refused:
            if refused.code not in _NO_LOG:
                raise
            return ""


def _seen(pod: Mapping[str, Any], served: tuple[str, ...], names: list[str]) -> _Pod:
    """Describe a pod.

    Args:
        pod: The pod.
        served: The models that it serves.
        names: Names of all pods that serve the same.
    """
    metadata = pod["metadata"]
    name = metadata["name"]
    containers = [each["name"] for each in pod["spec"]["containers"]]
    known = [each for each in (*served, *_CONTAINERS) if each in containers]
    container = (known or containers)[0]
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    status: Mapping[str, Any] = next(
        (each for each in statuses if each.get("name") == container), {}
    )
    ends = [each.rpartition("-")[2] for each in names]
    end = name.rpartition("-")[2]
    label = end if ends.count(end) == 1 else name
    return _Pod(
        PodLog(served, name, label, note=_note(status)),
        str(metadata.get("uid", name)),
        container,
        int(status.get("restartCount") or 0),
    )


def _note(status: Mapping[str, Any]) -> str:
    """Say what is to be known of a container that does not simply run; empty if it does."""
    state, restarts = status.get("state") or {}, int(status.get("restartCount") or 0)
    waiting = (state.get("waiting") or {}).get("reason") or ""
    ended = state.get("terminated") or (status.get("lastState") or {}).get("terminated") or {}
    if not ended:
        return f"has not started ({waiting})" if waiting else ""
    why = f" ({ended['reason']})" if ended.get("reason") else ""
    told = f"has ended with status {ended.get('exitCode')}{why}"
    if "terminated" in state or waiting:
        return told + (f", and is started again ({waiting})" if waiting else "")
    return f"{told}, and was started again; restarts: {restarts}"
