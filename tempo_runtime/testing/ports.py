"""Ports of the loopback interface, for servers that are started and started again."""

from __future__ import annotations

import contextlib
import socket

HOST = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(reserve()) for _ in range(count)]
        return [port_of(each) for each in sockets]


def reserve() -> socket.socket:
    """A socket that keeps a port for as long as it is open.

    It is bound and never listens: who listens on the port meanwhile has to allow the reuse of its
    address, as servers do, and while nobody does a connection to it is refused. The system gives
    the port to nobody else, and to no outgoing connection.
    """
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind((HOST, 0))
    return kept


def port_of(kept: socket.socket) -> int:
    """The port a socket is bound to."""
    port: int = kept.getsockname()[1]
    return port
