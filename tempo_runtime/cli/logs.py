"""`tempo-runtime logs`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from tempo_runtime.cli.options import complete_deployments

if TYPE_CHECKING:
    from tempo_runtime.deploy.deployment import Deployment

_POLL = 0.3  # seconds


@click.command()
@click.argument("name", shell_complete=complete_deployments)
@click.option("--model", metavar="MODEL", help="Only of this model.")
@click.option("-n", "--lines", type=click.IntRange(0), metavar="N", help="Only the last lines.")
@click.option("-f", "--follow", "following", is_flag=True, help="Go on with what comes.")
def logs(name: str, model: str | None, lines: int | None, following: bool) -> None:
    r"""Shows what the servers of a deployment have printed.

    \b
    Examples:
        tempo-runtime logs income-check -n 20
        tempo-runtime logs income-check --model income-forest --follow
    """
    from tempo_runtime.deploy import found
    from tempo_runtime.errors import DeploymentFailed

    deployment = found.one(name)
    known = [each.name for each in deployment.models()]
    if model is not None and model not in known:
        raise DeploymentFailed(f"{name} has no model {model!r}; it has {', '.join(known)}")
    if following:
        follow(deployment, model, lines)
    else:
        _show(deployment.logs(model), {}, lines)


def follow(
    deployment: Deployment, model: str | None, lines: int | None, *, to_stderr: bool = False
) -> None:
    """Shows a deployment's log as it grows, until it is undeployed."""
    shown = _show(deployment.logs(model), {}, lines, to_stderr)
    while deployment.up:
        time.sleep(_POLL)
        shown = _show(deployment.logs(model), shown, None, to_stderr)


def _show(
    logs: dict[str, str], shown: dict[str, str], lines: int | None, to_stderr: bool = False
) -> dict[str, str]:
    """Prints what is new, in whole lines; gives what has been shown by then."""
    seen = {}
    width = max(map(len, logs), default=0)
    for name, text in logs.items():
        whole = text[: text.rfind("\n") + 1]
        before = shown.get(name, "")
        # Of a server that was replaced the log begins anew.
        new = whole[len(before) :] if whole.startswith(before) else whole
        seen[name] = whole
        printed = new.splitlines()
        for line in (
            printed if lines is None else printed[len(printed) - min(lines, len(printed)) :]
        ):
            prefix = f"{name:<{width}} | " if len(logs) > 1 else ""
            click.echo(prefix + line, err=to_stderr)
    return seen
