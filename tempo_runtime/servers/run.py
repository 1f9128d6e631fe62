"""Serving artifacts on this machine, from their folders to a server that is ready."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tempo_runtime._util.ports import HOST, free_ports, is_ipv6, refused, reserved
from tempo_runtime.errors import ServingFailed
from tempo_runtime.servers import repository
from tempo_runtime.servers.log import Log, reason
from tempo_runtime.servers.process import LocalServer, Ports
from tempo_runtime.servers.repository import Served

_USUAL = Ports(8080, 8081, 8082)  # MLServer's


@dataclass(frozen=True)
class Running:
    """A server whose models are ready.

    Attributes:
        server: Its process.
        models: What it serves, by name.
        log: What it prints.
    """

    server: LocalServer
    models: dict[str, Served]
    log: Log

    def wait(self) -> None:
        """Wait for the server to end, which it does not by itself.

        Raises:
            ServingFailed: If it has, with what it printed last.
        """
        self.server.process.wait()
        self.server.kill()  # its workers may outlive it, and would keep its log open
        raise ServingFailed(f"the server ended: {reason(self.log.text())}")


@contextlib.contextmanager
def running(
    models: Mapping[str, Served],
    ports: Ports,
    *,
    host: str = HOST,
    settings: Mapping[str, Any] | None = None,
    workers: int | None = None,
    timeout: float = 300,
    told: Callable[[str], object] = lambda name: None,
) -> Iterator[Running]:
    """Serve models for the block; then nothing is left of it.

    Args:
        models: What `gathering.gather` found.
        ports: What `choose_ports` chose.
        host: What it listens at.
        settings: MLServer's settings, such as `repository.server_settings` read.
        workers: How many parallel workers it has; by default none, or one where a model has an
            environment of its own.
        timeout: Seconds that all models together may take to be ready.
        told: Called with each model's name when it is ready.

    Raises:
        SettingsError: If a model needs a worker and there is to be none, or MLServer cannot read its
            settings.
        ServingFailed: If the server ends, or a model is not ready in time; with the reason.
    """
    stated = dict(settings or {})
    repository.refuse_unloaded(stated)
    count = repository.workers(models.values(), workers, stated.get("parallel_workers"))
    # What it listens at is never what an artifact brings.
    own = {"host": host, "parallel_workers": count, **ports.settings()}
    with contextlib.ExitStack() as stack:
        for port in ports:
            with contextlib.suppress(OSError):  # the server says who was quicker
                stack.enter_context(reserved(host, port))
        for model in models.values():
            repository.check(model.settings, model.folder)
        folder = tempfile.TemporaryDirectory(prefix="tempo-serve-", ignore_cleanup_errors=True)
        root = stack.enter_context(folder)
        repository.write(root, models.values(), {**repository.SERVER_DEFAULTS, **stated, **own})
        environ = repository.environment(models.values(), os.environ)
        grace = repository.seconds_to_end(models.values(), environ)
        started = LocalServer(root, ports, environ, subprocess.PIPE, host, grace=grace)
        stack.callback(started.stop)
        assert started.process.stdout is not None
        log = Log(started.process.stdout)
        try:
            for name in started.ready(models, timeout):
                told(name)
        except ServingFailed as error:
            started.stop()
            raise ServingFailed(f"{error}: {reason(log.text())}") from error
        yield Running(started, dict(models), log)


def choose_ports(
    host: str, http: int | None = None, grpc: int | None = None, metrics: int | None = None
) -> Ports:
    """Ports for a server.

    The one for HTTP is what everybody calls, so it is as asked, and 8080 by default. Of the others
    those that nobody asked for are MLServer's if they are free.

    Args:
        host: What the server listens at.
        http: Its port; 0 for a free one.
        grpc: Its port for gRPC; 0 for a free one.
        metrics: Its port for metrics; 0 for a free one.

    Raises:
        ServingFailed: If one that is asked for is taken; it names who has it. And if the host is IPv6.
    """
    if is_ipv6(host):
        raise ServingFailed(
            f"MLServer cannot listen at {host}, which is IPv6; choose an IPv4 address"
        )
    asked = Ports(http if http is not None else _USUAL.http, grpc or 0, metrics or 0)
    chosen = dict(zip(Ports._fields, asked))
    for name, port in chosen.items():
        why = refused(host, port) if port else None
        if why is None and port and list(chosen.values()).count(port) > 1:
            why = "is to be two of the server's ports"
        if why is not None:
            option = "--port" if name == "http" else f"--{name}-port"
            raise ServingFailed(f"port {port} of {host} {why}; choose another with {option}")
    if http != 0:
        for name, given in (("grpc", grpc), ("metrics", metrics)):
            usual: int = getattr(_USUAL, name)
            if given is None and usual not in chosen.values() and refused(host, usual) is None:
                chosen[name] = usual
    free = iter(free_ports(len(chosen)))
    return Ports(**{name: port or next(free) for name, port in chosen.items()})
