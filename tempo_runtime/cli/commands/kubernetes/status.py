"""`tempo-runtime kubernetes status`, `wait` and `list`."""

from __future__ import annotations

from typing import Any

import click

from tempo_runtime.cli.commands.kubernetes.common import (
    EXIT_NO,
    address_of,
    name_argument,
    nothing_deployed,
    sentence,
    timeout_option,
)
from tempo_runtime.cli.options import echo_json, json_option, print_whole
from tempo_runtime.cli.platform_options import platform_options, where_options
from tempo_runtime.cli.terminal import echo

_COLOURS = {"ready": "green", "waiting": "yellow", "failed": "red", "gone": "red"}
_DIGEST = len("sha256:") + 12  # characters of a digest that a table shows


@click.command()
@name_argument
@where_options()
@json_option
@click.pass_context
def status(ctx: click.Context, /, name: str, as_json: bool, **given: Any) -> None:
    r"""Show whether a deployment is ready, and if not, why.

    NAME is the name of a pipeline or of a model it calls. The states are ready, waiting, failed and
    gone. The exit code is 0 if all are ready, and 3 if not.

    \b
    Examples:
        tempo-runtime kubernetes status income-check -n production
        tempo-runtime kubernetes status income-check -f production.yaml --json
    """
    from rich.markup import escape
    from rich.table import Table

    from tempo_runtime import kubernetes

    options = platform_options(given)
    statuses = kubernetes.status(name, options)
    unready = {model: progress for model, progress in statuses.items() if progress.state != "ready"}
    addresses = {model: address_of(model, options) for model in statuses}
    if as_json:
        echo_json(
            [
                {
                    "name": model,
                    "state": progress.state,
                    "reason": progress.reason,
                    "url": addresses[model][0],
                    "headers": addresses[model][1],
                }
                for model, progress in statuses.items()
            ]
        )
    else:
        table = Table(box=None, pad_edge=False)
        for heading in ("model", "state", "address"):
            table.add_column(heading)
        for model, progress in statuses.items():
            table.add_row(
                f"[bold]{escape(model)}[/]",
                _coloured(progress.state),
                escape(addresses[model][0]),
            )
        print_whole(table)
        for number, (model, progress) in enumerate(unready.items()):
            echo(("" if number else "\n") + sentence(model, progress.state, progress.reason))
    if unready:
        ctx.exit(EXIT_NO)


@click.command()
@name_argument
@where_options()
@timeout_option("How long to wait.")
def wait(name: str, timeout: float, **given: Any) -> None:
    r"""Wait until a deployment is ready.

    If one of its models fails or is not ready in time, the exit code is 1, and the message says why.

    \b
    Examples:
        tempo-runtime kubernetes wait income-check -n production --timeout 120
    """
    from tempo_runtime import kubernetes

    kubernetes.wait(name, platform_options(given), timeout=timeout)
    echo(f"{name} is ready")


@click.command("list")
@where_options()
@json_option
def list_(as_json: bool, **given: Any) -> None:
    r"""List the models that tempo-runtime deployed.

    It lists one namespace and one platform.

    \b
    Examples:
        tempo-runtime kubernetes list -n production
        tempo-runtime kubernetes list --platform kserve --json
    """
    from rich.markup import escape
    from rich.table import Table

    from tempo_runtime.deploy.kubernetes.listing import overview

    options = platform_options(given)
    models = overview(options)
    if as_json:
        echo_json(
            [
                {
                    "name": model.details.name,
                    "framework": model.details.platform.value,
                    "state": model.progress.state,
                    "reason": model.progress.reason,
                    "uri": model.details.uri,
                    "digest": model.digest or None,
                    "deployed_with": list(model.pipelines),
                }
                for model in models
            ]
        )
        return
    if not models:
        echo(nothing_deployed(options))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("model", "state", "framework", "digest", "deployed with", "uri"):
        table.add_column(heading)
    for model in models:
        table.add_row(
            f"[bold]{escape(model.details.name)}[/]",
            _coloured(model.progress.state),
            model.details.platform.value,
            escape(model.digest[:_DIGEST]),
            escape(", ".join(model.pipelines)),
            escape(model.details.uri),
        )
    print_whole(table)


def _coloured(state: str) -> str:
    return f"[{_COLOURS[state]}]{state}[/]"
