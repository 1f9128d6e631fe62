"""Forward a local port to a Service of the cluster, through the cluster's API.

`GET /api/v1/namespaces/NS/services/SVC:PORT/proxy/` needs no tunnel: calls reach the pods that are
ready, as calls in the cluster do, and keep working when pods are replaced. This requires the right to
`get` and `create` on `services/proxy`.

The proxy adds the headers by which a gateway finds the model, and does not forward a caller's own.

Calls are made with the deploying user's credentials, and a port on loopback is open to every user of
the machine and to every page in a browser. So each call needs a header with a token that only this
process knows, and can reach only the paths of one model.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import re
import secrets
import threading
import weakref
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, ClassVar
from urllib.parse import urlsplit

from tempo_runtime._util.ports import HOST
from tempo_runtime.deploy.kubernetes.addresses import Endpoint
from tempo_runtime.deploy.kubernetes.connection import ApiConnection, Unreachable

# A page of another site must ask before it sends this header, and is always refused.
TOKEN = "x-tempo-relay-token"  # noqa: S105 - the name of a header
_PATH = r"/v2/models/{name}(?:/versions/\w[\w.-]*)?"
_READS = "(?:/ready)?"
_CALLS = "/(?:infer|generate|predict)(?:_stream)?"
# The API server may interpret any other header (`Impersonate-User`), and so may a proxy on the way.
_FORWARDED = frozenset(
    (
        "accept",
        "accept-encoding",
        "baggage",
        "content-type",
        "traceparent",
        "tracestate",
        "user-agent",
    )
)
_FORWARDED_PREFIXES = ("x-b3-", "x-request-id")
_HOP_BY_HOP = (
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
)
# Headers that would let a page read an answer, or store something in a browser.
_NOT_RETURNED = ("access-control-", "set-cookie")
_BROWSER = ("origin", "sec-fetch-")
# No explanation is silent for so long; the caller may have left without notice.
_SILENT = 600.0
_IDLE = 60.0


class ServiceProxy:
    """A port that leads to one model of a Service, until it is closed or no longer referenced.

    Args:
        connection: The connection to the cluster.
        endpoint: Address of the Service inside the cluster.

    Attributes:
        url: Base URL of the port.
        headers: Headers that every call needs. They are a secret.
    """

    def __init__(self, connection: ApiConnection, endpoint: Endpoint) -> None:
        token = secrets.token_urlsafe(32)
        path = _PATH.format(name=re.escape(endpoint.model))
        bound = {
            "api": connection,
            "prefix": _proxy_path(endpoint),
            "token": token.encode(),
            "added": MappingProxyType(dict(endpoint.headers)),
            "paths": {"GET": re.compile(path + _READS), "POST": re.compile(path + _CALLS)},
        }
        server = _Server((HOST, 0), type("_Bound", (_Handler,), bound))
        self.url = f"http://{HOST}:{server.server_port}"
        self.headers: Mapping[str, str] = MappingProxyType({TOKEN: token})
        thread = threading.Thread(
            target=server.serve_forever, args=(0.1,), name="tempo-relay", daemon=True
        )
        thread.start()
        self.close = weakref.finalize(self, _close, server, thread)
        self.close.atexit = False  # it ends with the process


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do nothing: a client that disconnects is not an error here."""


class _Handler(BaseHTTPRequestHandler):
    api: ClassVar[ApiConnection]
    prefix: ClassVar[str]
    token: ClassVar[bytes]
    added: ClassVar[Mapping[str, str]]
    paths: ClassVar[Mapping[str, re.Pattern[str]]]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = _IDLE

    def do_GET(self) -> None:
        self._forward()

    def do_POST(self) -> None:
        self._forward()

    def log_message(self, *_: object) -> None:
        """Do nothing: calls are not logged."""

    def handle_expect_100(self) -> bool:
        """Do nothing: the request itself decides whether its body is read."""
        return True

    def _forward(self) -> None:
        import urllib3

        # The headers alone decide this: the body of a refused request is never read.
        if refusal := self._refusal():
            self.close_connection = True
            self._answer(*refusal)
            return
        if self.headers.get("expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        body = _Body(self.rfile, int(self.headers.get("content-length") or 0))
        headers = {
            name: value for name, value in self.headers.items() if _is_forwarded(name.lower())
        }
        headers |= self.added
        if body.left:
            headers["content-length"] = str(body.left)
        self.connection.settimeout(_SILENT)
        try:
            response = self.api.open(
                self.command,
                self.prefix + self.path,
                body=body if body.left else None,
                headers=headers,
                read=_SILENT,
            )
        except Unreachable as error:
            self.close_connection |= body.left > 0
            self._answer(502, str(error))
            return
        # Otherwise the next request would begin in the middle of this one.
        self.close_connection |= body.left > 0
        try:
            self._stream(response)
        except (OSError, urllib3.exceptions.HTTPError):
            self.close_connection = True
        finally:
            response.close()
        self.connection.settimeout(_IDLE)

    def _refusal(self) -> tuple[int, str] | None:
        """Return the status and text for a request to refuse; None for one to pass on."""
        given = self.headers.get(TOKEN, "").encode(errors="replace")
        if not hmac.compare_digest(given, self.token):
            return 403, f"the header {TOKEN} is missing or wrong; RemoteModel.headers has it"
        local = self.headers.get("host", "").partition(":")[0] in (HOST, "localhost")
        if not local or any(name.lower().startswith(_BROWSER) for name in self.headers):
            return 403, "web pages cannot use this port"
        if not self.paths[self.command].fullmatch(self.path):
            return 403, f"{self.command} {self.path:.200} is not a call of the deployed model"
        if "transfer-encoding" in self.headers:
            return 411, "a call needs a Content-Length, without Transfer-Encoding"
        lengths = self.headers.get_all("content-length") or ["0"]
        if len(lengths) > 1 or not re.fullmatch("[0-9]{1,18}", lengths[0]):
            return 400, "invalid Content-Length"
        return None

    def _stream(self, response: Any) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            if name.lower() not in _HOP_BY_HOP and not name.lower().startswith(_NOT_RETURNED):
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


class _Body:
    """The body of a request, which is read while it is forwarded.

    Args:
        file: The file to read it from.
        length: Its length in bytes.

    Attributes:
        left: Bytes that have not been read.
    """

    def __init__(self, file: Any, length: int) -> None:
        self._file = file
        self.left = length

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, at most `size`; all remaining bytes for a negative size."""
        content: bytes = self._file.read(self.left if size < 0 else min(size, self.left))
        if self.left and not content:
            raise ConnectionError("the caller disconnected before sending its whole body")
        self.left -= len(content)
        return content


def _is_forwarded(header: str) -> bool:
    return header in _FORWARDED or header.startswith(_FORWARDED_PREFIXES)


def _proxy_path(endpoint: Endpoint) -> str:
    """Return the API's path for a Service with the address `http://SVC.NS.svc.cluster.local:PORT`."""
    where = urlsplit(endpoint.url)
    service, namespace = (where.hostname or "").split(".")[:2]
    return f"/api/v1/namespaces/{namespace}/services/{service}:{where.port or 80}/proxy"


def _close(server: _Server, thread: threading.Thread) -> None:
    if threading.current_thread() is thread:
        # The garbage collector ran in this thread, which cannot wait for its own end.
        threading.Thread(target=_close, args=(server, thread), daemon=True).start()
        return
    with contextlib.suppress(OSError):
        server.shutdown()
        server.server_close()
