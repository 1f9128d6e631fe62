"""Files of certificates that cannot be used are named, with their setting, when a pipeline loads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tempo_runtime.clients.tls import grpc_files, ssl_context
from tempo_runtime.errors import SettingsError
from tempo_runtime.settings import TlsSettings


@pytest.mark.parametrize("name", ["ca", "cert", "key"])
@pytest.mark.parametrize("use", [ssl_context, grpc_files])
def test_a_file_that_is_not_there_is_named(name: str, use: object, tmp_path: Path) -> None:
    files = {"cert": str(tmp_path / "cert")} if name == "key" else {}
    (tmp_path / "cert").write_text("") if files else None
    missing = str(tmp_path / "missing.pem")
    with pytest.raises(SettingsError, match=rf"tls\.{name}: .*missing\.pem cannot be read"):
        use(TlsSettings(**files, **{name: missing}))


@pytest.mark.parametrize(
    ("name", "told"),
    [("ca", "does not contain certificates"), ("cert", "do not contain a certificate")],
)
def test_a_file_that_is_something_else_is_named(name: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "file.pem"
    file.write_text("hello")
    with pytest.raises(SettingsError, match=rf"tls\.{name}.*file\.pem .*{told}"):
        ssl_context(TlsSettings(**{name: str(file)}))


def test_grpc_cannot_leave_its_server_unverified() -> None:
    with pytest.raises(SettingsError, match=r"tls\.verify: gRPC always verifies"):
        grpc_files(TlsSettings(verify=False))
