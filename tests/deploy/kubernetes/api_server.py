"""A Kubernetes API on a real socket: the kinds, verbs and failures that deploying meets.

Objects have versions and managers, watches go on until they are cut, and an operator that the test
gives moves what was applied.
"""

from __future__ import annotations

import contextlib
import copy
import socket
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any

from tempo_runtime._util.ports import HOST

TOKEN = "the-token"
Object = dict[str, Any]
KINDS = {
    "seldondeployments": ("machinelearning.seldon.io/v1", "SeldonDeployment"),
    "models": ("mlops.seldon.io/v1alpha1", "Model"),
    "servers": ("mlops.seldon.io/v1alpha1", "Server"),
    "inferenceservices": ("serving.kserve.io/v1beta1", "InferenceService"),
    "servingruntimes": ("serving.kserve.io/v1alpha1", "ServingRuntime"),
    "poddisruptionbudgets": ("policy/v1", "PodDisruptionBudget"),
    "pods": ("v1", "Pod"),
    "services": ("v1", "Service"),
    "events": ("v1", "Event"),
    "persistentvolumeclaims": ("v1", "PersistentVolumeClaim"),
}


@dataclass
class Fault:
    """The fault that the next requests get instead of an answer.

    Attributes:
        method: Their method; a watch is `WATCH`.
        part: A part of their path.
        code: Status of the answer; 0 cuts the connection, -1 never answers, -2 goes on answering.
        body: The answer: a Status, or text.
        headers: Its headers.
        times: How many of them.
    """

    method: str
    part: str
    code: int
    body: Any = ""
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1


class Denied(Exception):
    """A webhook's reason to refuse an object."""


