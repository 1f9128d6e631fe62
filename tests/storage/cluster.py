"""A Kubernetes API of a few paths, on a real socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tempo_runtime._util.ports import HOST
from tests.storage.answering import answering

CONFIG = """
apiVersion: v1
kind: Config
clusters: [{{name: here, cluster: {{server: "http://{host}:{port}"}}}}]
users: [{{name: me, user: {{token: token}}}}]
contexts: [{{name: mine, context: {{cluster: here, user: me, namespace: production}}}}]
current-context: mine
"""


class Cluster:
    """A cluster with its answers: an object, or the status of an error, by path."""

    def __init__(self) -> None:
        self.answers: dict[str, dict[str, Any] | int] = {}


@contextmanager
def running(kubeconfig: Path) -> Iterator[Cluster]:
    cluster = Cluster()

    def reply(path: str) -> tuple[int, bytes]:
        found = cluster.answers.get(path, 404)
        if isinstance(found, int):
            return found, b'{"kind": "Status"}'
        return 200, json.dumps(found).encode()

    with answering("application/json", reply) as port:
        kubeconfig.write_text(CONFIG.format(host=HOST, port=port))
        yield cluster
