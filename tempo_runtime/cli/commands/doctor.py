"""`tempo-runtime doctor`."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING

import click

from tempo_runtime.cli.options import echo_json, json_option
from tempo_runtime.cli.terminal import console

if TYPE_CHECKING:
    from tempo_runtime.cli.doctor.findings import Finding

_MARKS = {
    "ok": "[green]✓[/]",
    "info": "[dim]·[/]",
    "warning": "[yellow]![/]",
    "problem": "[red]✗[/]",
}


@click.command()
@click.argument("artifact", required=False, type=click.Path(exists=True, file_okay=False))
@json_option
def doctor(artifact: str | None, as_json: bool) -> None:
    r"""Find known problems on this machine and say how to fix them.

    With ARTIFACT, it also finds out whether that artifact can be served here. The exit code is 1 if
    something will not work.

    \b
    Examples:
        tempo-runtime doctor
        tempo-runtime doctor artifacts/check
    """
    from tempo_runtime.cli.doctor import artifact as artifacts
    from tempo_runtime.cli.doctor import facts, machine

    known = facts.gather()
    findings = machine.examine(known)
    if artifact is not None:
        findings += artifacts.examine(artifact, known)
    if as_json:
        echo_json([dataclasses.asdict(finding) for finding in findings])
    else:
        _show(findings)
    if any(finding.level == "problem" for finding in findings):
        sys.exit(1)


def _show(findings: list[Finding]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        text = escape(finding.found)
        if finding.remedy:
            text += f"\n[dim]→ {escape(finding.remedy)}[/]"
        table.add_row(_MARKS[finding.level], f"[bold]{escape(finding.check)}[/]", text)
    shown = console()
    shown.print(table)
    problems, warnings = (
        sum(finding.level == level for finding in findings) for level in ("problem", "warning")
    )
    shown.print(f"\n{_count(problems, 'problem')}, {_count(warnings, 'warning')}")


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
