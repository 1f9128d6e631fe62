"""Ports: which are free, and which processes use the others."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tempo_runtime._util.ports import HOST, called, holder, refused, reserved
from tempo_runtime.errors import ServingFailed
from tempo_runtime.servers.run import choose_ports

_AS_NOBODY = """
import encodings.idna  # before it may read no file
import os
from tempo_runtime._util.ports import refused
if os.getuid() == 0:
    os.setuid(65534)
print(refused("127.0.0.1", 80))
"""


def _only_root_has(port: int) -> bool:
    try:
        return port < int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except OSError:
        return False


@pytest.mark.parametrize(
    ("listened_at", "in_a_url"),
    [
        ("", HOST),
        ("0.0.0.0", HOST),
        ("::", HOST),
        ("::1", "[::1]"),
        ("[::1]", "[::1]"),
        ("box", "box"),
    ],
)
def test_a_host_is_called_as_a_url_has_it(listened_at: str, in_a_url: str) -> None:
    assert called(listened_at) == in_a_url


def test_a_port_that_is_free_is_not_refused() -> None:
    with reserved() as port:  # so that nobody takes it before it is asked about
        assert refused(HOST, port) is None
        assert holder(HOST, port) is None


def test_a_port_that_is_taken_is_refused_on_every_host() -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        assert "is taken" in str(refused(HOST, port))
        assert "is taken" in str(refused("0.0.0.0", port))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who has a port")
def test_the_process_that_uses_a_port_is_named() -> None:
    with socket.create_server((HOST, 0)) as server:
        assert f"process {os.getpid()} (" in str(holder(HOST, server.getsockname()[1]))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who has a port")
@pytest.mark.parametrize(
    ("listened_at", "asked", "kept"),
    [
        ("127.0.0.2", "127.0.0.1", False),
        ("127.0.0.2", "127.0.0.2", True),
        ("127.0.0.2", "0.0.0.0", True),
        ("0.0.0.0", "127.0.0.1", True),
        ("::", "127.0.0.1", True),
        ("::ffff:127.0.0.2", "127.0.0.1", False),
        ("::ffff:127.0.0.2", "127.0.0.2", True),
    ],
)
def test_a_port_is_in_use_at_the_addresses_that_the_process_listens_on(
    listened_at: str, asked: str, kept: bool
) -> None:
    dual = ":" in listened_at
    if dual and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    family = socket.AF_INET6 if dual else socket.AF_INET
    with (
        reserved("0.0.0.0") as port,  # others have it at no other address
        socket.create_server((listened_at, port), family=family, dualstack_ipv6=dual),
    ):
        assert (holder(asked, port) is not None) is kept


@pytest.mark.skipif(not _only_root_has(80), reason="anybody may listen on port 80 here")
def test_the_error_of_a_port_that_only_root_may_use_names_the_ports_for_everybody() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _AS_NOBODY], capture_output=True, text=True, check=True
    )
    assert "Permission denied; ports above 1023 do not need permission" in done.stdout


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux lets a server listen on such a port"
)
def test_a_server_can_listen_on_a_reserved_port_and_clients_cannot_get_it() -> None:
    with reserved() as port:
        with socket.socket() as client, pytest.raises(OSError, match="in use"):
            client.bind((HOST, port))
        with socket.create_server((HOST, port)), socket.create_connection((HOST, port)):
            pass


def test_ports_that_nobody_asked_for_are_free_ones_where_the_usual_are_taken() -> None:
    with reserved() as http, reserved() as metrics:
        chosen = choose_ports(HOST, http, 0, metrics)
    assert (chosen.http, chosen.metrics) == (http, metrics)
    assert chosen.grpc not in (0, http, metrics)
    assert len(set(choose_ports(HOST, 0))) == 3


def test_a_port_that_is_asked_for_and_taken_names_its_option() -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ServingFailed, match=rf"port {port} .* with --grpc-port"):
            choose_ports(HOST, 0, port)


def test_a_server_at_an_address_of_ipv6_is_refused() -> None:
    with pytest.raises(ServingFailed, match="cannot listen on ::1, which is IPv6"):
        choose_ports("::1")
