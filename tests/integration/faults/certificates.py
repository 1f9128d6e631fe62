"""Certificates for a test, made by OpenSSL's command."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


@dataclass(frozen=True)
class Certificate:
    """A certificate that vouches for itself, for 127.0.0.1, and its key.

    Attributes:
        cert: Its file.
        key: The key's file.
    """

    cert: Path
    key: Path

    @classmethod
    def make(cls, folder: Path, name: str) -> Certificate:
        """Makes a new one; skips the test where there is no OpenSSL."""
        if shutil.which("openssl") is None:
            pytest.skip("makes certificates with the command `openssl`, which is not here")
        made = cls(folder / f"{name}.pem", folder / f"{name}.key")
        files = ["-out", str(made.cert), "-keyout", str(made.key)]
        names = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
        subprocess.run(
            ["openssl", "req", "-x509", *_KEY, *files, *names, "-days", "2"],
            check=True,
            capture_output=True,
        )
        return made

    def for_server(self, clients: Certificate | None = None) -> ssl.SSLContext:
        """A server's side; with `clients`, it asks for that certificate."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.cert, self.key)
        if clients is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(clients.cert)
        return context
