"""TLS contexts for connections to children."""

from __future__ import annotations

import ssl
from pathlib import Path

from tempo_runtime.errors import SettingsError
from tempo_runtime.settings import TlsSettings


def ssl_context(tls: TlsSettings) -> ssl.SSLContext:
    """Return the SSL context of HTTP connections.

    Raises:
        SettingsError: If a file cannot be read, or does not contain certificates or a key.
    """
    ca = _read("ca", tls.ca)
    try:
        context = ssl.create_default_context(cadata=ca.decode() if ca else None)
    except (ssl.SSLError, ValueError) as error:
        raise SettingsError(
            f"setting tls.ca: {tls.ca} does not contain certificates: {error}"
        ) from error
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert:
        _read("cert", tls.cert)
        _read("key", tls.key)
        try:
            context.load_cert_chain(tls.cert, tls.key)
        except ssl.SSLError as error:
            files = " and ".join(filter(None, (tls.cert, tls.key)))
            raise SettingsError(
                f"settings tls.cert and tls.key: {files} do not contain a certificate and its key: "
                f"{error}"
            ) from error
    return context


def grpc_files(tls: TlsSettings) -> tuple[bytes | None, bytes | None, bytes | None]:
    """Return the files for gRPC: certificates to trust, private key, certificate chain.

    Raises:
        SettingsError: If a file cannot be read, or `verify` is false.
    """
    if not tls.verify:
        raise SettingsError(
            "setting tls.verify: gRPC always verifies the server; set tls.ca to the server's "
            "certificate instead"
        )
    chain = _read("cert", tls.cert)
    return _read("ca", tls.ca), _read("key", tls.key or tls.cert), chain


def _read(name: str, path: str | None) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(
            f"setting tls.{name}: {path} cannot be read: {error.strerror}"
        ) from error
