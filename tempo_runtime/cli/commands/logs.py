"""`tempo-runtime logs`."""

from __future__ import annotations

import itertools
import re
import time
from operator import itemgetter
from typing import TYPE_CHECKING

import click

from tempo_runtime._util.printable import printable_log
from tempo_runtime.cli.options import complete_deployments

if TYPE_CHECKING:
    from tempo_runtime.deploy.deployment import Deployment

_POLL = 0.3  # seconds
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(,\d+)?")  # at the start of MLServer's lines
_CHECK_EVERY = 10  # rounds between checks that all servers still run
_UNDEPLOYING = 3.0  # seconds that somebody's `undeploy` may take from the first server to the last


@click.command()
@click.argument("name", shell_complete=complete_deployments)
@click.option("--model", metavar="MODEL", help="Only the log of this model.")
@click.option("-n", "--lines", type=click.IntRange(0), metavar="N", help="Only the last N lines.")
@click.option("-f", "--follow", "following", is_flag=True, help="Keep printing new lines.")
def logs(name: str, model: str | None, lines: int | None, following: bool) -> None:
    r"""Show the logs of a deployment's servers.

    \b
    Examples:
        tempo-runtime logs income-check -n 20
        tempo-runtime logs income-check --model income-forest --follow
    """
    from tempo_runtime.deploy.local import find
    from tempo_runtime.errors import DeploymentFailed

    deployment = find.get(name)
    known = [status.name for status in deployment.models()]
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
        model: The model whose log to show; None for all.
        lines: How many of the existing lines to show first; None for all.
        to_stderr: Whether to print to standard error.
        serving: Whether all servers must keep running meanwhile.

    Raises:
        DeploymentFailed: If one of them has ended; the message says why.
    """
    shown = _show(deployment.logs(model), {}, lines, to_stderr)
    for round_ in itertools.count(1):
        if not deployment.up:
            return
        time.sleep(_POLL)
        shown = _show(deployment.logs(model), shown, None, to_stderr)
        if serving and round_ % _CHECK_EVERY == 0:
            _fail_if_ended(deployment)


def _fail_if_ended(deployment: Deployment) -> None:
    from tempo_runtime.errors import DeploymentFailed
    from tempo_runtime.servers.log import reason

    ended = next((status.name for status in deployment.models() if status.state == "ended"), None)
    if ended is None:
        return
    time.sleep(_UNDEPLOYING)
    why = reason(deployment.logs(ended).get(ended, "")).removeprefix(f"{ended}: ")
    if deployment.up:
        raise DeploymentFailed(f"{ended} has ended: {why}")


def _show(
    logs: dict[str, str], shown: dict[str, str], lines: int | None, to_stderr: bool = False
) -> dict[str, str]:
    """Print new lines that are complete, by time, and return all that has been shown of each log."""
    seen = {}
    width = max(map(len, logs), default=0)
    timed: list[tuple[str, str]] = []
    for name, text in logs.items():
        whole = text[: text.rfind("\n") + 1]
        before = shown.get(name, "")
        # The log of a replaced server starts again.
        new = whole[len(before) :] if whole.startswith(before) else whole
        seen[name] = whole
        printed = new.splitlines()
        if lines is not None:
            printed = printed[len(printed) - min(lines, len(printed)) :]
        prefix = f"{name:<{width}} | " if len(logs) > 1 else ""
        now = ""
        for line in printed:
            # A line without a time, as of a traceback, belongs to the line above it.
            if found := _TIME.match(line):
                now = found[0]
            timed.append((now, prefix + printable_log(line)))
    for _, line in sorted(timed, key=itemgetter(0)):
        click.echo(line, err=to_stderr)
    return seen
