"""`tempo-runtime kubernetes diff`."""

from __future__ import annotations

from typing import Any

import click

from tempo_runtime.cli.commands.kubernetes.common import EXIT_NO
from tempo_runtime.cli.options import complete_folders, folder_or_object
from tempo_runtime.cli.platform_options import all_options, platform_options
from tempo_runtime.cli.terminal import echo


@click.command()
@click.argument("target", metavar="ARTIFACT|MODULE:NAME", shell_complete=complete_folders)
@all_options
@click.pass_context
def diff(ctx: click.Context, /, target: str, **given: Any) -> None:
    r"""Show what `deploy` would change or delete, and change nothing.

    The exit code is 0 if nothing would change, and 3 if something would.

    \b
    Examples:
        tempo-runtime kubernetes diff artifacts/check -n production
    """
    from tempo_runtime import kubernetes

    options = platform_options(given)
    difference = kubernetes.diff(folder_or_object(target), options)
    echo(difference, nl=False)
    if difference:
        ctx.exit(EXIT_NO)
