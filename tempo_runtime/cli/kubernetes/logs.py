"""`tempo-runtime kubernetes logs`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tempo_runtime.cli.kubernetes.common import name_argument
from tempo_runtime.cli.platform_options import platform_options, where_options
from tempo_runtime.cli.terminal import echo
from tempo_runtime.printable import printable_log

if TYPE_CHECKING:
    from tempo_runtime.deploy.cluster.pod_logs import PodLog

_LINES = 1000


@click.command()
@name_argument
@click.option("--model", metavar="MODEL", help="Only of this model's pods.")
@click.option("--pod", metavar="POD", help="Only of this pod; the end of its name will do.")
@click.option(
    "--lines",
    "--tail",
    type=click.IntRange(0),
    default=_LINES,
    show_default=True,
    metavar="N",
    help="Only the last lines of each pod.",
)
@click.option("-f", "--follow", "following", is_flag=True, help="Go on with what comes.")
@click.option(
    "-p", "--previous", is_flag=True, help="Of the servers that ended before those that run now."
)
@where_options(short=False)
def logs(
    name: str,
    model: str | None,
    pod: str | None,
    lines: int,
    following: bool,
    previous: bool,
    **given: Any,
) -> None:
    r"""Shows what the pods of a deployment have printed.

    They are those of a pipeline and of the models it calls. Each line begins with the model and the
    end of the pod's name. The platform's own containers are left out. That a pod has ended, or has not
    started, goes to standard error.

    \b
    Examples:
        tempo-runtime kubernetes logs income-check -n production --lines 20
        tempo-runtime kubernetes logs income-check --model income-forest --follow
        tempo-runtime kubernetes logs income-check --pod x2x4q --previous
    """
    from tempo_runtime.deploy.cluster.deploying import reading_logs

    if following and previous:
        raise click.UsageError("a server that has ended prints nothing; leave out one of -f and -p")
    with reading_logs(name, platform_options(given), child=model, pod=pod) as reading:
        printer = _Printer()
        if following:
            for each in reading.follow(lines):
                printer.show(each)
            return
        found = reading.read(lines, previous=previous)
        printer.make_room(found)
        for each in found:
            printer.show(each)
        if not found:
            echo(f"{name} has no pods; `tempo-runtime kubernetes status {name}` says why", err=True)


class _Printer:
    """Prints logs, each line with its pod."""

    def __init__(self) -> None:
        self._width = 0

    def make_room(self, logs: list[PodLog]) -> None:
        """Make the first column wide enough for these pods."""
        self._width = max([self._width, *(len(_label(each)) for each in logs)])

    def show(self, log: PodLog) -> None:
        """Print a pod's log, and what there is to know of it."""
        self.make_room([log])
        for line in log.text.splitlines():
            click.echo(f"{_label(log):<{self._width}} | {printable_log(line)}")
        if log.note:
            echo(f"{_label(log)} {log.note}", err=True)


def _label(log: PodLog) -> str:
    return f"{','.join(log.models)}/{log.label}"
