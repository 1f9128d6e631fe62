"""The command `tempo-runtime`. It is thin: it parses arguments, calls the package, and prints.

Each command is a module. It imports only light modules such as click at its top, and the others where
they are used, so that `--help` and completion answer at once.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from tempo_runtime import __version__
from tempo_runtime._util.printable import printable
from tempo_runtime.cli import terminal
from tempo_runtime.cli.commands.check import check
from tempo_runtime.cli.commands.completion import completion
from tempo_runtime.cli.commands.deploy import deploy, undeploy
from tempo_runtime.cli.commands.doctor import doctor
from tempo_runtime.cli.commands.explain import explain
from tempo_runtime.cli.commands.graph import graph
from tempo_runtime.cli.commands.image import image
from tempo_runtime.cli.commands.init import init
from tempo_runtime.cli.commands.inspect import inspect
from tempo_runtime.cli.commands.kubernetes import kubernetes
from tempo_runtime.cli.commands.lint import lint
from tempo_runtime.cli.commands.logs import logs
from tempo_runtime.cli.commands.manifest import manifest
from tempo_runtime.cli.commands.openapi import openapi
from tempo_runtime.cli.commands.predict import predict
from tempo_runtime.cli.commands.ps import ps
from tempo_runtime.cli.commands.save import save
from tempo_runtime.cli.commands.serve import serve
from tempo_runtime.cli.commands.storage import download, upload
from tempo_runtime.errors import DeadlineExceeded


class _Group(click.Group):
    """The group of all commands, whose help lists them by task."""

    _late = False  # whether a call that ran out of time was abandoned

    def main(self, *args: Any, **options: Any) -> Any:
        try:
            return super().main(*args, **options)
        except SystemExit as ended:
            if self._late and not (args or options):  # run as a program
                terminal.leave(ended.code)
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for task, commands in TASKS.items():
            with formatter.section(task):
                formatter.write_dl(
                    [(str(each.name), each.get_short_help_str(limit=200)) for each in commands]
                )

    def invoke(self, ctx: click.Context) -> Any:
        terminal.escape_warnings()
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            vars(error)["message"] = printable(error.message)
            raise
        except (click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt as stopped:
            applied = str(stopped)  # by an interrupted deployment
            terminal.echo(f"Stopped; {applied}" if applied else "Stopped.", err=True)
            sys.exit(130)
        except Exception as error:
            self._late = isinstance(error, DeadlineExceeded)
            terminal.fail(error)
            sys.exit(1)


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)
@click.version_option(__version__, prog_name="tempo-runtime")
@click.pass_context
def main(context: click.Context) -> None:
    """Build, serve and deploy pipelines of models.

    Without a command, it says what to do next in this folder.

    Exit codes: 0 success; 1 failure, and the message says why; 2 wrong usage; 3 a model is not ready,
    or something would change (`kubernetes status` and `diff`); 130 stopped by Ctrl-C. Set
    TEMPO_RUNTIME_DEBUG=1 to see the traceback of an error.
    """
    if context.invoked_subcommand is None:
        _show_next()


def _show_next() -> None:
    from pathlib import Path

    from tempo_runtime.cli.next_steps import steps

    terminal.echo("Build, serve and deploy pipelines of models. Next in this folder:\n")
    for step in steps(Path()):
        terminal.echo(f"  {step.command}\n      {step.reason}")
    terminal.echo("\n`tempo-runtime --help` lists all commands.")


TASKS: dict[str, tuple[click.Command, ...]] = {
    "Write": (init, save, check, upload, download),
    "Run": (serve, predict, explain),
    "Deploy": (deploy, undeploy, image, kubernetes, openapi, manifest, lint),
    "Look": (inspect, graph, ps, logs, doctor, completion),
}
COMMANDS = tuple(command for commands in TASKS.values() for command in commands)


def _mark_lines(command: click.Command) -> None:
    r"""Replace `\b` in a raw docstring with the character that keeps click from rewrapping lines."""
    command.help = (command.help or "").replace("\\b\n", "\b\n")
    for subcommand in command.commands.values() if isinstance(command, click.Group) else ():
        _mark_lines(subcommand)


for command in COMMANDS:
    _mark_lines(command)
    main.add_command(command)
