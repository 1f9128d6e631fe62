"""`tempo-runtime logs`."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

import click

from tempo_runtime._util.printable import printable_log
from tempo_runtime.cli.options import complete_deployments

if TYPE_CHECKING:
    from tempo_runtime.deploy.deployment import Deployment

_POLL = 0.3  # seconds
_CHECK_EVERY = 10  # rounds: each model is asked then
_UNDEPLOYING = 3.0  # seconds that somebody's `undeploy` may take from the first server to the last


@click.command()
@click.argument("name", shell_complete=complete_deployments)
@click.option("--model", metavar="MODEL", help="Only of this model.")
@click.option("-n", "--lines", type=click.IntRange(0), metavar="N", help="Only the last lines.")
@click.option("-f", "--follow", "following", is_flag=True, help="Go on with what comes.")
def logs(name: str, model: str | None, lines: int | None, following: bool) -> None:
    r"""Show what the servers of a deployment have printed.

    \b
    Examples:
        tempo-runtime logs income-check -n 20
        tempo-runtime logs income-check --model income-forest --follow
    """
    from tempo_runtime.deploy.local import find
    from tempo_runtime.errors import DeploymentFailed

    deployment = find.get(name)
    known = [each.name for each in deployment.models()]
    if model is not None and model not in known:
        raise DeploymentFailed(f"{name} has no model {model!r}; it has {', '.join(known)}")
    if following:
        follow(deployment, model, lines)
    else:
        _show(deployment.logs(model), {}, lines)


def follow(
    deployment: Deployment,
    model: str | None,
    lines: int | None,
    *,
    to_stderr: bool = False,
    serving: bool = False,
) -> None:
    """Show a deployment's log as it grows, until it is undeployed.

    Args:
        deployment: The deployment.
        model: Whose log; None for all.
        lines: How many of those that are there already; None for all.
        to_stderr: Whether it goes to standard error.
        serving: Whether all of its servers are to run for that long.

    Raises:
        DeploymentFailed: If one of them has ended, with the reason.
    """
    shown = _show(deployment.logs(model), {}, lines, to_stderr)
    for round_ in itertools.count(1):
        if not deployment.up:
            return
        time.sleep(_POLL)
        shown = _show(deployment.logs(model), shown, None, to_stderr)
        if serving and round_ % _CHECK_EVERY == 0:
            _refuse_ended(deployment)


def _refuse_ended(deployment: Deployment) -> None:
    from tempo_runtime.errors import DeploymentFailed
    from tempo_runtime.servers.log import reason

    ended = next((each.name for each in deployment.models() if each.state == "ended"), None)
    if ended is None:
        return
    time.sleep(_UNDEPLOYING)
    why = reason(deployment.logs(ended).get(ended, "")).removeprefix(f"{ended}: ")
    if deployment.up:
        raise DeploymentFailed(f"{ended} has ended: {why}")


def _show(
    logs: dict[str, str], shown: dict[str, str], lines: int | None, to_stderr: bool = False
) -> dict[str, str]:
    """Print what is new, in whole lines; give what has been shown by then."""
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
            click.echo(prefix + printable_log(line), err=to_stderr)
    return seen
