"""Ports for servers: which are free, and who has one that is not."""

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
_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - listened at, and not called


def called(host: str) -> str:
    """Return the host to put in a URL for an address that a server listens at."""
    if host in _EVERYWHERE:
        return HOST
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def is_ipv6(host: str) -> bool:
    """Return whether a host is an IPv6 address, which MLServer's gRPC and HTTP write differently."""
    return ":" in host


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on."""
    with contextlib.ExitStack() as stack:
        return [stack.enter_context(reserved()) for _ in range(count)]


@contextlib.contextmanager
def reserved(host: str = HOST, port: int = 0) -> Iterator[int]:
    """Keep a port for the block, so that the server it is meant for finds it free.

    A socket is bound to it that never listens: a server that allows the reuse of its address, as
    MLServer's do, can listen on it, and while none does a connection is refused. The system gives
    the port to nobody who asks for any, and to no outgoing connection. So on Linux; elsewhere
    nobody could listen beside that socket, and the port is one that was free.

    Args:
        host: An IPv4 address, or a name of one.
        port: The port; 0 for a free one.

    Yields:
        The port.

    Raises:
        OSError: If it cannot be had.
    """
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind((host, port))
        port = port_of(kept)
        if sys.platform != "linux":
            kept.close()
        yield port


def port_of(kept: socket.socket) -> int:
    """Return the port a socket is bound to."""
    port: int = kept.getsockname()[1]
    return port


def refused(host: str, port: int) -> str | None:
    """Why no server can listen there; None if one can.

    Asked beforehand, because MLServer's gRPC shares a port with whoever has it.
    """
    try:
        # By name, so that an address of IPv6 will do.
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            who = holder(str(address[0]), port)
            return f"is taken by {who or f'another process (`lsof -i :{port}` shows it)'}"
        why = error.strerror or error
        if error.errno == errno.EACCES:
            return f"cannot be listened on ({why}; one above 1023 needs none)"
        return f"cannot be listened on ({why}; is the host one of this machine's?)"
    return None


def holder(address: str, port: int) -> str | None:
    """Return the process that keeps others from listening there, as far as Linux tells.

    Args:
        address: An address, and no name.
        port: The port.

    Returns:
        Such as `process 4711 (mlserver)`.
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
                there = _address(local.partition(":")[0])
                if there == wanted or there.is_unspecified or wanted.is_unspecified:
                    yield f"socket:[{inode}]"


def _address(written: str) -> _Address:
    """Return the address that /proc writes so: in words of the processor's byte order."""
    words = (int(written[at : at + 8], 16) for at in range(0, len(written), 8))
    found = ipaddress.ip_address(b"".join(word.to_bytes(4, sys.byteorder) for word in words))
    return getattr(found, "ipv4_mapped", None) or found


def _processes() -> list[str]:
    with contextlib.suppress(OSError):
        return [name for name in os.listdir(_PROC) if name.isdigit()]
    return []


def _opened(process: str) -> Iterator[str]:
    folder = f"{_PROC}/{process}/fd"
    with contextlib.suppress(OSError):  # another user's, or ended
        for each in os.listdir(folder):
            with contextlib.suppress(OSError):
                yield os.readlink(f"{folder}/{each}")


def _command(process: str) -> str:
    try:
        with open(f"{_PROC}/{process}/comm") as file:
            return file.read().strip()
    except OSError:
        return "ended by now"
