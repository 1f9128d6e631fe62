"""`tempo-runtime serve`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from tempo_runtime.cli.options import (
    Seconds,
    complete_folders,
    echo_json,
    folder_or_object,
    json_option,
    stale_option,
)
from tempo_runtime.cli.terminal import console, echo

if TYPE_CHECKING:
    from tempo_runtime.artifact.freshness import Stale
    from tempo_runtime.cli.reload import Reloader
    from tempo_runtime.servers.repository import Served
    from tempo_runtime.servers.run import Running

_PORT = click.IntRange(0, 65535)


@click.command()
@click.argument(
    "artifacts",
    metavar="ARTIFACT|MODULE:NAME...",
    nargs=-1,
    required=True,
    shell_complete=complete_folders,
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=_PORT, metavar="PORT", help="HTTP port; 0 is a free port.  [default: 8080]"
)
@click.option(
    "--grpc-port",
    type=_PORT,
    metavar="PORT",
    help="gRPC port.  [default: 8081, or a free port]",
)
@click.option(
    "--metrics-port",
    type=_PORT,
    metavar="PORT",
    help="Port for metrics.  [default: 8082, or a free port]",
)
@click.option(
    "--workers", type=click.IntRange(0), metavar="N", help="Number of MLServer's parallel workers."
)
@click.option(
    "--in-process",
    is_flag=True,
    help="Run models in the process of their pipeline, and serve only the pipeline.",
)
@click.option(
    "--access-log",
    type=click.Choice(["text", "json", "off"]),
    help="Log one line for each request to a pipeline.  [default: text]",
)
@click.option(
    "--no-page", is_flag=True, help="Serve no page at / that shows the pipelines and calls them."
)
@click.option(
    "--timeout",
    type=Seconds(),
    default=300,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait until the models are ready.",
)
@click.option(
    "--reload", is_flag=True, help="Save and load MODULE:NAME again when its files change."
)
@stale_option
@json_option
@click.pass_context
def serve(
    context: click.Context,
    artifacts: tuple[str, ...],
    host: str,
    port: int | None,
    grpc_port: int | None,
    metrics_port: int | None,
    workers: int | None,
    in_process: bool,
    access_log: str | None,
    no_page: bool,
    timeout: float,
    reload: bool,
    stale: Stale,
    as_json: bool,
) -> None:
    r"""Serve artifacts and the models they call with MLServer.

    The server runs until Ctrl-C. ARTIFACT is served as it is. MODULE:NAME is saved again if it has
    changed since its artifact was saved; with --reload also while it is served, without a lost request.

    The same server serves the models that a pipeline calls, unless the settings say otherwise. Once all
    models are ready, the command prints the address of a page that shows and calls them, how to call them
    from a shell, and then the server's log.

    \b
    Examples:
        tempo-runtime serve artifacts/check
        tempo-runtime serve artifacts/check --in-process --port 9000
        tempo-runtime serve shop:Check --reload
        tempo-runtime serve shop:Check --stale refuse
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    from tempo_runtime._util.progress import shown
    from tempo_runtime.artifact import freshness, trust
    from tempo_runtime.servers import model_set, repository
    from tempo_runtime.servers.run import choose_ports, running

    if reload:
        _check_reload(artifacts, stale)
    targets = [folder_or_object(artifact) for artifact in artifacts]
    for target in targets:
        freshness.ensure(target, stale)
    first = (
        targets[0] if isinstance(targets[0], str) else targets[0].get_tempo().details.local_folder
    )
    settings = repository.server_settings(first, trust.TrustPolicy.of_environment())
    # With `debug`, MLServer has an access log as well.
    usual = "off" if settings.get("debug") else "text"

    def gather() -> dict[str, Served]:
        found = model_set.gather(targets, in_process=in_process)
        return {
            name: repository.with_access_log(model, access_log, usual)
            for name, model in found.items()
        }

    models = gather()
    if reload and any(model.digests for model in models.values()):
        raise click.UsageError(
            "--reload saves artifacts again, which changes the digests that are demanded"
        )
    reloader = _reloader(artifacts, targets, gather, timeout) if reload else None
    ports = choose_ports(host, port, grpc_port, metrics_port)
    with shown("Starting MLServer", total=len(models)) as advance:
        serving = running(
            models,
            ports,
            host=host,
            settings=settings,
            workers=workers,
            page=not no_page,
            timeout=timeout,
            on_ready=lambda name: advance(1),
        )
        up = context.with_resource(serving)
    if as_json:
        _show_for_machines(up)
    else:
        _show(up)
    up.log.pass_on(sys.stderr.buffer)
    if reloader is not None:
        reloader.watch(up)
    up.wait()


def _check_reload(artifacts: tuple[str, ...], stale: Stale) -> None:
    if stale == "refuse":
        raise click.UsageError("--reload saves what has changed, and --stale refuse refuses it")
    if not any(":" in artifact and not os.path.isdir(artifact) for artifact in artifacts):
        raise click.UsageError(
            "--reload follows the files of MODULE:NAME, and a folder has none; give MODULE:NAME"
        )
    # Two edits within a second may leave bytecode of the first that passes for the second's.
    sys.dont_write_bytecode = True


def _reloader(
    artifacts: tuple[str, ...],
    targets: list[Any],
    gather: Callable[[], Mapping[str, Served]],
    timeout: float,
) -> Reloader:
    from tempo_runtime.cli.reload import Reloader

    def tell(text: str, failed: bool) -> None:
        click.secho("✗ " if failed else "✓ ", fg="red" if failed else "green", nl=False, err=True)
        echo(text, err=True)

    pipelines = {
        name: target for name, target in zip(artifacts, targets) if not isinstance(target, str)
    }
    return Reloader(pipelines, gather, timeout, tell)


def _show(up: Running) -> None:
    from rich.markup import escape
    from rich.table import Table

    from tempo_runtime.cli.calling import example_calls

    server = up.server
    table = Table(box=None, pad_edge=False)
    for heading in ("model", "from", "calls"):
        table.add_column(heading, overflow="fold")
    for model in up.models.values():
        calls = "\n".join(f"{alias}: {child}" for alias, child in model.calls.items())
        place = _short(model.folder) + (", with its environment" if model.packed else "")
        table.add_row(f"[bold]{escape(model.name)}[/]", escape(place), escape(calls))
    shown = console()
    shown.print(f"[green]✓[/] MLServer is ready at [bold]{server.url}[/]")
    shown.print(f"  gRPC at {server.grpc}, metrics at {server.metrics}\n")
    shown.print(table)
    if up.page is not None:
        shown.print(f"\nOpen its page in a browser: [bold]{up.page}[/]")
    shown.print("\nCall it from another shell:")
    for model in up.models.values():
        echo("")
        inputs = model.settings.get("inputs") or []
        target = f"{server.url}/v2/models/{model.name}"
        implementation = model.settings.get("implementation")
        for line in example_calls.lines(
            model.name, model.place, inputs, server.url, target, implementation
        ):
            echo(line)  # not through rich, which would wrap it
    shown.print("\n[bold]Ctrl-C stops the server.[/] This is its log:")


def _show_for_machines(up: Running) -> None:
    server = up.server
    places = {"url": server.url, "grpc": server.grpc, "metrics": server.metrics, "page": up.page}
    echo_json({**places, "models": {name: model.calls for name, model in up.models.items()}})
    sys.stdout.flush()


def _short(folder: str) -> str:
    return min(folder, os.path.relpath(folder), key=len)
