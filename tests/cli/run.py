"""The command line, as its user calls it."""

from __future__ import annotations

from click.testing import CliRunner

from tempo_runtime.cli import main


def run(*arguments: object, stdin: str | None = None) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `tempo-runtime ARGUMENTS`."""
    done = CliRunner().invoke(main, [str(each) for each in arguments], input=stdin)
    return done.exit_code, done.stdout, done.stderr
