"""Ports for servers: find and reserve free ports, and name the process that uses one."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import sys
from collections.abc import Iterator

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
HOST = "127.0.0.1"
_PROC = "/proc"
_LISTENING = "0A"
_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - addresses to listen on, not to call


def called(host: str) -> str:
    """Return the host for the URL of a server that listens on an address."""
    if host in _EVERYWHERE:
        return HOST
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def is_ipv6(host: str) -> bool:
    """Return whether a host is an IPv6 address, which MLServer's gRPC and HTTP write differently."""
    return ":" in host


def free_ports(count: int) -> list[int]:
    """Return free ports of the loopback interface."""
    with contextlib.ExitStack() as stack:
        return [stack.enter_context(reserved()) for _ in range(count)]


@contextlib.contextmanager
def reserved(host: str = HOST, port: int = 0) -> Iterator[int]:
    """Reserve a port for the block, so that it is still free for a server that starts in it.

    On Linux, a socket is bound to the port without listening. A server that allows the reuse of its
    address, as MLServer does, can still listen on it; until then connections are refused. The system does
    not assign the port to other sockets or outgoing connections. On other systems the server could not
    listen next to that socket, so the port is only known to have been free.

    Args:
        host: An IPv4 address, or its name.
        port: The port; 0 for any free port.

    Yields:
        The port.

    Raises:
        OSError: If the port is not available.
    """
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        port = port_of(bound)
        if sys.platform != "linux":
            bound.close()
        yield port


def port_of(bound: socket.socket) -> int:
    """Return the port that a socket is bound to."""
    port: int = bound.getsockname()[1]
    return port


def refused(host: str, port: int) -> str | None:
    """Return why a server cannot listen on a port; None if it can.

    This must be checked before a start, because MLServer's gRPC shares a port that is in use.
    """
    try:
        # Resolves names, and supports IPv6.
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            process = holder(str(address[0]), port)
            return f"is taken by {process or f'another process (`lsof -i :{port}` shows it)'}"
        reason = error.strerror or error
        if error.errno == errno.EACCES:
            return f"cannot be listened on ({reason}; ports above 1023 do not need permission)"
        return f"cannot be listened on ({reason}; check that the host is one of this machine)"
    return None


def holder(address: str, port: int) -> str | None:
    """Return the process that listens on a port, if Linux shows it.

    Args:
        address: An IP address, not a name.
        port: The port.

    Returns:
        The process, such as `process 4711 (mlserver)`.
    """
    inodes = set(_listening(ipaddress.ip_address(address), port))
    for process in _processes() if inodes else ():
        if not inodes.isdisjoint(_opened(process)):
            return f"process {process} ({_command(process)})"
    return None


def _listening(wanted: _Address, port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), open(f"{_PROC}/net/{table}") as lines:
            for line in lines:
                fields = line.split()
                local, state, inode = fields[1], fields[3], fields[9]
                if state != _LISTENING or not local.endswith(f":{port:04X}"):
                    continue
                address = _address(local.partition(":")[0])
                if address == wanted or address.is_unspecified or wanted.is_unspecified:
                    yield f"socket:[{inode}]"


def _address(text: str) -> _Address:
    """Parse an address as /proc writes it: in words of the processor's byte order."""
    words = (int(text[at : at + 8], 16) for at in range(0, len(text), 8))
    address = ipaddress.ip_address(b"".join(word.to_bytes(4, sys.byteorder) for word in words))
    return getattr(address, "ipv4_mapped", None) or address


def _processes() -> list[str]:
    with contextlib.suppress(OSError):
        return [name for name in os.listdir(_PROC) if name.isdigit()]
    return []


def _opened(process: str) -> Iterator[str]:
    folder = f"{_PROC}/{process}/fd"
    with contextlib.suppress(OSError):  # the process belongs to another user, or has ended
        for descriptor in os.listdir(folder):
            with contextlib.suppress(OSError):
                yield os.readlink(f"{folder}/{descriptor}")


def _command(process: str) -> str:
    try:
        with open(f"{_PROC}/{process}/comm") as file:
            return file.read().strip()
    except OSError:
        return "already ended"
