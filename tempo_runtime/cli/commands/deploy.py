"""`tempo-runtime deploy` and `undeploy`."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from tempo_runtime.cli.commands.kubernetes.deploy import deploy as on_cluster
from tempo_runtime.cli.options import (
    Seconds,
    complete_deployments,
    complete_folders,
    echo_json,
    folder_or_object,
    json_option,
    pair,
    print_whole,
    stale_option,
)
from tempo_runtime.cli.terminal import echo

if TYPE_CHECKING:
    from tempo_runtime import DockerOptions, LocalOptions, RemoteModel
    from tempo_runtime.artifact.freshness import Stale

_PORT = click.IntRange(0, 65535)
_CLUSTER = "kubernetes"


class _Deploy(click.Command):
    """The command `deploy`, which becomes `kubernetes deploy` if `--to kubernetes` is given."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Parse the arguments with the command that `--to` selects."""
        target_place, other_args = _place(args)
        try:
            if target_place != _CLUSTER:
                return super().make_context(info_name, args, parent, **extra)
            return on_cluster.make_context(info_name, other_args, parent, **extra)
        except click.NoSuchOption as error:
            other_command, to = (
                (self, "here") if target_place == _CLUSTER else (on_cluster, _CLUSTER)
            )
            if any(error.option_name in option.opts for option in other_command.params):
                raise click.UsageError(f"{error.option_name} needs --to {to}", error.ctx) from None
            raise


def _place(args: list[str]) -> tuple[str | None, list[str]]:
    """Split arguments into the last value of `--to`, if there is one, and the other arguments."""
    place: str | None = None
    other_args: list[str] = []
    words = iter(args)
    for word in words:
        if word == "--":
            return place, [*other_args, word, *words]
        if word == "--to":
            place = next(words, None)
        elif word.startswith("--to="):
            place = word.removeprefix("--to=")
        else:
            other_args.append(word)
    return place, other_args