class ApiServer:
    """The API. Its attributes are what a test arranges, and looks at."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Object] = {}
        self.namespaces = {"production"}
        self.kinds = set(KINDS)
        self.faults: list[Fault] = []
        self.logs: dict[tuple[str, str], str] = {}
        self.ended_logs: dict[tuple[str, str], str] = {}  # of the containers before
        self.services: dict[str, str] = {}
        self.requests: list[tuple[str, str]] = []
        self.operator: Callable[[Object], object] = lambda item: None
        # The webhooks: the object to be stored, of the one that is applied and the one that is there.
        self.admit: Callable[[Object, Object | None], Object] = lambda item, live: item
        self.deleting: Callable[[Object], object] = lambda item: None
        self.held = False  # whether what is deleted stays until `release`
        # By kind, of objects that stay until they are dropped: what holds them.
        self.finalizers: dict[str, list[str]] = {}
        # Told of an object whose labels were changed by themselves.
        self.relabelled: Callable[[Object], object] = lambda item: None
        self.unknown: set[str] = set()  # fields that no schema here has, as `spec.NAME`
        self.changed = threading.Condition(threading.RLock())
        self._history: list[tuple[int, str, str, Object]] = []
        self._version = 100
        self._oldest = 0
        self._watches: set[socket.socket] = set()
        self._ended = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._open: set[socket.socket] = set()
        self.port = 0
        self.start()

    def start(self) -> None:
        """Listens; again at its port, if it had been stopped."""
        self._ended.clear()
        from tests.deploy.kubernetes.answering import handler

        self._server = ThreadingHTTPServer((HOST, self.port), handler(self))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Ends it, and every connection."""
        assert self._server is not None
        self._ended.set()
        with self.changed:
            self.changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        for each in list(self._open):
            cut(each)

    def fault(self, method: str, part: str, code: int, body: Any = "", **more: Any) -> None:
        """Has the next such request fail; see `Fault`."""
        self.faults.append(Fault(method, part, code, body, **more))

    def put(self, plural: str, item: Object) -> Object:
        """Makes or changes an object, and tells those that watch."""
        with self.changed:
            self._version += 1
            key = (plural, item["metadata"]["name"])
            kind = "MODIFIED" if key in self.objects else "ADDED"
            metadata = item["metadata"]
            metadata.setdefault("uid", str(uuid.uuid4()))
            metadata.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
            metadata["resourceVersion"] = str(self._version)
            version, name = KINDS[plural]
            item |= {"apiVersion": version, "kind": name}
            self.objects[key] = item
            self._tell(kind, plural, item)
            return item

    def drop(self, plural: str, name: str) -> None:
        """Removes an object, and tells those that watch."""
        with self.changed:
            if (item := self.objects.pop((plural, name), None)) is not None:
                self._version += 1
                item["metadata"]["resourceVersion"] = str(self._version)
                self._tell("DELETED", plural, item)

    def state(self, plural: str, name: str, **status: Any) -> None:
        """Sets the status of an object."""
        with self.changed:
            item = copy.deepcopy(self.objects[plural, name])
            self.put(plural, {**item, "status": status})

    def pod(self, name: str, labels: dict[str, str], **status: Any) -> None:
        """Makes or changes a pod."""
        with self.changed:
            known = self.objects.get(("pods", name))
            made = {"name": name, "labels": labels, "generateName": name.rpartition("-")[0] + "-"}
            metadata = dict(known["metadata"]) if known else made
            spec = {"containers": [{"name": "model"}]}
            self.put("pods", {"metadata": metadata, "spec": spec, "status": status})

    def warn(
        self, about: str, reason: str, message: str, kind: str = "ReplicaSet", lasted: int = 10
    ) -> None:
        """Make an event.

        Args:
            about: Name of the object that it is about.
            reason: What is wrong, in a word.
            message: Likewise, in a sentence.
            kind: Kind of the object.
            lasted: Seconds since it happened first.
        """
        self.put(
            "events",
            {
                "metadata": {"name": f"{about}.{uuid.uuid4().hex[:8]}"},
                "type": "Warning",
                "reason": reason,
                "message": message,
                "involvedObject": {"name": about, "kind": kind},
                "firstTimestamp": "2026-01-01T00:00:00Z",
                "lastTimestamp": f"2026-01-01T00:00:{lasted:02}Z",
            },
        )

    def forget(self) -> None:
        """Forgets what has happened: a watch from before is answered with 410."""
        with self.changed:
            self._version += 1
            self._oldest = self._version

    def cut(self) -> None:
        """Cuts every watch."""
        with self.changed:
            for each in list(self._watches):
                cut(each)
            self.changed.notify_all()

    def watches(self, count: int) -> bool:
        """Waits until so many watches are open."""
        with self.changed:
            return self.changed.wait_for(lambda: len(self._watches) >= count, 10)

    def asked(self, method: str, part: str) -> int:
        """How many requests there were of a method with a part in their path."""
        return sum(each == method and part in path for each, path in self.requests)

    def version(self) -> int:
        """The version of all of it."""
        return self._version

    def watch(
        self, plural: str, query: dict[str, str], connection: socket.socket, send: Any
    ) -> None:
        """Sends what happens, until the connection is cut or the server ends."""
        since = int(query["resourceVersion"] or 0)
        with self.changed:
            self._watches.add(connection)
            self.changed.notify_all()
        try:
            while not self._ended.is_set() and connection.fileno() >= 0:
                with self.changed:
                    if since < self._oldest:
                        send({"type": "ERROR", "object": {"code": 410, "message": "too old"}})
                        return
                    news = [each for each in self._history if each[0] > since and each[2] == plural]
                    if not news:
                        self.changed.wait(0.5)
                        send({"type": "BOOKMARK", "object": {"metadata": self._now()}})
                        continue
                since = news[-1][0]
                for _, kind, _, item in news:
                    if selected(item, query):
                        send({"type": kind, "object": item})
        finally:
            with self.changed:
                self._watches.discard(connection)

    def _now(self) -> Object:
        return {"resourceVersion": str(self._version)}

    def _tell(self, kind: str, plural: str, item: Object) -> None:
        self._history.append((self._version, kind, plural, copy.deepcopy(item)))
        self.changed.notify_all()


def selected(item: Object, query: dict[str, str]) -> bool:
    """Whether a label selector, or that of a field `type`, selects an object."""
    labels = item["metadata"].get("labels") or {}
    for term in filter(None, query.get("labelSelector", "").split(",")):
        key, equal, value = term.partition("=")
        if key not in labels or (equal and labels[key] != value):
            return False
    kind = query.get("fieldSelector", "").partition("type=")[2]
    return not kind or item.get("type") == kind


def failure(code: int, message: str, **details: Any) -> Object:
    """A Status."""
    return {"kind": "Status", "code": code, "message": message, "details": details}


def cut(connection: socket.socket) -> None:
    """Ends a connection."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
