"""Serve artifacts on this machine, from their folders to a server that is ready."""

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
from tempo_runtime.settings import ServerSettings

_USUAL = Ports(8080, 8081, 8082)  # MLServer's


@dataclass(frozen=True)
class Running:
    """A server whose models are ready.

    Attributes:
        server: Its process.
        models: The models that it serves, by name.
        log: Its output.
        root: The folder that it serves.
        page: URL of its page; None if it does not have one.
    """

    server: LocalServer
    models: dict[str, Served]
    log: Log
    root: str
    page: str | None = None

    def wait(self) -> None:
        """Wait until the server ends, which is always a failure.

        Raises:
            ServingFailed: When it has ended; the message says why.
        """
        self.server.process.wait()
        self.server.kill()  # its workers may outlive it and keep its log open
        raise ServingFailed(f"the server ended: {reason(self.log.text())}")


@contextlib.contextmanager
def running(
    models: Mapping[str, Served],
    ports: Ports,
    *,
    host: str = HOST,
    settings: Mapping[str, Any] | None = None,
    workers: int | None = None,
    page: bool | None = None,
    timeout: float = 300,
    on_ready: Callable[[str], object] = lambda name: None,
) -> Iterator[Running]:
    """Serve models until the block ends; then stop the server and clean up.

    Args:
        models: The result of `model_set.gather`.
        ports: The result of `choose_ports`.
        host: The address to listen on.
        settings: MLServer's settings, such as the result of `repository.server_settings`.
        workers: Number of parallel workers; by default 0, or 1 if a model has its own environment.
        page: Whether it has a page, as `repository.with_page` takes it; None for no page unless the
            environment asks for it.
        timeout: Seconds that all models together may take to be ready.
        on_ready: Called with each model's name when it is ready.

    Raises:
        SettingsError: If a model needs a worker but `workers` is 0, or MLServer cannot read its
            settings.
        ServingFailed: If the server ends, or a model is not ready in time; the message says why.
    """
    configured = dict(settings or {})
    repository.refuse_unloaded(configured)
    count = repository.workers(models.values(), workers, configured.get("parallel_workers"))
    # An artifact never decides the address to listen on.
    fixed = {"host": host, "parallel_workers": count, **ports.settings()}
    with contextlib.ExitStack() as stack:
        for port in ports:
            with contextlib.suppress(OSError):  # the server reports a port that was taken meanwhile
                stack.enter_context(reserved(host, port))
        for model in models.values():
            repository.check(model.settings, model.folder)
        folder = tempfile.TemporaryDirectory(prefix="tempo-serve-", ignore_cleanup_errors=True)
        root = stack.enter_context(folder)
        repository.write(
            root, models.values(), {**repository.SERVER_DEFAULTS, **configured, **fixed}
        )
        environ = repository.environment(models.values(), os.environ)
        if page is not None:
            environ = repository.with_page(environ, page, host)
        grace = repository.seconds_to_end(models.values(), environ)
        started = LocalServer(root, ports, environ, subprocess.PIPE, host, grace=grace)
        stack.callback(started.stop)
        assert started.process.stdout is not None
        log = Log(started.process.stdout)
        try:
            for name in started.ready(models, timeout):
                on_ready(name)
        except ServingFailed as error:
            started.stop()
            raise ServingFailed(f"{error}: {reason(log.text())}") from error
        has_page = ServerSettings.read(environ).page
        yield Running(started, dict(models), log, root, f"{started.url}/" if has_page else None)


def choose_ports(
    host: str, http: int | None = None, grpc: int | None = None, metrics: int | None = None
) -> Ports:
    """Choose the ports of a server.

    The port for HTTP is the one that callers use, so it is the requested one, or 8080. The others, unless
    requested, are MLServer's default ports if they are free.

    Args:
        host: The address to listen on.
        http: Port for HTTP; 0 for a free one.
        grpc: Port for gRPC; 0 for a free one.
        metrics: Port for metrics; 0 for a free one.

    Raises:
        ServingFailed: If a requested port is taken, or the host is IPv6.
    """
    if is_ipv6(host):
        raise ServingFailed(
            f"MLServer cannot listen on {host}, which is IPv6; choose an IPv4 address"
        )
    requested = Ports(http if http is not None else _USUAL.http, grpc or 0, metrics or 0)
    chosen = dict(zip(Ports._fields, requested))
    for name, port in chosen.items():
        why = refused(host, port) if port else None
        if why is None and port and list(chosen.values()).count(port) > 1:
            why = "was chosen for two of the server's ports"
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
