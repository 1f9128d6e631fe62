"""A Kubernetes API of a few paths, on a real socket."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tempo_runtime.testing.ports import HOST

CONFIG = """
apiVersion: v1
kind: Config
clusters: [{{name: here, cluster: {{server: "http://{host}:{port}"}}}}]
users: [{{name: me, user: {{token: token}}}}]
contexts: [{{name: mine, context: {{cluster: here, user: me, namespace: production}}}}]
current-context: mine
"""


class Cluster:
    """What it answers: path -> object, or the status of an error."""

    def __init__(self) -> None:
        self.answers: dict[str, dict[str, Any] | int] = {}


@contextmanager
def running(kubeconfig: Path) -> Iterator[Cluster]:
    cluster = Cluster()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = cluster.answers.get(urlsplit(self.path).path, 404)
            status = found if isinstance(found, int) else 200
            body = json.dumps({"kind": "Status"} if isinstance(found, int) else found).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        kubeconfig.write_text(CONFIG.format(host=HOST, port=server.server_port))
        yield cluster
        server.shutdown()
