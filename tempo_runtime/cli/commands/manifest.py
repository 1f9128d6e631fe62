"""`tempo-runtime manifest`."""

from __future__ import annotations

from typing import Any

import click

from tempo_runtime.cli.options import complete_folders, folder_or_object
from tempo_runtime.cli.platform_options import all_options, platform_options
from tempo_runtime.errors import StorageError


@click.command()
@click.argument("target", metavar="ARTIFACT|MODULE:NAME", shell_complete=complete_folders)
@all_options
@click.option("-o", "--output", metavar="FILE", type=click.Path(dir_okay=False), help="Where to.")
@click.option(
    "--diff",
    "compare",
    is_flag=True,
    help="Show what would change on the current cluster, which is asked and not changed.",
)
def manifest(target: str, output: str | None, compare: bool, **given: Any) -> None:
    r"""Write the objects that deploy a pipeline, and the models it calls, on Kubernetes.

    The target is the folder of an artifact, of which nothing is run, or MODULE:NAME. No cluster is asked,
    but with --diff.

    \b
    Examples:
        tempo-runtime manifest artifacts/check --namespace production --secret minio-secret
        tempo-runtime manifest shop:Shop --platform kserve --set serviceAccountName=s3-reader
        tempo-runtime manifest artifacts/check --set maxReplicas=5 -o k8s/tempo.yaml
        tempo-runtime manifest artifacts/check --set 'models={"prices": {"replicas": 2}}'
        tempo-runtime manifest artifacts/check -f production.yaml
        tempo-runtime manifest artifacts/check --namespace production --diff
    """
    from tempo_runtime.deploy.kubernetes.manifests import manifest as written
    from tempo_runtime.lint import lint

    if compare and output is not None:
        raise click.UsageError("--diff writes no file; leave one of --diff and --output out")
    options = platform_options(given)
    model = folder_or_object(target)
    if compare:
        from tempo_runtime.kubernetes import diff

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
