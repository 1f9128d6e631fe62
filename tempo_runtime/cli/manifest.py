"""`tempo-runtime manifest`."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from tempo_runtime.cli.options import complete_folders, imported, pair
from tempo_runtime.errors import StorageError

if TYPE_CHECKING:
    from tempo_runtime.deploy.manifests import RemotePlatform

_PLATFORMS = {
    "seldon": "SeldonCoreOptions",
    "seldon2": "Seldon2Options",
    "kserve": "KServeOptions",
}
# What has an option of its own, by its names for --set.
_OWN = {
    "namespace": "--namespace",
    "auth_secret_name": "--secret",
    "authSecretName": "--secret",
    "image": "--image",
}


@click.command()
@click.argument("target", metavar="ARTEFACT|MODULE:NAME", shell_complete=complete_folders)
@click.option(
    "--platform",
    type=click.Choice(list(_PLATFORMS)),
    default="seldon",
    show_default=True,
    help="Seldon Core v1, Seldon Core 2, or KServe.",
)
@click.option("-n", "--namespace", metavar="NAME", help="Where it is deployed.  [default: default]")
@click.option(
    "--secret", metavar="NAME", help="Secret with rclone's settings, for downloads of artefacts."
)
@click.option("--image", metavar="IMAGE", help="Image of each server.")
@click.option(
    "--set",
    "more",
    metavar="KEY=VALUE",
    multiple=True,
    help="Any other option of the platform; VALUE is JSON, or text.",
)
@click.option("-o", "--output", metavar="FILE", type=click.Path(dir_okay=False), help="Where to.")
@click.option(
    "--diff",
    "compare",
    is_flag=True,
    help="Show what would change on the current cluster, which is asked and not changed.",
)
def manifest(
    target: str,
    platform: str,
    namespace: str | None,
    secret: str | None,
    image: str | None,
    more: tuple[str, ...],
    output: str | None,
    compare: bool,
) -> None:
    r"""Writes the objects that deploy a pipeline, and the models it calls, on Kubernetes.

    The target is the folder of an artefact, of which nothing is run, or MODULE:NAME. No cluster is asked,
    but with --diff.

    \b
    Examples:
        tempo-runtime manifest artifacts/check --namespace production --secret minio-secret
        tempo-runtime manifest shop:Shop --platform kserve --set serviceAccountName=s3-reader
        tempo-runtime manifest artifacts/check --set maxReplicas=5 -o k8s/tempo.yaml
        tempo-runtime manifest artifacts/check --set 'models={"prices": {"replicas": 2}}'
        tempo-runtime manifest artifacts/check --namespace production --diff
    """
    from tempo_runtime.deploy.lint import lint
    from tempo_runtime.deploy.manifests import manifest as written

    if compare and output is not None:
        raise click.UsageError("--diff writes no file; leave one of --diff and --output out")
    stated = {"namespace": namespace, "auth_secret_name": secret, "image": image}
    remote = {name: value for name, value in stated.items() if value is not None}
    options = _options(platform, _both(remote, dict(map(_setting, more))))
    model = target if os.path.isdir(target) else imported(target)
    if compare:
        from tempo_runtime.deploy.cluster.deploying import diff

        click.echo(diff(model, options), nl=False)
        return
    text = written(model, options)
    findings = lint(text)
    if output is None:
        click.echo(text, nl=False)
    else:
        _write(output, text)
    if findings:
        rules = ", ".join(dict.fromkeys(each.rule for each in findings))
        click.echo(f"`tempo-runtime lint` has to say: {rules}", err=True)


def _write(output: str, text: str) -> None:
    try:
        with open(output, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise StorageError(f"{output} cannot be written: {error.strerror}") from error


def _options(platform: str, remote: dict[str, Any]) -> RemotePlatform:
    from tempo_runtime.deploy.manifests import options

    found: RemotePlatform = getattr(options, _PLATFORMS[platform])(remote_options=remote)
    return found


def _both(stated: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """What options of their own say, and what --set does; each once."""
    given = {_OWN[name] for name in stated}
    for key in more:
        if _OWN.get(key) in given:
            raise click.UsageError(f"{_OWN[key]} and --set {key} are both given; leave one out")
    return {**stated, **more}


def _setting(text: str) -> tuple[str, Any]:
    key, value = pair(text, "--set")
    try:
        return key, json.loads(value)
    except ValueError:
        if value[:1] in ("{", "["):
            raise click.BadParameter(f"{key}: its value is no JSON", param_hint="--set") from None
        return key, value
