"""Seldon Core 2 for the API of these tests: operator, scheduler, agents and mesh, as of 2.10 or before.

Facts are from SeldonIO/seldon-core: a Server is a StatefulSet whose pods have the Server's labels
(operator/controllers/reconcilers/server/statefulset_reconciler.go), a Model is passed on when its
generation changes and loaded again where it had failed (operator/controllers/mlops/model_controller.go,
scheduler/pkg/store/memory.go), its finalizer goes when an agent has unloaded it
(operator/scheduler/model.go), and a Server that is deleted with Models on it drains until its grace is
over (scheduler/pkg/agent/server.go).
"""

from __future__ import annotations

import copy
import hashlib
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from tempo_runtime._util.ports import HOST
from tests.deploy.kubernetes.api_server import ApiServer, Object

FINALIZER = "seldon.model.finalizer"
MESH = "seldon-mesh:80"
UNSCHEDULED = "Failed to schedule model as no matching servers are available"
TOO_FEW = "Failed to schedule model as no matching server had enough suitable replicas"
UNKNOWN_CALL = "Failed to get path termination for request: no valid marker found in path"
_MLSERVER = {"mlserver", "alibi-explain", "lightgbm", "python", "sklearn", "xgboost"}
_CLAIMS = "statefulSetPersistentVolumeClaimRetentionPolicy"
# The fields of a Server by the version that brought them.
_SINCE = {"capabilities": (2, 6), _CLAIMS: (2, 9)}
_QUANTITIES = {"1024Mi": "1Gi"}  # as Go's resource.Quantity writes these
_DELAY = 0.02


