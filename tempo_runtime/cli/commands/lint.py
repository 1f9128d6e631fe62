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
@click.option("--rules", is_flag=True, help="List the rules.")
@click.option("--warnings-as-errors", is_flag=True, help="Fail on warnings, too.")
def lint(files: tuple[str, ...], as_json: bool, rules: bool, warnings_as_errors: bool) -> None:
    r"""Find manifests that a platform would reject or silently break.

    FILE is YAML for Seldon Core v1, Seldon Core 2 or KServe, as it is written or as kustomize renders
    it, or a model-settings.json beside it; - is standard input. The files are checked together. Objects
    of other kinds are skipped, and no cluster is needed. The exit code is 1 if there are errors, and 2
    if a file cannot be read.

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
            f"Error: {error.filename} is a folder; name its files, or render it: "
            f"kustomize build {error.filename} | tempo-runtime lint -",
            err=True,
        )
        sys.exit(2)
    except OSError as error:
        echo(f"Error: {error.filename}: {error.strerror}; name a YAML file", err=True)
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
    for finding in findings:
        about = f"  {finding.kind} {finding.name}".rstrip()
        shown.print(
            Text.assemble(
                (f"{finding.file}:{finding.line}", "bold"),
                "  ",
                (finding.severity, _COLOURS[finding.severity]),
                f"  {finding.rule}",
                (about, "dim"),
            )
        )
        where = f"{finding.path}: " if finding.path else ""
        shown.print(Text(f"    {where}{finding.message}"))
        shown.print(Text(f"    Consequence: {finding.consequence}"))
        shown.print(Text(f"    Fix: {finding.fix}\n"))
    errors = sum(finding.severity == "error" for finding in findings)
    shown.print(f"{_count(errors, 'error')}, {_count(len(findings) - errors, 'warning')}")


def _list(rules: list[Rule], as_json: bool) -> None:
    if as_json:
        fields = ("id", "severity", "kinds", "wants", "consequence", "fix", "source")
        echo_json([{field: getattr(rule, field) for field in fields} for rule in rules])
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("rule", "", "requirement"):
        table.add_column(heading, overflow="fold")
    for rule in rules:
        table.add_row(rule.id, f"[{_COLOURS[rule.severity]}]{rule.severity}[/]", rule.wants)
    console().print(table)


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
