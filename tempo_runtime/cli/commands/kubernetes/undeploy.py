"""`tempo-runtime kubernetes undeploy`."""

from __future__ import annotations

import sys
from typing import Any

import click

from tempo_runtime.cli.commands.kubernetes.common import (
    complete_models,
    nothing_deployed,
    timeout_option,
)
from tempo_runtime.cli.platform_options import platform_options, where_options
from tempo_runtime.cli.terminal import echo


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, shell_complete=complete_models)
@click.option(
    "--all", "everything", is_flag=True, help="Everything that was deployed in the namespace."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation of --all.")
@where_options()
@timeout_option("How long to wait until they are gone.")
def undeploy(
    names: tuple[str, ...], everything: bool, yes: bool, timeout: float, **given: Any
) -> None:
    r"""Delete deployments and wait until they are gone.

    The models that were deployed with a pipeline are deleted too, unless another pipeline was deployed
    with them.

    \b
    Examples:
        tempo-runtime kubernetes undeploy income-check -n production
        tempo-runtime kubernetes undeploy --all -n trial
    """
    if not (names or everything):
        raise click.UsageError("name models, or give --all")
    if names and everything:
        raise click.UsageError("give names or --all, not both")
    if everything and not (yes or sys.stdin.isatty()):
        raise click.UsageError("--all asks first, but standard input is not a terminal; add --yes")
    from tempo_runtime import kubernetes
    from tempo_runtime.deploy.kubernetes.listing import deployed_names
    from tempo_runtime.errors import DeploymentFailed

    options = platform_options(given)
    space = options.remote_options.namespace
    known = deployed_names(options, among=names)
    chosen = list(known) if everything else list(dict.fromkeys(names))
    if everything and not chosen:
        echo(nothing_deployed(options))
    elif everything and not yes:
        click.confirm(f"Undeploy {', '.join(chosen)} in {space}?", abort=True)
    for name in chosen:
        deleted = kubernetes.undeploy(name, options, timeout=timeout)
        if deleted:
            echo(f"Undeployed {', '.join(deleted)}")
    kept = {} if everything else deployed_names(options)
    for name in chosen:
        if others := " and ".join(sorted(kept.get(name, ()))):
            raise DeploymentFailed(
                f"{name} stays, because it was deployed with {others} as well; to remove it, undeploy "
                f"{others}"
            )
