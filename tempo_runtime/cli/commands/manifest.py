"""`tempo-runtime manifest`."""

from __future__ import annotations

import shlex
from typing import Any

import click

from tempo_runtime.cli.options import complete_folders, folder_or_object
from tempo_runtime.cli.platform_options import all_options, platform_options
from tempo_runtime.errors import StorageError


@click.command()
@click.argument("target", metavar="ARTIFACT|MODULE:NAME", shell_complete=complete_folders)
@all_options
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(dir_okay=False), help="File to write."
)
@click.option(
    "--diff",
    "compare",
    is_flag=True,
    help="Show what would change on the current cluster, and change nothing.",
)
def manifest(target: str, output: str | None, compare: bool, **given: Any) -> None:
    r"""Write the Kubernetes manifest of a pipeline and its models.

    The target is the folder of an artifact, whose code is not run, or MODULE:NAME. No cluster is needed,
    except with --diff.

    \b
    Examples:
        tempo-runtime manifest artifacts/check --namespace production --secret minio-secret
        tempo-runtime manifest shop:Shop --platform kserve --set serviceAccountName=s3-reader
        tempo-runtime manifest artifacts/check --set maxReplicas=5 -o k8s/tempo.yaml
        tempo-runtime manifest artifacts/check --set 'models={"prices": {"replicas": 2}}'
        tempo-runtime manifest artifacts/check -f production.yaml
        tempo-runtime manifest artifacts/check --namespace production --diff
    """
    from tempo_runtime.deploy.kubernetes.manifests import manifest as manifest_text
    from tempo_runtime.lint import lint

    if compare and output is not None:
        raise click.UsageError("--diff writes no file; leave out --diff or --output")
    options = platform_options(given)
    model = folder_or_object(target)
    if compare:
        from tempo_runtime.kubernetes import diff

        click.echo(diff(model, options), nl=False)
        return
    text = manifest_text(model, options)
    findings = lint(text)
    if output is None:
        click.echo(text, nl=False)
    else:
        _write(output, text)
    if findings:
        rules = ", ".join(dict.fromkeys(finding.rule for finding in findings))
        click.echo(f"`tempo-runtime lint` reports: {rules}", err=True)
    if output is not None:
        click.echo(f"Apply it:  kubectl apply -f {shlex.quote(output)}", err=True)


def _write(output: str, text: str) -> None:
    try:
        with open(output, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise StorageError(f"{output} cannot be written: {error.strerror}") from error