class Core2:
    """The platform. Its attributes are what a test arranges, and looks at.

    Args:
        api: The API.
        version: Its version, without the patch.

    Attributes:
        serves: Base URLs of the servers of models, by name.
        broken: Why a model cannot be loaded, by name.
        stuck: Statuses of the containers of pods that never become ready, by Server.
        retries: Whether the operator tries again what is broken, as where it finds no scheduler.
        quota: Name of a quota that forbids pods.
        unmade: Why the operator cannot make what a Server asks for.
        autoscales: Whether replicas of a Server without a model are taken away, as by default from 2.9.
        lag: Seconds from when a model is loaded until the mesh routes to it.
        loads: The model of each attempt to load one, in order.
        loaded: The Server that each model is loaded on.
        asked: What the mesh was asked: header, path and status.
        started: The pods that were made, in order.
    """

    def __init__(self, api: ApiServer, version: tuple[int, int] = (2, 10)) -> None:
        self.serves: dict[str, str] = {}
        self.broken: dict[str, str] = {}
        self.stuck: dict[str, Object] = {}
        self.retries = False
        self.quota = ""
        self.unmade = ""
        self.autoscales = version >= (2, 9)
        self.lag = _DELAY
        self.loads: list[str] = []
        self.loaded: dict[str, str] = {}
        self.asked: list[tuple[str, str, int]] = []
        self.started: list[str] = []
        self.version = version
        self._api = api
        self._routes: set[str] = set()
        self._specs: dict[str, tuple[int, Object]] = {}
        self._states: dict[str, str] = {}
        self._revisions: dict[str, str] = {}
        self._rolling: set[str] = set()
        self._ended = False
        self._server = ThreadingHTTPServer((HOST, 0), _mesh(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        api.services[MESH] = f"http://{HOST}:{self._server.server_port}"
        api.operator = self._applied
        api.relabelled = self._applied
        api.deleting = self._deleted
        api.finalizers |= {"models": [FINALIZER], "servers": []}
        api.unknown = {f"spec.{field}" for field, since in _SINCE.items() if version < since}

    def install(self, name: str = "mlserver") -> None:
        """Install a Server that serves MLServer's own frameworks, as the Helm chart does."""
        spec = {"serverConfig": "mlserver", "replicas": 1}
        metadata = {"name": name, "namespace": "production", "generation": 1}
        self._applied(self._api.put("servers", {"metadata": metadata, "spec": spec}))

    def unload(self, name: str) -> None:
        """Take a model off its Server, as when a pod ends."""
        with self._api.changed:
            self.loaded.pop(name, None)
            self._routes.discard(name)

    def scale(self, name: str, replicas: int) -> None:
        """Give a Server so many replicas, as the operator does for the scheduler."""
        with self._api.changed:
            server = copy.deepcopy(self._api.objects["servers", name])
            server["spec"]["replicas"] = replicas
            server["metadata"]["generation"] += 1
            _take(server, "replicas")
            self._applied(self._api.put("servers", server))

    def close(self) -> None:
        """End the mesh, and do nothing any more."""
        self._ended = True
        self._server.shutdown()
        self._server.server_close()

    def url_of(self, name: str) -> str | None:
        """Return where the mesh sends calls with a header; None without a route."""
        with self._api.changed:
            return self.serves.get(name) if name in self._routes else None

    def _later(self, act: Callable[..., object], *args: Any, seconds: float = _DELAY) -> None:
        def acted() -> None:
            with self._api.changed:
                if not self._ended:
                    act(*args)

        timer = threading.Timer(seconds, acted)
        timer.daemon = True
        timer.start()

    def _applied(self, item: Object) -> None:
        name = item["metadata"]["name"]
        if item["kind"] == "Server":
            self._later(self._reconcile, name)
        elif item["kind"] == "Model":
            generation, spec = item["metadata"]["generation"], item["spec"]
            known = self._specs.get(name)
            if known is None:
                self._add_finalizer(name)
            if known is None or known[0] != generation:
                self._specs[name] = generation, spec
                inert = {"dedicated", "preloaded", "schemaUri"}
                passed = {key: value for key, value in spec.items() if key not in inert}
                before = known and {key: each for key, each in known[1].items() if key not in inert}
                if passed != before or self._states.get(name) != "ModelAvailable":
                    self._later(self._schedule, name)

    def _add_finalizer(self, name: str) -> None:
        """Write a Model as handleFinalizer in controllers/mlops/model_controller.go does: all of it."""
        with self._api.changed:
            model = copy.deepcopy(self._api.objects["models", name])
            memory = model["spec"].get("memory")
            if memory in _QUANTITIES:
                model["spec"]["memory"] = _QUANTITIES[memory]
                _take(model, "memory")
                model["metadata"]["generation"] += 1
            self._api.put("models", model)

    # Servers

    def _reconcile(self, name: str) -> None:
        """Make a Server's StatefulSet what the Server says; its status is the one from before."""
        server = self._api.objects.get(("servers", name))
        if server is None or name in self._rolling:
            return
        if self.unmade:
            told = {"type": "Ready", "status": "False", "reason": self.unmade}
            self._api.state("servers", name, conditions=[told])
            return
        spec, metadata = server["spec"], server["metadata"]
        own = {key: spec.get(key) for key in ("podSpec", "capabilities", "extraCapabilities")}
        made = [own, metadata.get("labels"), metadata.get("annotations")]
        text = json.dumps(made, sort_keys=True)
        self._revisions[name] = hashlib.sha256(text.encode()).hexdigest()[:8]
        self._say(name)
        self._roll(name)

    def _roll(self, name: str) -> None:
        """Make or replace the next pod of a Server, from the last to the first."""
        server = self._api.objects.get(("servers", name))
        self._rolling.discard(name)
        if server is None or server["metadata"].get("deletionTimestamp"):
            return
        wanted = server["spec"].get("replicas", 1)
        for kind, pod in list(self._api.objects):
            if (
                kind == "pods"
                and pod.startswith(f"{name}-")
                and int(pod.rpartition("-")[2]) >= wanted
            ):
                self._api.drop(kind, pod)
        for index in reversed(range(wanted)):
            pod = f"{name}-{index}"
            known = self._api.objects.get(("pods", pod))
            if known is None:
                self._rolling.add(name)
                self._start(name, pod)
                return
            if known["metadata"]["labels"]["controller-revision-hash"] != self._revisions[name]:
                self._rolling.add(name)
                known["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
                self._api.put("pods", known)
                self._leave(name, index)
                self._later(self._end, name, pod)
                return

    def _start(self, name: str, pod: str) -> None:
        if self.quota:
            why = f"create Pod {pod} failed: exceeded quota: {self.quota}"
            self._api.warn(name, "FailedCreate", why, "StatefulSet")
            return
        server = self._api.objects["servers", name]
        self.started.append(pod)
        own = {"seldon-server-name": name, "controller-revision-hash": self._revisions[name]}
        labels = {**(server["metadata"].get("labels") or {}), **own}
        self._api.pod(pod, labels, phase="Pending")
        claim = f"mlserver-models-{pod}"
        if ("persistentvolumeclaims", claim) not in self._api.objects:
            self._api.put("persistentvolumeclaims", {"metadata": {"name": claim}})
        if name in self.stuck:
            self._api.pod(pod, labels, phase="Pending", **self.stuck[name])
            self._say(name)
            return
        self._later(self._ready, name, pod)

    def _ready(self, name: str, pod: str) -> None:
        labels = self._api.objects["pods", pod]["metadata"]["labels"]
        conditions = [{"type": "Ready", "status": "True"}]
        self._api.pod(pod, labels, phase="Running", conditions=conditions)
        self._say(name)
        for model, state in list(self._states.items()):
            if state != "ModelAvailable":
                self._schedule(model)
        self._roll(name)

    def _end(self, name: str, pod: str) -> None:
        self._api.drop("pods", pod)
        self._say(name)
        self._roll(name)

    def _leave(self, name: str, index: int) -> None:
        """Have the models leave a pod of a Server that drains."""
        others = self._ready_pods(name)
        for model, server in list(self.loaded.items()):
            if server == name and not others:
                self.unload(model)
                self._tell(model, "ScheduleFailed", UNSCHEDULED)

    def _ready_pods(self, name: str) -> int:
        return sum(
            kind == "pods"
            and item["metadata"]["labels"].get("seldon-server-name") == name
            and "deletionTimestamp" not in item["metadata"]
            and item["status"].get("phase") == "Running"
            for (kind, _), item in self._api.objects.items()
        )

    def _say(self, name: str) -> None:
        server = self._api.objects.get(("servers", name))
        if server is None:
            return
        ready = self._ready_pods(name) >= server["spec"].get("replicas", 1)
        told = {"status": str(ready), "reason": "StatefulSet replicas matches desired replicas"}
        kinds = ("StatefulSetOrDeploymentReady", "Ready")
        conditions = [{"type": kind, **told} for kind in kinds]
        self._api.state("servers", name, conditions=conditions)

    # Models

    def _schedule(self, name: str) -> None:
        """Find a Server for a Model, and have its agent load it."""
        model = self._api.objects.get(("models", name))
        if model is None or model["metadata"].get("deletionTimestamp"):
            return
        spec = model["spec"]
        needed = set(spec.get("requirements") or [])
        able = [
            server
            for (kind, server), item in self._api.objects.items()
            if kind == "servers"
            and spec.get("server") in (None, server)
            and needed <= _capabilities(item["spec"])
            and self._ready_pods(server)
        ]
        if not able:
            self._tell(name, "ScheduleFailed", UNSCHEDULED)
        elif spec.get("replicas", 1) > max(map(self._ready_pods, able)):
            self._tell(name, "ScheduleFailed", TOO_FEW)
        else:
            self._tell(name, "ModelProgressing", "", able[0])
            self._later(self._load, name, able[0])

    def _load(self, name: str, server: str) -> None:
        if ("models", name) not in self._api.objects:
            return
        if not self._ready_pods(server):
            self._tell(name, "ScheduleFailed", UNSCHEDULED)
            return
        self.loads.append(name)
        if why := self.broken.get(name):
            self._tell(name, "ModelProgressing" if self.retries else "ModelFailed", why, server)
            return
        self.loaded[name] = server
        self._tell(name, "ModelAvailable", "", server)
        self._later(self._route, name, seconds=self.lag)

    def _route(self, name: str) -> None:
        if name in self.loaded:
            self._routes.add(name)
            self._api.changed.notify_all()

    def _tell(self, name: str, state: str, why: str, server: str = "") -> None:
        """Write the status of a Model; that of an older generation is not written."""
        self._states[name] = state
        model = self._api.objects.get(("models", name))
        if model is None:
            return
        texts = {"reason": why, **({"message": state} if self.version >= (2, 5) else {})}
        told = {"status": str(state == "ModelAvailable"), **texts}
        conditions = [{"type": kind, **told} for kind in ("ModelReady", "Ready")]
        more = {"selector": f"server={server}"} if self.version >= (2, 9) else {}
        self._api.state("models", name, conditions=conditions, **more)

    # Deletion

    def _deleted(self, item: Object) -> None:
        name = item["metadata"]["name"]
        if item["kind"] == "Model":
            self._later(self._unloaded, name)
        elif item["kind"] == "Server":
            self._later(self._drained, name)

    def _unloaded(self, name: str) -> None:
        server = self._api.objects.get(("servers", self.loaded.get(name, "")))
        if server is not None and server["metadata"].get("deletionTimestamp"):
            return  # its agent drains, and neither answers before the grace is over
        self.unload(name)
        self._states.pop(name, None)
        self._specs.pop(name, None)
        self._api.drop("models", name)
        if server is not None and self.autoscales:
            self._scale_down(server["metadata"]["name"])

    def _scale_down(self, name: str) -> None:
        """Leave a Server no more replicas than its models have, as a patch of the operator.

        See shouldScaleDown in scheduler/pkg/server/utils.go, and scaleServerReplicas in
        operator/scheduler/server.go.
        """
        specs = [
            self._api.objects["models", each]["spec"]
            for each, on in self.loaded.items()
            if on == name
        ]
        most = max([1, *(spec.get("replicas") or spec.get("minReplicas", 1) for spec in specs)])
        if self._api.objects["servers", name]["spec"].get("replicas", 1) > most:
            self.scale(name, most)

    def _drained(self, name: str) -> None:
        if name in self.loaded.values():
            return
        server = self._api.objects["servers", name]
        kept = (server["spec"].get(_CLAIMS) or {}).get("whenDeleted") != "Delete"
        for kind, each in list(self._api.objects):
            # A claim is owned by the StatefulSet, also when its pod was one too many.
            claim = kind == "persistentvolumeclaims" and each.startswith(f"mlserver-models-{name}-")
            if (claim and not kept) or (kind == "pods" and each.startswith(f"{name}-")):
                self._api.drop(kind, each)
        self._api.drop("servers", name)


def _take(item: Object, field: str) -> None:
    """Have the operator own a field of a spec, as after it has changed it."""
    path = ["spec", field]
    managers = item["metadata"].get("managedFields", [])
    for manager in managers:
        manager["fields"] = [each for each in manager["fields"] if each != path]
    managers.append({"manager": "manager", "fields": [path]})


def _capabilities(spec: Object) -> set[str]:
    return set(spec.get("capabilities") or [*_MLSERVER, *(spec.get("extraCapabilities") or [])])


def _mesh(core: Core2) -> type[BaseHTTPRequestHandler]:
    """The handler that answers calls by the header `seldon-model`, with 404 without a route."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            pass

        def _do(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length") or 0))
            name = self.headers.get("seldon-model", "")
            url = core.url_of(name)
            code, body = 404, b""
            if url is not None and "/infer" not in self.path and core.version >= (2, 10):
                code, body = 400, UNKNOWN_CALL.encode()
            elif url is not None:
                answer = httpx.request(
                    self.command,
                    url + self.path,
                    content=content,
                    headers={"content-type": "application/json"},
                    trust_env=False,
                )
                code, body = answer.status_code, answer.content
            core.asked.append((name, self.path, code))
            self.send_response(code)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _do  # noqa: N815 - http.server's names

    return Handler
