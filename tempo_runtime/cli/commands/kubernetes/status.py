"""`tempo-runtime kubernetes status`, `wait` and `list`."""

from __future__ import annotations

from typing import Any

import click

from tempo_runtime.cli.commands.kubernetes.common import (
    EXIT_NO,
    address_of,
    name_argument,
    nothing,
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
    r"""Show whether a deployment is ready, and why it is not.

    NAME is the pipeline's, or that of a model it calls. The states are ready, waiting, failed and
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
    found = kubernetes.status(name, options)
    unready = {model: each for model, each in found.items() if each.state != "ready"}
    places = {model: address_of(model, options) for model in found}
    if as_json:
        echo_json(
            [
                {
                    "name": model,
                    "state": each.state,
                    "reason": each.reason,
                    "url": places[model][0],
                    "headers": places[model][1],
                }
                for model, each in found.items()
            ]
        )
    else:
        table = Table(box=None, pad_edge=False)
        for heading in ("model", "state", "at"):
            table.add_column(heading)
        for model, each in found.items():
            table.add_row(
                f"[bold]{escape(model)}[/]",
                _coloured(each.state),
                escape(places[model][0]),
            )
        print_whole(table)
        for number, (model, each) in enumerate(unready.items()):
            echo(("" if number else "\n") + sentence(model, each.state, each.reason))
    if unready:
        ctx.exit(EXIT_NO)


@click.command()
@name_argument
@where_options()
@timeout_option("How long to wait.")
def wait(name: str, timeout: float, **given: Any) -> None:
    r"""Wait until a deployment is ready.

    If one of its models fails, or is not ready in time, the exit code is 1, and the message says why.

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
    found = overview(options)
    if as_json:
        echo_json(
            [
                {
                    "name": each.details.name,
                    "framework": each.details.platform.value,
                    "state": each.progress.state,
                    "reason": each.progress.reason,
                    "uri": each.details.uri,
                    "digest": each.digest or None,
                    "deployed_with": list(each.pipelines),
                }
                for each in found
            ]
        )
        return
    if not found:
        echo(nothing(options))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("model", "state", "framework", "digest", "with", "uri"):
        table.add_column(heading)
    for each in found:
        table.add_row(
            f"[bold]{escape(each.details.name)}[/]",
            _coloured(each.progress.state),
            each.details.platform.value,
            escape(each.digest[:_DIGEST]),
            escape(", ".join(each.pipelines)),
            escape(each.details.uri),
        )
    print_whole(table)


def _coloured(state: str) -> str:
    return f"[{_COLOURS[state]}]{state}[/]"
