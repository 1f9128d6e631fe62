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
    help="Only the last N lines of each pod.",
)
@click.option("-f", "--follow", "following", is_flag=True, help="Keep printing new lines.")
@click.option(
    "-p", "--previous", is_flag=True, help="Show the servers that ran before the current ones."
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
    r"""Show the logs of a deployment's pods.

    It shows the pods of a pipeline and of the models it calls, except the platform's own containers.
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
        raise click.UsageError(
            "--previous shows servers that have ended; leave out --previous or --follow"
        )
    with reading_logs(name, platform_options(given), child=model, pod=pod) as reading:
        printer = _Printer()
        if following:
            for log in reading.follow(lines):
                printer.show(log)
            return
        pod_logs = reading.read(lines, previous=previous)
        printer.make_room(pod_logs)
        for log in pod_logs:
            printer.show(log)
        if pod_logs and previous and not any(log.text for log in pod_logs):
            echo(f"no server of {name} ran before the current ones", err=True)
        if not pod_logs:
            words = ["tempo-runtime", "kubernetes", "status", name, *where_words(given)]
            echo(f"{name} has no pods; `{shlex.join(words)}` says why", err=True)


class _Printer:
    """Prints logs, and names the pod on each line."""

    def __init__(self) -> None:
        self._width = 0

    def make_room(self, logs: list[PodLog]) -> None:
        """Make the first column wide enough for these pods."""
        self._width = max([self._width, *(len(_label(log)) for log in logs)])

    def show(self, log: PodLog) -> None:
        """Print a pod's log, and the note about it."""
        self.make_room([log])
        for line in log.text.splitlines():
            click.echo(f"{_label(log):<{self._width}} | {printable_log(line)}")
        if log.note:
            echo(f"{_label(log)} {log.note}", err=True)


def _label(log: PodLog) -> str:
    return f"{','.join(log.models)}/{log.label}"
