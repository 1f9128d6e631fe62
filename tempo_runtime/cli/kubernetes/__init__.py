"""`tempo-runtime kubernetes`: what `tempo_runtime.kubernetes` does, from a shell."""

from __future__ import annotations

import click

from tempo_runtime.cli.kubernetes.deploy import deploy
from tempo_runtime.cli.kubernetes.diff import diff
from tempo_runtime.cli.kubernetes.logs import logs
from tempo_runtime.cli.kubernetes.status import list_, status, wait
from tempo_runtime.cli.kubernetes.undeploy import undeploy


@click.group()
def kubernetes() -> None:
    """Deploys pipelines on a cluster, and shows how they get on.

    The cluster is that of the current context: of the kubeconfig that KUBECONFIG names, or of
    ~/.kube/config. Where a command is told something other than the default platform or namespace,
    tell it to the others as well.
    """


for command in (deploy, status, wait, logs, list_, diff, undeploy):
    kubernetes.add_command(command)
