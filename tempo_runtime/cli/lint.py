"""`tempo-runtime lint`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from tempo_runtime.cli.options import echo_json, json_option

if TYPE_CHECKING:
    from tempo_runtime.deploy.lint import Finding

_COLOURS = {"error": "red", "warning": "yellow"}


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--rules", "show_rules", is_flag=True, help="Show what is looked for, and leave.")
@click.option("--warnings-as-errors", is_flag=True, help="Exit with 1 for warnings too.")
@json_option
def lint(files: tuple[str, ...], show_rules: bool, warnings_as_errors: bool, as_json: bool) -> None:
    r"""Finds what a platform would refuse, or silently break, in manifests.

    FILE is YAML of any number of documents, ours or hand-written, for Seldon Core v1, Seldon Core 2 or
    KServe; "-" is standard input. Files are looked at together. No cluster is asked.

    \b
    Examples:
        tempo-runtime lint k8s/tempo.yaml
        kubectl kustomize k8s | tempo-runtime lint -
    """
    from tempo_runtime.deploy import lint as linting

    if show_rules:
        click.echo(linting.table())
        return
    if not files:
        raise click.UsageError("name files, or - for standard input")
    findings = linting.lint_files(files)
    if as_json:
        echo_json([vars(each) for each in findings])
    else:
        show(findings)
    errors = [each for each in findings if each.severity == "error" or warnings_as_errors]
    sys.exit(1 if errors else 0)


def show(findings: list[Finding], *, err: bool = False) -> None:
    """Prints findings for people."""
    for each in findings:
        severity = click.style(each.severity, fg=_COLOURS[each.severity], bold=True)
        of = f" ({each.kind} {each.name})" if each.kind else ""
        click.echo(f"{each.file}:{each.line}: {severity} {each.rule}: {each.message}{of}", err=err)
        click.echo(f"    then: {each.consequence}", err=err)
        click.echo(f"    fix:  {each.fix}", err=err)
    counts = [(sum(each.severity == kind for each in findings), kind) for kind in _COLOURS]
    told = ", ".join(f"{count} {kind}{'s' * (count != 1)}" for count, kind in counts if count)
    click.echo(told or "Nothing was found", err=err)
