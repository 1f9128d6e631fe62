"""Whether a child on other servers can be called, as its servers answer the question."""

from __future__ import annotations

import pytest

from tempo_runtime._util.ports import reserved
from tempo_runtime.clients.connect import endpoints
from tempo_runtime.clients.readiness import Readiness, ask
from tempo_runtime.request.portal import background
from tempo_runtime.settings import ChildSettings
from tempo_runtime.testing import FakeModel


def asked(*urls: str) -> Readiness:
    portal = background()

    async def ask_and_close() -> Readiness:
        servers = endpoints(settings, "double", portal)
        try:
            return await ask(servers, {})
        finally:
            for server in servers:
                await server.close()

    transport = "grpc" if urls[0].startswith("grpc") else "http"
    settings = ChildSettings.model_validate({"transport": transport, "url": urls})
    return portal.run(ask_and_close())


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_a_child_is_ready_if_one_of_its_servers_has_the_model(transport: str) -> None:
    with FakeModel("double", lambda x: x, grpc=True) as fake, reserved() as closed:
        assert asked(fake.url if transport == "http" else fake.grpc_url) == Readiness(True)
        scheme = "grpc://" if transport == "grpc" else "http://"
        one = fake.url if transport == "http" else fake.grpc_url
        assert asked(f"{scheme}127.0.0.1:{closed}", one) == Readiness(True)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_child_is_not_ready_if_no_server_can_be_reached(scheme: str) -> None:
    with reserved() as closed:
        found = asked(f"{scheme}://127.0.0.1:{closed}")
    assert found.ready is False
    assert f"127.0.0.1:{closed}" in str(found.problem)


def test_it_is_not_known_if_a_server_refuses_to_tell() -> None:
    with FakeModel("another", lambda x: x) as fake:
        assert asked(fake.url) == Readiness(None)
