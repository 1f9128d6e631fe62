"""Get, list, patch and delete of the API of these tests."""

from __future__ import annotations

import copy
import json
from typing import Any

from tests.deploy.kubernetes.api_server import KINDS, ApiServer, Denied, Object, failure, selected
from tests.deploy.kubernetes.applying import Conflict, apply

Answer = tuple[int, Any]


class Verbs:
    """The effects of requests on objects."""

    def __init__(self, api: ApiServer) -> None:
        self._api = api

    def do(self, method: str, path: str, query: dict[str, str], content: bytes) -> Answer:
        """The status and the body of the answer."""
        group, _, rest = path.partition("/namespaces/")
        namespace, plural, *more = rest.split("/")
        version = KINDS.get(plural, ("", ""))[0]
        prefix = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if plural not in self._api.kinds or group != prefix:
            return 404, "404 page not found\n"
        if more[1:] == ["log"]:
            return self._log(more[0], query)
        with self._api.changed:
            if not more:
                return self._list(plural, namespace, query)
            name = more[0]
            if method == "PATCH":
                return self._patch(plural, namespace, name, query, json.loads(content))
            item = self._api.objects.get((plural, name))
            if item is None:
                return _absent(plural, name)
            if method != "DELETE":
                return 200, item
            for key, value in json.loads(content)["preconditions"].items():
                if value != item["metadata"][key]:
                    return 409, failure(409, f"Precondition failed: {key}: {value}", name=name)
            return self._delete(plural, item)

    def _log(self, pod: str, query: dict[str, str]) -> Answer:
        """Return a container's log, as pkg/kubelet/kubelet_pods.go and kuberuntime/logs/logs.go do."""
        key = (pod, query["container"])
        if ("pods", pod) not in self._api.objects:
            return _absent("pods", pod)
        status = self._api.objects["pods", pod].get("status") or {}
        containers = [
            *status.get("initContainerStatuses", []),
            *status.get("containerStatuses", []),
        ]
        container = next((each for each in containers if each["name"] == key[1]), {})
        ended = "terminated" in container.get("lastState", {})
        waiting = container.get("state", {}).get("waiting")
        what = f'container "{key[1]}" in pod "{pod}"'
        before = self._api.ended_logs.get(key, "")
        if query.get("previous") and container and not ended:
            return 400, failure(400, f"previous terminated {what} not found")
        if waiting and not ended:
            return 400, failure(400, f"{what} is waiting to start: {waiting['reason']}")
        if int(query.get("tailLines", 0)) >= 2**63:
            return 400, failure(400, 'strconv.ParseInt: parsing "...": value out of range')
        text = self._api.logs.get(key, "")
        lines = [f"{line}\n" for line in text.split("\n")]
        lines[-1] = lines[-1][:-1]  # not a whole line
        # Each line has a time of its own, and those of a container follow those of the one before.
        stamped = [
            (f"2026-01-01T00:{second // 60:02}:{second % 60:02}.500000000Z", line)
            for second, line in enumerate([*before.splitlines(keepends=True), *filter(None, lines)])
        ]
        first = len(before.splitlines())
        stamped = stamped[:first] if query.get("previous") and before else stamped[first:]
        if since := query.get("sinceTime"):
            stamped = [each for each in stamped if f"{each[0][:19]}Z" >= since]
        if "tailLines" in query:
            stamped = stamped[len(stamped) - min(len(stamped), int(query["tailLines"])) :]
        stamps = query.get("timestamps") == "true"
        return 200, "".join(f"{when} {line}" if stamps else line for when, line in stamped)

    def _list(self, plural: str, namespace: str, query: dict[str, str]) -> Answer:
        items = [
            {key: value for key, value in item.items() if key not in ("apiVersion", "kind")}
            for (each, _), item in self._api.objects.items()
            if each == plural and selected(item, query)
        ]
        return 200, {"items": items, "metadata": {"resourceVersion": str(self._api.version())}}

    def _patch(
        self, plural: str, namespace: str, name: str, query: dict[str, str], document: Object
    ) -> Answer:
        if namespace not in self._api.namespaces:
            text = f'namespaces "{namespace}" not found'
            return 404, failure(404, text, name=namespace, kind="namespaces")
        if "force" not in query:
            return self._merge(plural, name, document)
        unknown = [field for field in self._api.unknown if field.split(".")[1] in document["spec"]]
        if unknown:
            told = " ".join(f".{field}: field not declared in schema" for field in sorted(unknown))
            return 500, failure(500, f"failed to create typed patch object: errors: {told}")
        live = self._api.objects.get((plural, name))
        uid = document["metadata"].get("uid")
        if uid and (live is None or uid != live["metadata"]["uid"]):
            return 409, failure(409, f"Precondition failed: UID in precondition: {uid}")
        try:
            force = query["force"] == "true"
            applied = apply(live, document, query["fieldManager"], force)
            item = self._api.admit(applied, live)
        except Denied as denied:
            return 403, failure(403, f'admission webhook "w" denied the request: {denied}')
        except Conflict as conflict:
            causes = [
                {
                    "reason": "FieldManagerConflict",
                    "field": f".{where}",
                    "message": f'conflict with "{manager}" using v1',
                }
                for where, manager in conflict.args[0]
            ]
            return 409, failure(409, "Apply failed with conflicts", name=name, causes=causes)
        changed = live is None or live.get("spec") != item.get("spec")
        before = live["metadata"]["generation"] if live else 0
        item["metadata"]["generation"] = before + changed
        if query.get("dryRun") != "All" and item != live:
            self._api.put(plural, item)
            self._api.operator(copy.deepcopy(item))
        return 200, item

    def _merge(self, plural: str, name: str, patch: Object) -> Answer:
        if (plural, name) not in self._api.objects:
            return _absent(plural, name)
        item = copy.deepcopy(self._api.objects[plural, name])
        labels = {**item["metadata"].get("labels", {}), **patch["metadata"]["labels"]}
        item["metadata"]["labels"] = {key: each for key, each in labels.items() if each is not None}
        item = self._api.put(plural, item)
        self._api.relabelled(copy.deepcopy(item))
        return 200, item

    def _delete(self, plural: str, item: Object) -> Answer:
        item = copy.deepcopy(item)
        item["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        finalizers = self._api.finalizers.get(plural)
        item["metadata"]["finalizers"] = ["foregroundDeletion", *(finalizers or [])]
        self._api.put(plural, item)
        self._api.deleting(item)
        if not self._api.held and finalizers is None:
            self._api.drop(plural, item["metadata"]["name"])
        return 200, item


def _absent(plural: str, name: str) -> Answer:
    return 404, failure(404, f'{plural} "{name}" not found', name=name, kind=plural)
