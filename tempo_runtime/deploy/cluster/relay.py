"""A port of this machine that leads to a Service of the cluster, through its API.

`GET /api/v1/namespaces/NS/services/SVC:PORT/proxy/` needs no tunnel: calls find the pods that are
ready, as calls in the cluster do, and go on when pods are replaced. It takes the right to `get` and
`create` on `services/proxy`. What listens is on loopback, and passes on calls of models only.
"""

from __future__ import annotations

import contextlib
import json
import threading
import weakref
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

from tempo_runtime.deploy.addresses import Endpoint
from tempo_runtime.deploy.cluster.connection import Connection, Unreachable
from tempo_runtime.ports import HOST

_OWN = ("connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "host")
_PASSED = "/v2/"
# No explanation takes so long without a word; who asked may have left, which nobody tells.
_SILENT = 600.0


class Relay:
    """A port that leads to a Service, until it is closed or forgotten.

    Args:
        connection: Where the cluster is.
        endpoint: Where the Service is for whoever is in the cluster.
    """

    def __init__(self, connection: Connection, endpoint: Endpoint) -> None:
        handler = type("_Bound", (_Handler,), {"api": connection, "prefix": _proxied(endpoint)})
        server = _Server((HOST, 0), handler)
        self.url = f"http://{HOST}:{server.server_port}"
        thread = threading.Thread(
            target=server.serve_forever, args=(0.1,), name="tempo-relay", daemon=True
        )
        thread.start()
        self.close = weakref.finalize(self, _close, server, thread)
        self.close.atexit = False  # it goes with the process


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that left in the middle is no error of ours."""


class _Handler(BaseHTTPRequestHandler):
    api: ClassVar[Connection]
    prefix: ClassVar[str]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._pass_on()

    def do_POST(self) -> None:
        self._pass_on()

    def log_message(self, *_: object) -> None:
        """Nothing: what is called is nobody's business."""

    def _pass_on(self) -> None:
        import urllib3

        try:
            body = self._body()
        except ValueError:
            self.close_connection = True  # where the next request would begin is not known
            self._answer(400, "the length of the body is none")
            return
        # A page in a browser must not reach the cluster by a name that leads here.
        local = self.headers.get("host", "").partition(":")[0] in (HOST, "localhost")
        passed = self.path.startswith(_PASSED) and ".." not in unquote(self.path)
        if not (local and passed):
            self._answer(403, "only calls of models are passed on")
            return
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in (*_OWN, "content-length", "authorization")
        }
        try:
            response = self.api.open(
                self.command,
                self.prefix + self.path,
                body=body or None,
                headers=headers,
                read=_SILENT,
            )
        except Unreachable as error:
            self._answer(502, str(error))
            return
        try:
            self._stream(response)
        except (OSError, urllib3.exceptions.HTTPError):
            self.close_connection = True
        finally:
            response.close()

    def _body(self) -> bytes:
        if "transfer-encoding" not in self.headers:
            return self.rfile.read(_size(self.headers.get("content-length") or "0", 10))
        content = b""
        while size := _size(self.rfile.readline().split(b";")[0], 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return content

    def _stream(self, response: Any) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            if name.lower() not in _OWN:
                self.send_header(name, value)
        chunked = "content-length" not in response.headers
        if chunked:
            self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for part in response.stream(2**16, decode_content=False):
            if chunked and part:
                part = b"%x\r\n%s\r\n" % (len(part), part)
            self.wfile.write(part)
            self.wfile.flush()
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _answer(self, code: int, error: str) -> None:
        content = json.dumps({"error": error}).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _proxied(endpoint: Endpoint) -> str:
    """Path of a Service in the API: that of `http://SVC.NS.svc.cluster.local:PORT`."""
    where = urlsplit(endpoint.url)
    service, namespace = (where.hostname or "").split(".")[:2]
    return f"/api/v1/namespaces/{namespace}/services/{service}:{where.port or 80}/proxy"


def _size(text: str | bytes, base: int) -> int:
    """A length.

    Raises:
        ValueError: If it is none.
    """
    size = int(text, base)
    if size < 0:
        raise ValueError(size)
    return size


def _close(server: _Server, thread: threading.Thread) -> None:
    if threading.current_thread() is thread:
        # Forgotten by a collection that happened here: the thread cannot wait for its own end.
        threading.Thread(target=_close, args=(server, thread), daemon=True).start()
        return
    with contextlib.suppress(OSError):
        server.shutdown()
        server.server_close()
