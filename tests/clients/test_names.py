"""A child whose name leads to another address after a while, as when its container or pod is replaced."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pytest
from dnslib import QTYPE, RR, A, DNSRecord
from dnslib.server import BaseResolver, DNSServer

from tempo_runtime.testing import FakeModel
from tests.clients.connected_child import Connect, connect

__all__ = ["connect"]
pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux has more than one loopback address"
)


class Moving(BaseResolver):  # type: ignore[misc]  # it has no types
    """Says 127.0.0.2 the first time that it is asked for an address, then 127.0.0.1."""

    def __init__(self) -> None:
        self.addresses = ["127.0.0.1", "127.0.0.2"]

    def resolve(self, request: DNSRecord, handler: object) -> DNSRecord:
        answer = request.reply()
        if request.q.qtype == QTYPE.A:
            address = self.addresses[0] if len(self.addresses) == 1 else self.addresses.pop()
            answer.add_answer(RR(request.q.qname, rdata=A(address), ttl=0))
        return answer


@pytest.fixture
def names() -> Iterator[str]:
    server = DNSServer(Moving(), address="127.0.0.1", port=0, logger=None)
    server.start_thread()
    yield f"127.0.0.1:{server.server.server_address[1]}"
    server.stop()
    server.server.server_close()


def test_over_grpc_it_is_looked_up_again_within_the_unavailable_timeout(
    names: str, connect: Connect
) -> None:
    with FakeModel("iris", np.array([3]), grpc=True) as fake:
        port = fake.grpc_url.rpartition(":")[2]
        child = connect(f"grpc://dns://{names}/iris.test:{port}", unavailable_timeout=10)
        assert child(np.ones(1)) == 3
