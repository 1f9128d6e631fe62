"""A sink of request logs: a small HTTP server that can be away, hang, refuse and fail."""

from __future__ import annotations

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.helpers.waiting import wait_until


class Sink:
    """Keeps the events that it receives.

    Attributes:
        status: Status of its answers.
        location: Header `location` of its answers, if any.
        go_on: While it is cleared, the sink does not answer.
        requests: Headers and events of each request that was answered with a status below 300.
        attempts: Number of requests, however they were answered.
    """

    def __init__(self) -> None:
        self.status = 204
        self.location: str | None = None
        self.go_on = threading.Event()
        self.go_on.set()
        self.requests: list[tuple[dict[str, str], list[dict[str, Any]]]] = []
        self.attempts = 0
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self.start()
        self._port = self.port

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self.stop()

    @property
    def port(self) -> int:
        assert self._server is not None
        return self._server.server_port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/events"

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for _, events in list(self.requests) for event in events]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of one kind, such as `request`."""
        return [event for event in self.events if event["type"].endswith(f".{kind}")]

    def wait(self, count: int) -> list[dict[str, Any]]:
        """Wait for this number of events in total."""
        wait_until(lambda: len(self.events) >= count)
        assert len(self.events) == count
        return self.events

    def clear(self) -> None:
        self.requests.clear()
        self.attempts = 0

    def start(self) -> None:
        """Listen, at the same port as before."""
        self._server = _Server(("127.0.0.1", self._port), _handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Be away, and cut all connections."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.open: set[Any] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        super().process_request(request, client_address)

    def server_close(self) -> None:
        super().server_close()
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(2)
            connection.close()

    def handle_error(self, *_: Any) -> None:
        pass  # the connection was cut


def _handler(sink: Sink) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            sink.attempts += 1
            sink.go_on.wait()
            if sink.status < 300:
                headers = {name.lower(): value for name, value in self.headers.items()}
                sink.requests.append((headers, json.loads(body)))
            self.send_response(sink.status)
            if sink.location is not None:
                self.send_header("location", sink.location)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
