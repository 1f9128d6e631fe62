"""`tempo-runtime kubernetes deploy`, also known as `tempo-runtime deploy --to kubernetes`."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import click

from tempo_runtime.cli.commands.kubernetes.common import address_of, timeout_option
from tempo_runtime.cli.options import (
    complete_folders,
    echo_json,
    folder_or_object,
    json_option,
    print_whole,
)
from tempo_runtime.cli.platform_options import all_options, platform_options, where_words
from tempo_runtime.cli.terminal import echo

if TYPE_CHECKING:
    from tempo_runtime import RemoteModel
    from tempo_runtime.deploy.kubernetes.deployment import ClusterDeployment
    from tempo_runtime.deploy.kubernetes.manifests import RemotePlatform
    from tempo_runtime.servers.example_request import Example

# The options that decide at which address a model is called.
_PLACE = ("namespace", "ingress", "engine", "gateway", "knative", "headless")


@click.command()
@click.argument("target", metavar="ARTIFACT|MODULE:NAME", shell_complete=complete_folders)
@all_options
@timeout_option("How long to wait until all models are ready.")
@json_option
def deploy(target: str, timeout: float, as_json: bool, **given: Any) -> None:
    r"""Deploy a pipeline and wait until it is ready.

    The models it calls are deployed with it. The cluster downloads the uploaded artifact, so MODULE:NAME
    is refused if it has changed since its artifact was saved. Deploying again applies the changes. If
    the command fails or you stop it, the objects that it has applied stay, and the message names them.

    \b
    Examples:
        tempo-runtime kubernetes deploy shop:Check -n production --secret minio-secret
        tempo-runtime kubernetes deploy artifacts/check -f production.yaml
        tempo-runtime kubernetes deploy artifacts/check --platform kserve --set replicas=2
    """
    from tempo_runtime.kubernetes import deploy_remote

    options = platform_options(given)
    remote = deploy_remote(folder_or_object(target), options, timeout=timeout)
    with contextlib.closing(cast("ClusterDeployment", remote.deployment)):
        if as_json:
            _print_json(remote, options)
        else:
            _print_deployment(remote, options, target, where_words(given))


def _print_json(remote: RemoteModel, options: RemotePlatform) -> None:
    deployment = remote.deployment
    url, headers = address_of(deployment.name, options)
    echo_json(
        {
            "name": deployment.name,
            "id": deployment.id,
            "platform": deployment.target,
            "namespace": options.remote_options.namespace,
            "endpoint": url,
            "headers": headers,
            "models": [vars(model) for model in remote.status()],
        }
    )


def _print_deployment(
    remote: RemoteModel, options: RemotePlatform, target: str, where: list[str]
) -> None:
    from rich.markup import escape
    from rich.table import Table

    name = remote.deployment.name
    url, headers = address_of(name, options)
    needs = "".join(f", with the header {key}: {value}" for key, value in headers.items())
    print_whole(f"[green]✓[/] {escape(name)} is ready at [bold]{escape(url)}[/]{escape(needs)}\n")
    table = Table(box=None, pad_edge=False)
    for heading in ("model", "state", "address"):
        table.add_column(heading)
    for model in remote.status():
        table.add_row(f"[bold]{escape(model.name)}[/]", model.state, escape(model.url))
    print_whole(table)
    echo("\nCall it from Python:\n")
    folder = target if os.path.isdir(target) else remote.details.local_folder or ""
    for line in _calling(remote, options, folder):
        echo(line)
    echo("\nWatch it, and remove it:\n")
    for command in ("status", "logs", "undeploy"):
        echo(shlex.join(["tempo-runtime", "kubernetes", command, name, *where]))


def _calling(remote: RemoteModel, options: RemotePlatform, folder: str) -> Iterator[str]:
    """Write lines of Python that call the deployment from this machine."""
    from tempo_runtime.artifact import declaration
    from tempo_runtime.cli.calling import example_calls

    details, remote_options = remote.details, options.remote_options
    signature = details.signature
    inputs = declaration.metadata(signature)["inputs"] if signature is not None else []
    example, note = example_calls.example_of(details.name, folder, inputs, details.platform.value)
    arguments = _arguments(example)
    if note:
        yield note
    kind = type(options).__name__
    location = {
        key: getattr(remote_options, key)
        for key in _PLACE
        if key in remote_options.model_fields_set
    }
    yield f"from tempo_runtime import {kind}"
    yield "from tempo_runtime.kubernetes import get_client"
    yield ""
    settings = f"remote_options={location}" if location else ""
    yield f"options = {kind}({settings})"
    yield f"model = get_client({remote.deployment.name!r}, options)"
    if signature is not None and signature.streams:
        yield "# call model.stream(...) with its arguments"
    elif arguments is None:
        yield "# call model.predict(...) with its arguments"
    else:
        yield f"print(model.predict({arguments}))"


def _arguments(example: Example | None) -> str | None:
    """Write the arguments of an example in Python; None if they cannot be written."""
    if example is None or example.arguments is None:
        return None
    words = []
    for text in example.arguments[1::2]:
        name, _, value = text.partition("=")
        argument = json.loads(value)
        if not name.isidentifier() or not _is_finite(argument):
            return None
        words.append(f"{name}={argument!r}")
    return ", ".join(words)


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(map(_is_finite, inner))
