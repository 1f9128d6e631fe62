"""`tempo-runtime kubernetes`: what `tempo_runtime.kubernetes` does, from a shell."""

from __future__ import annotations

import click

from tempo_runtime.cli.commands.kubernetes.deploy import deploy
from tempo_runtime.cli.commands.kubernetes.diff import diff
from tempo_runtime.cli.commands.kubernetes.logs import logs
from tempo_runtime.cli.commands.kubernetes.status import list_, status, wait
from tempo_runtime.cli.commands.kubernetes.undeploy import undeploy


@click.group()
def kubernetes() -> None:
    """Deploy pipelines on a cluster and watch them.

    The cluster is that of the current context in the kubeconfig: the file that KUBECONFIG names, or
    ~/.kube/config. Give each command the same platform and namespace as `deploy`.
    """


for command in (deploy, status, wait, logs, list_, diff, undeploy):
    kubernetes.add_command(command)
