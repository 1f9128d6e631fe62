"""A private package index on a real socket: it demands a user and a password."""

from __future__ import annotations

import base64
import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tempo_runtime._util.ports import HOST

USER, PASSWORD = "deployer", "s3cr3t-t0ken"


def wheel(name: str) -> bytes:
    """A wheel of version 1.0 with one module."""
    content = io.BytesIO()
    about = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": f"NAME = {name!r}\n",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    listed = "".join(f"{path},,\n" for path in [*files, f"{about}/RECORD"])
    with zipfile.ZipFile(content, "w") as archive:
        for path, text in {**files, f"{about}/RECORD": listed}.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return content.getvalue()


def file_name(name: str) -> str:
    """The file name of its wheel."""
    return f"{name}-1.0-py3-none-any.whl"


class Index:
    """The index, which has wheels of some packages."""

    def __init__(self, port: int, wheels: dict[str, bytes]) -> None:
        self.host = f"{HOST}:{port}"
        self.wheels = wheels
        self.unknown: list[str] = []  # paths that were asked for without the password

    def url(self, path: str, who: str = f"{USER}:{PASSWORD}") -> str:
        """The URL of a path, with credentials."""
        return f"http://{who}@{self.host}/{path}"

    def answer(self, path: str) -> bytes | None:
        """The bytes at a path."""
        parts = path.strip("/").split("/")
        if parts[0] == "simple" and (content := self.wheels.get(parts[-1])):
            digest, file = hashlib.sha256(content).hexdigest(), file_name(parts[-1])
            return f'<a href="/files/{file}#sha256={digest}">{file}</a>'.encode()
        return self.wheels.get(parts[-1].partition("-")[0]) if parts[0] == "files" else None


@contextmanager
def index(*names: str) -> Iterator[Index]:
    """Serves packages of these names."""
    wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers.get("authorization") == wanted
            if not known:
                made.unknown.append(self.path)
            content = made.answer(self.path) if known else None
            self.send_response(200 if content else 404 if known else 401)
            if not known:
                self.send_header("www-authenticate", 'Basic realm="packages"')
            kind = "text/html" if "/simple/" in self.path else "application/octet-stream"
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content or b"")

        do_HEAD = do_GET  # noqa: N815 - http.server's name for it

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((HOST, 0), Handler)
    made = Index(server.server_port, {name: wheel(name) for name in names})
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()
