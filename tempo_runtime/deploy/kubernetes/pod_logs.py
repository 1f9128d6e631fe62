"""Read the logs of models' pods, separately for each pod.

A pod of Seldon Core 2 serves several models, which share its log. The platforms' own containers are
left out: those that download artifacts, Seldon's engine and agent, and sidecars.
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
_EVERY = 1.0  # seconds between two requests
# Seldon Core v1 names the container after the model, KServe and Seldon Core 2 as follows.
_CONTAINERS = ("kserve-container", "mlserver")
# The kubelet's format of times: pkg/kubelet/kuberuntime/logs/logs.go of kubernetes/kubernetes.
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(Z|[+-]\d\d:\d\d)")
_FRACTION = re.compile(r"\.\d+")
# Statuses for containers that have not started, and for pods that are gone.
_NO_LOG = (400, 404)


@dataclass(frozen=True)
class PodLog:
    """The log of a pod of a deployment.

    Attributes:
        models: The models of the deployment that it serves.
        pod: Name of the pod.
        label: A short name that no other pod of these models has: the end of its name.
        text: What the pod's server has printed.
        note: A note about the pod, such as that it has ended; often empty.
    """

    models: tuple[str, ...]
    pod: str
    label: str
    text: str = ""
    note: str = ""


@dataclass(frozen=True)
class _Pod:
    """A pod as it was last seen, and the state of its server's container."""

    log: PodLog
    uid: str
    container: str
    restarts: int


class PodLogs:
    """The logs of the pods of a model and of the models deployed with it.

    Args:
        connection: Where the cluster is.
        platform: The platform that deployed them.
        namespace: Their namespace.
        name: Name of the model.
        model: One of these models, to read only its pods.
        pod: Name or label of a pod, to read only this pod.
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
            lines: Number of last lines of each log; None for all that are kept.
            previous: Whether to read the previous container, which has ended.

        Raises:
            DeploymentFailed: If they may not be read, or the named model or pod does not exist.
        """
        api = Api(self._connection, Deadline(QUERY_SECONDS))
        pods = self._named_pods(api)
        return [
            replace(pod.log, text=self._text(api, pod, lines=lines, ended=previous)) for pod in pods
        ]

    def follow(self, lines: int | None = LINES) -> Iterator[PodLog]:
        """Yield complete new lines of each pod until the model is undeployed.

        Each request asks for the lines since the one before, because a pod may end, restart or be
        replaced in between. The times in the log show which lines are new, because the API only knows
        whole seconds.

        Args:
            lines: Number of existing lines of each pod to start with.

        Raises:
            DeploymentFailed: See `read`.
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
                # At least one line, whose time shows which later lines are new.
                most = max(lines, 1) if first and lines is not None else None
                more, since = self._new(api, pod, since, lines=most)
                if first and lines == 0:
                    more = ""
                seen[pod.uid] = (pod, since)
                changed = before is None or before.log.note != pod.log.note
                note = pod.log.note if changed else ""
                if text or more or note:
                    yield replace(pod.log, text=text + more, note=note)
            current = {pod.uid for pod in pods}
            for uid in [known_uid for known_uid in seen if known_uid not in current]:
                yield replace(seen.pop(uid)[0].log, note="is gone")
            if not pods and api.get(self._platform.model, self._namespace, self._name) is None:
                return
            first = False
            time.sleep(_EVERY)

    def _named_pods(self, api: Api) -> list[_Pod]:
        """List the pods; fail if the named model or pod does not exist."""
        pods = self._pods(api)
        if self._pod is not None and not pods:
            raise DeploymentFailed(
                f"{self._name} has no pod {self._pod!r}; leave it out to see the logs of all"
            )
        return pods

    def _pods(self, api: Api) -> list[_Pod]:
        """List the pods, those of the model itself first, and older before younger ones."""
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
        selected = []
        for first in items:
            for pod in pods:
                name = pod["metadata"]["name"]
                if served[name][:1] == (first,):
                    same_models = [other for other in served if served[other] == served[name]]
                    selected.append(_seen(pod, served[name], same_models))
        return [
            pod
            for pod in selected
            if self._model in (None, *pod.log.models)
            and self._pod in (None, pod.log.pod, pod.log.label)
        ]

    def _new(
        self, api: Api, pod: _Pod, since: str, *, lines: int | None = None, ended: bool = False
    ) -> tuple[str, str]:
        """Read the lines that a pod has printed after a time.

        Returns:
            The complete lines, and the time of the last one.
        """
        second = _FRACTION.sub("", since) if since else None
        text = self._text(api, pod, lines=lines, ended=ended, since=second, timestamps=True)
        new, last = [], since
        # Split only at newlines: a progress bar has carriage returns. The last line is incomplete.
        for line in text.split("\n")[:-1]:
            when, _, rest = line.partition(" ")
            # A line without a time is the kubelet's own message, for example about a lost log.
            if when > since and _TIME.fullmatch(when):
                new.append(f"{rest}\n")
                last = when
        return "".join(new), last

    def _text(self, api: Api, pod: _Pod, **options: Any) -> str:
        try:
            return api.log(self._namespace, pod.log.pod, pod.container, **options)
        except ApiError as refused:
            if refused.code not in _NO_LOG:
                raise
            return ""


def _seen(pod: Mapping[str, Any], served: tuple[str, ...], names: list[str]) -> _Pod:
    """Describe a pod.

    Args:
        pod: The pod.
        served: The models that it serves.
        names: Names of all pods that serve the same models.
    """
    metadata = pod["metadata"]
    name = metadata["name"]
    containers = [container["name"] for container in pod["spec"]["containers"]]
    known = [name for name in (*served, *_CONTAINERS) if name in containers]
    container = (known or containers)[0]
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    status: Mapping[str, Any] = next(
        (status for status in statuses if status.get("name") == container), {}
    )
    ends = [pod_name.rpartition("-")[2] for pod_name in names]
    end = name.rpartition("-")[2]
    label = end if ends.count(end) == 1 else name
    return _Pod(
        PodLog(served, name, label, note=_note(status)),
        str(metadata.get("uid", name)),
        container,
        int(status.get("restartCount") or 0),
    )


def _note(status: Mapping[str, Any]) -> str:
    """Describe the state of a container that has not started or has ended; empty if it runs."""
    state, restarts = status.get("state") or {}, int(status.get("restartCount") or 0)
    waiting = (state.get("waiting") or {}).get("reason") or ""
    ended = state.get("terminated") or (status.get("lastState") or {}).get("terminated") or {}
    if not ended:
        return f"has not started ({waiting})" if waiting else ""
    why = f" ({ended['reason']})" if ended.get("reason") else ""
    text = f"has ended with status {ended.get('exitCode')}{why}"
    if "terminated" in state or waiting:
        return text + (f", and is being restarted ({waiting})" if waiting else "")
    return f"{text}, and was restarted; restarts: {restarts}"
