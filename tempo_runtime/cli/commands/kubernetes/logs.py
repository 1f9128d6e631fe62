"""`tempo-runtime kubernetes logs`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from tempo_runtime._util.printable import printable_log
from tempo_runtime.cli.commands.kubernetes.common import name_argument
from tempo_runtime.cli.platform_options import platform_options, where_options, where_words
from tempo_runtime.cli.terminal import echo

if TYPE_CHECKING:
    from tempo_runtime.deploy.kubernetes.pod_logs import PodLog

_LINES = 1000


@click.command()
@name_argument
@click.option("--model", metavar="MODEL", help="Only the pods of this model.")
@click.option("--pod", metavar="POD", help="Only this pod; the end of its name is enough.")
@click.option(
    "--lines",
    "--tail",
    type=click.IntRange(0),
    default=_LINES,
    show_default=True,
    metavar="N",
    help="Only the last lines of each pod.",
)
@click.option("-f", "--follow", "following", is_flag=True, help="Go on with new lines.")
@click.option(
    "-p", "--previous", is_flag=True, help="Show the servers that ended before the running ones."
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
    r"""Show what the pods of a deployment have printed.

    It shows the pods of a pipeline and of the models it calls, without the platform's own containers.
    Each line begins with the model and the end of the pod's name. Notes about pods that have not
    started or have ended go to standard error.

    \b
    Examples:
        tempo-runtime kubernetes logs income-check -n production --lines 20
        tempo-runtime kubernetes logs income-check --model income-forest --follow
        tempo-runtime kubernetes logs income-check --pod x2x4q --previous
    """
    from tempo_runtime.deploy.kubernetes.deploy import reading_logs

    if following and previous:
        raise click.UsageError("--previous shows servers that have ended; leave it or --follow out")
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
        if found and previous and not any(each.text for each in found):
            echo(f"no server of {name} has ended before the running ones", err=True)
        if not found:
            words = ["tempo-runtime", "kubernetes", "status", name, *where_words(given)]
            echo(f"{name} has no pods; `{shlex.join(words)}` says why", err=True)


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