@click.command(cls=_Deploy)
@click.argument("artifact", metavar="ARTIFACT|MODULE:NAME", shell_complete=complete_folders)
@click.option(
    "--to",
    type=click.Choice(["here", _CLUSTER]),
    default="here",
    show_default=True,
    expose_value=False,
    help="Where to deploy; `--to kubernetes` takes the options of `tempo-runtime kubernetes deploy`.",
)
@click.option("--name", help="Name of the deployment.  [default: the pipeline's name]")
@click.option("--docker", is_flag=True, help="Deploy containers instead of processes.")
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="[MODEL=]IMAGE",
    help="Image of all containers, or of one model's container.",
)
@click.option(
    "--transport",
    type=click.Choice(["http", "grpc"]),
    default="http",
    show_default=True,
    help="How the pipeline is called.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=_PORT,
    metavar="PORT",
    default=0,
    help="HTTP port of the pipeline's server.  [default: a free port]",
)
@click.option(
    "--grpc-port",
    type=_PORT,
    metavar="PORT",
    default=0,
    help="gRPC port of the pipeline's server.  [default: a free port]",
)
@click.option(
    "--env",
    "variables",
    multiple=True,
    metavar="KEY=VALUE",
    help="Environment variable of each server.",
)
@click.option(
    "--timeout",
    type=Seconds(),
    default=300,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait until the models are ready.",
)
@click.option(
    "--no-page",
    is_flag=True,
    help="Let no server have a page at / that shows its pipelines and calls them.",
)
@click.option(
    "--foreground",
    is_flag=True,
    help="Keep running, and undeploy on Ctrl-C or when a server ends.",
)
@stale_option
@json_option
def deploy(
    artifact: str,
    docker: bool,
    images: tuple[str, ...],
    variables: tuple[str, ...],
    no_page: bool,
    foreground: bool,
    stale: Stale,
    as_json: bool,
    **chosen: Any,
) -> None:
    r"""Deploy a pipeline and the models it calls on this machine.

    Each of them gets its own server. They run until `undeploy`. Deploying again under the same name
    replaces what has changed, without a failed request, and leaves the rest running. ARTIFACT is
    deployed as it is. MODULE:NAME is saved again if it has changed since its artifact was saved.

    \b
    Examples:
        tempo-runtime deploy artifacts/check
        tempo-runtime deploy shop:Check --docker --image tempo-runtime-server:0.1.0-explain
        tempo-runtime deploy artifacts/check --name trial --port 9000 --foreground
        tempo-runtime deploy artifacts/check --to kubernetes --namespace production
    """
    if images and not docker:
        raise click.UsageError("--image needs --docker")
    from tempo_runtime import deploy_local

    chosen["env"] = dict(pair(text, "--env") for text in variables)
    chosen["detached"], chosen["page"] = not foreground, not no_page
    target = folder_or_object(artifact)
    remote = deploy_local(target, _options(docker, images, chosen), stale=stale)
    if foreground:
        _stay(remote, as_json)
    else:
        _print_deployment(remote, as_json)


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, shell_complete=complete_deployments)
@click.option("--all", "everything", is_flag=True, help="Everything that was ever deployed here.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
def undeploy(names: tuple[str, ...], everything: bool, yes: bool) -> None:
    r"""Stop deployments on this machine.

    Requests in progress are answered first. NAME is the name or the id of a deployment.

    \b
    Examples:
        tempo-runtime undeploy income-check
        tempo-runtime undeploy --all
    """
    if not (names or everything):
        raise click.UsageError("name deployments, or give --all")
    if names and everything:
        raise click.UsageError("give names or --all, not both")
    from tempo_runtime.deploy.local import find

    candidates = find.deployments() if everything else map(find.get, names)
    chosen = list({deployment.id: deployment for deployment in candidates}.values())
    if everything and chosen and not yes and sys.stdin.isatty():
        listed = ", ".join(deployment.name for deployment in chosen)
        click.confirm(f"Undeploy {listed}?", abort=True)
    for deployment in chosen:
        deployment.undeploy()
        echo(f"Undeployed {deployment.name}")
    if not chosen:
        echo("Nothing is deployed here")


def _options(
    docker: bool, images: tuple[str, ...], chosen: dict[str, Any]
) -> LocalOptions | DockerOptions:
    from tempo_runtime import DockerOptions, LocalOptions

    if not docker:
        return LocalOptions(**chosen)
    for_all = [image for image in images if "=" not in image]
    if len(for_all) > 1:
        raise click.UsageError("--image without MODEL= can be given only once")
    by_model = dict(pair(image, "--image") for image in images if "=" in image)
    return DockerOptions(image=for_all[0] if for_all else None, images=by_model, **chosen)


def _print_deployment(remote: RemoteModel, as_json: bool) -> None:
    from rich.table import Table

    from tempo_runtime.cli.calling import example_calls

    deployment, models = remote.deployment, remote.status()
    if as_json:
        echo_json(
            {
                "name": deployment.name,
                "id": deployment.id,
                "endpoint": remote.endpoint,
                "models": [
                    {**vars(model), "change": remote.changes[model.name]} for model in models
                ],
            }
        )
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("model", "", "address", "runs as"):
        table.add_column(heading)
    for model in models:
        place = model.grpc if deployment.transport == "grpc" else model.url
        table.add_row(f"[bold]{model.name}[/]", remote.changes[model.name], place, model.place)
    print_whole(f"[green]✓[/] {deployment.name} is ready at [bold]{remote.endpoint}[/]\n")
    print_whole(table)
    main, details = deployment.main(), remote.details
    echo("\nCall it, and undeploy it:\n")
    for line in example_calls.lines(
        main.model,
        details.local_folder or "",
        _inputs(remote),
        main.url,
        deployment.name,
        details.platform.value,
    ):
        echo(line)
    echo(f"tempo-runtime undeploy {deployment.name}")


def _inputs(remote: RemoteModel) -> list[dict[str, Any]]:
    from tempo_runtime.artifact import declaration

    signature = remote.details.signature
    return declaration.metadata(signature)["inputs"] if signature is not None else []


def _stay(remote: RemoteModel, as_json: bool) -> None:
    from tempo_runtime.cli.commands.logs import follow

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with remote:
        _print_deployment(remote, as_json)
        sys.stdout.flush()
        follow(remote.deployment, None, 0, to_stderr=True, serving=True)
