"""A Kubernetes API on a real socket: the kinds, verbs and failures that deploying meets.

Objects have versions and managers, watches go on until they are cut, and an operator that the test
gives moves what was applied.
"""

from __future__ import annotations

import contextlib
import copy
import json
import socket
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from tempo_runtime.ports import HOST

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
    "events": ("v1", "Event"),
}


@dataclass
class Fault:
    """What the next requests get instead of an answer.

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


class ApiServer:
    """The API. Its attributes are what a test arranges, and looks at."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Object] = {}
        self.namespaces = {"production"}
        self.kinds = set(KINDS)
        self.faults: list[Fault] = []
        self.logs: dict[tuple[str, str], str] = {}
        self.services: dict[str, str] = {}
        self.requests: list[tuple[str, str]] = []
        self.operator: Callable[[Object], object] = lambda item: None
        self.deleting: Callable[[Object], object] = lambda item: None
        self.held = False  # whether what is deleted stays until `release`
        self.changed = threading.Condition(threading.RLock())
        self._history: list[tuple[int, str, str, Object]] = []
        self._version = 100
        self._oldest = 0
        self._watching: set[socket.socket] = set()
        self._ended = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._open: set[socket.socket] = set()
        self.port = 0
        self.start()

    def start(self) -> None:
        """Listens; again at its port, if it had been stopped."""
        self._ended.clear()
        self._server = ThreadingHTTPServer((HOST, self.port), _handler(self))
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
            _cut(each)

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
            metadata = dict(known["metadata"]) if known else {"name": name, "labels": labels}
            spec = {"containers": [{"name": "model"}]}
            self.put("pods", {"metadata": metadata, "spec": spec, "status": status})

    def warn(self, about: str, reason: str, message: str) -> None:
        """Makes an event."""
        self.put(
            "events",
            {
                "metadata": {"name": f"{about}.{uuid.uuid4().hex[:8]}"},
                "type": "Warning",
                "reason": reason,
                "message": message,
                "involvedObject": {"name": about},
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
            for each in list(self._watching):
                _cut(each)
            self.changed.notify_all()

    def watches(self, count: int) -> bool:
        """Waits until so many watches are open."""
        with self.changed:
            return self.changed.wait_for(lambda: len(self._watching) >= count, 10)

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
            self._watching.add(connection)
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
                self._watching.discard(connection)

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


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _handler(api: ApiServer) -> type[BaseHTTPRequestHandler]:
    from tests.deploy.cluster.verbs import Verbs

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            api._open.add(self.connection)

        def finish(self) -> None:
            api._open.discard(self.connection)
            super().finish()

        def log_message(self, *_: object) -> None:
            pass

        def _do(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length") or 0))
            where = urlsplit(self.path)
            query = dict(parse_qsl(where.query, keep_blank_values=True))
            method = "WATCH" if query.get("watch") else self.command
            api.requests.append((method, self.path))
            if fault := self._fault(method):
                if fault.code == -1:
                    api._ended.wait(30)
                if fault.code == -2:
                    self._drip()
                if fault.code <= 0:
                    _cut(self.connection)
                    self.close_connection = True
                else:
                    self._send(fault.code, fault.body, fault.headers)
                return
            if where.path.startswith("/seldon/"):  # its ingress, which asks for no token
                _, _, _, name, rest = self.path.split("/", 4)
                self._proxy(f"/services/{name}-default:9000/proxy/{rest}", content)
            elif self.headers.get("authorization") != f"Bearer {TOKEN}":
                self._send(401, failure(401, "Unauthorized"))
            elif "/proxy/" in where.path:
                self._proxy(self.path, content)
            elif method == "WATCH":
                self._watch(where.path.rsplit("/", 1)[1], query)
            else:
                self._send(*Verbs(api).do(self.command, where.path, query, content))

        do_GET = do_POST = do_PATCH = do_DELETE = _do  # noqa: N815 - http.server's names

        def _drip(self) -> None:
            self.send_response(500 if "/v2/" in self.path else 200)
            self.send_header("content-length", "1000000")
            self.end_headers()
            with contextlib.suppress(OSError):
                while not api._ended.wait(0.1):
                    self.wfile.write(b"{")

        def _fault(self, method: str) -> Fault | None:
            for fault in api.faults:
                if fault.times and fault.method == method and fault.part in self.path:
                    fault.times -= 1
                    return fault
            return None

        def _send(self, code: int, body: Any, headers: dict[str, str] | None = None) -> None:
            content = body if isinstance(body, bytes) else None
            if content is None:
                content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(code)
            for name, value in {"content-length": str(len(content)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def _watch(self, plural: str, query: dict[str, str]) -> None:
            self.send_response(200)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            self.close_connection = True

            def send(change: Object) -> None:
                content = json.dumps(change).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
                self.wfile.flush()

            with contextlib.suppress(OSError):
                api.watch(plural, query, self.connection, send)
                self.wfile.write(b"0\r\n\r\n")

        def _proxy(self, path: str, content: bytes) -> None:
            service, _, rest = path.partition("/services/")[2].partition("/proxy")
            if service not in api.services:
                self._send(503, failure(503, "no endpoints available for service"))
                return
            headers = {"content-type": self.headers.get("content-type") or "application/json"}
            url = api.services[service] + rest
            with (
                httpx.Client(trust_env=False, timeout=30) as client,
                client.stream(self.command, url, content=content, headers=headers) as answer,
            ):
                self.send_response(answer.status_code)
                kind = answer.headers.get("content-type", "application/json")
                self.send_header("content-type", kind)
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                for part in answer.iter_bytes():
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                    self.wfile.flush()
                self.wfile.write(b"0\r\n\r\n")

    return Handler
