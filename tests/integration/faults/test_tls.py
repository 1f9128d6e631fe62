"""A child whose server and whose settings do not agree about encryption."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest

from tempo_runtime.testing import FakeModel, Server
from tests.integration.faults.asker import Asker, Told, X
from tests.integration.faults.certificates import Certificate
from tests.integration.faults.conftest import asked

WELL = Told(200, "", X * 2)
BOTH = [("ask", "http"), ("ask-async", "grpc")]
Credentials = grpc.ServerCredentials


def credentials(server: Certificate, clients: Certificate | None = None) -> Credentials:
    return grpc.ssl_server_credentials(
        [(server.key.read_bytes(), server.cert.read_bytes())],
        clients.cert.read_bytes() if clients else None,
        require_client_auth=clients is not None,
    )


@pytest.fixture(scope="module")
def tls(child: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    folder = tmp_path_factory.mktemp("certificates")
    own, other, client = (Certificate.make(folder, name) for name in ("server", "other", "client"))
    trusted = {"ca": str(own.cert)}
    with ExitStack() as stack:
        secret = stack.enter_context(
            FakeModel("iris", X * 2, grpc=credentials(own), ssl_context=own.for_server())
        )
        mutual = stack.enter_context(
            FakeModel(
                "iris", X * 2, grpc=credentials(own, client), ssl_context=own.for_server(client)
            )
        )
        children: dict[str, dict[str, Any]] = {}
        for kind in ("http", "grpc"):
            secret_url, mutual_url = (
                fake.url if kind == "http" else fake.grpc_url for fake in (secret, mutual)
            )
            plain = child.url if kind == "http" else f"grpc://{child.grpc}"
            children |= {
                f"trusted_{kind}": {"url": secret_url, "tls": trusted},
                f"untrusted_{kind}": {"url": secret_url},
                f"distrusted_{kind}": {"url": secret_url, "tls": {"ca": str(other.cert)}},
                f"not_encrypting_{kind}": {"url": secret_url.replace(f"{kind}s:", f"{kind}:")},
                f"not_encrypted_{kind}": {"url": plain.replace(f"{kind}:", f"{kind}s:")},
                f"stranger_{kind}": {"url": mutual_url, "tls": trusted},
                f"impostor_{kind}": {
                    "url": mutual_url,
                    "tls": trusted | {"cert": str(other.cert), "key": str(other.key)},
                },
                f"known_{kind}": {
                    "url": mutual_url,
                    "tls": trusted | {"cert": str(client.cert), "key": str(client.key)},
                },
            }
        http, grpcs = [secret.url, mutual.url], [secret.grpc_url, mutual.grpc_url]
        yield stack.enter_context(asked(folder / "asking", children, http, grpcs))


@pytest.fixture
def asker(tls: Asker) -> Iterator[Asker]:
    yield tls
    tls.check_nothing_is_left(idle=8)


@pytest.mark.parametrize(("pipeline", "transport"), BOTH)
@pytest.mark.parametrize("which", ["trusted", "known"])
def test_a_server_that_is_trusted_is_asked(
    which: str, pipeline: str, transport: str, asker: Asker
) -> None:
    assert asker.ask(pipeline, f"{which}_{transport}", seconds=30) == WELL


@pytest.mark.parametrize(("pipeline", "transport"), BOTH)
@pytest.mark.parametrize("which", ["untrusted", "distrusted", "not_encrypted"])
def test_a_server_that_cannot_be_trusted_is_reported_at_once(
    which: str, pipeline: str, transport: str, asker: Asker
) -> None:
    told = asker.ask(pipeline, f"{which}_{transport}", seconds=30)
    assert told.status == 503, told
    for words in (f"child 'iris' at {transport}s://127.0.0.1", "cannot be trusted", "`tls.ca`"):
        assert words in told.text, told


@pytest.mark.parametrize(("pipeline", "transport"), BOTH)
@pytest.mark.parametrize("which", ["not_encrypting", "stranger", "impostor"])
def test_a_server_that_refuses_the_clients_certificate_is_reported(
    which: str, pipeline: str, transport: str, asker: Asker
) -> None:
    told = asker.ask(pipeline, f"{which}_{transport}", seconds=1)
    assert told.status in (502, 503), told
    for words in ("child 'iris'", transport, "://127.0.0.1"):
        assert words in told.text, told
