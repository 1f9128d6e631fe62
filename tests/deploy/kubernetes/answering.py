"""Requests to the API of these tests, their faults, watches, and what is passed on to Services."""

from __future__ import annotations

import contextlib
import json
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from tests.deploy.kubernetes.api_server import TOKEN, ApiServer, Fault, Object, cut, failure
from tests.deploy.kubernetes.verbs import Verbs


def handler(api: ApiServer) -> type[BaseHTTPRequestHandler]:
    """The handler that answers the requests to an API."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else each answer waits for an acknowledgement

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
                    cut(self.connection)
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
            own = ("authorization", "connection", "content-length", "host", "transfer-encoding")
            headers = {
                "content-type": "application/json",
                **{
                    key.lower(): each
                    for key, each in self.headers.items()
                    if key.lower() not in own
                },
            }
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
