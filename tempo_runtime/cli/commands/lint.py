"""`tempo-runtime lint`."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING

import click

from tempo_runtime.cli.options import echo_json, json_option
from tempo_runtime.cli.terminal import console, echo

if TYPE_CHECKING:
    from tempo_runtime.lint import Finding, Rule

_COLOURS = {"error": "red", "warning": "yellow"}


@click.command()
@click.argument("files", nargs=-1, metavar="FILE...", type=click.Path(allow_dash=True))
@json_option
@click.option("--rules", is_flag=True, help="Lists the rules.")
@click.option("--warnings-as-errors", is_flag=True, help="Warnings too make it fail.")
def lint(files: tuple[str, ...], as_json: bool, rules: bool, warnings_as_errors: bool) -> None:
    r"""Look in manifests for what a platform would refuse, or silently break.

    FILE is YAML, as it is written or as kustomize renders it, of Seldon Core v1, Seldon Core 2 or
    KServe, or a model-settings.json beside it; - is standard input. Files are looked at together.
    Other kinds are passed over, and no cluster is asked. It exits with 1 if there are errors, and with
    2 if a file cannot be read.

    \b
    Examples:
        tempo-runtime lint k8s/tempo.yaml
        kustomize build k8s | tempo-runtime lint -
    """
    from tempo_runtime import lint as linting

    if rules:
        _list(list(linting.RULES.values()), as_json)
        return
    if not files:
        raise click.UsageError("name a file, or - for standard input")
    try:
        findings = linting.lint_files(files)
    except IsADirectoryError as error:
        echo(
            f"Error: {error.filename} is a folder; name its files, or have it rendered: "
            f"kustomize build {error.filename} | tempo-runtime lint -",
            err=True,
        )
        sys.exit(2)
    except OSError as error:
        echo(f"Error: {error.filename}: {error.strerror}; name a file of YAML", err=True)
        sys.exit(2)
    if as_json:
        echo_json([dataclasses.asdict(finding) for finding in findings])
    else:
        _show(findings)
    if any(warnings_as_errors or finding.severity == "error" for finding in findings):
        sys.exit(1)


def _show(findings: list[Finding]) -> None:
    from rich.text import Text

    shown = console(soft_wrap=True)
    for each in findings:
        about = f"  {each.kind} {each.name}".rstrip()
        shown.print(
            Text.assemble(
                (f"{each.file}:{each.line}", "bold"),
                "  ",
                (each.severity, _COLOURS[each.severity]),
                f"  {each.rule}",
                (about, "dim"),
            )
        )
        where = f"{each.path}: " if each.path else ""
        shown.print(Text(f"    {where}{each.message}"))
        shown.print(Text(f"    What would happen: {each.consequence}"))
        shown.print(Text(f"    Instead: {each.fix}\n"))
    errors = sum(each.severity == "error" for each in findings)
    shown.print(f"{_count(errors, 'error')}, {_count(len(findings) - errors, 'warning')}")


def _list(rules: list[Rule], as_json: bool) -> None:
    if as_json:
        fields = ("id", "severity", "kinds", "wants", "consequence", "fix", "source")
        echo_json([{field: getattr(rule, field) for field in fields} for rule in rules])
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("rule", "", "what must hold"):
        table.add_column(heading, overflow="fold")
    for rule in rules:
        table.add_row(rule.id, f"[{_COLOURS[rule.severity]}]{rule.severity}[/]", rule.wants)
    console().print(table)


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
