"""The type of a rule, and the collection of all rules."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

from tempo_runtime._util.yaml_document import Document, Place, Run
from tempo_runtime.lint.finding import Severity

# The place of each fault, and a message.
Hits = Iterator[tuple[Place, str]]
Check = Callable[[Document], Hits]
AcrossCheck = Callable[[Document, Run], Hits]

PLATFORMS = {
    "common": "On every platform",
    "containers": "Containers, on every platform",
    "artifacts": "Artifacts",
    "secrets": "Secrets",
    "addresses": "Children",
    "seldon": "Seldon Core v1",
    "seldon_pods": "Seldon Core v1: pods",
    "seldon2": "Seldon Core 2",
    "kserve": "KServe",
    "kserve_knative": "KServe: Knative",
    "kserve_graph": "KServe: InferenceGraph",
}


@dataclass(frozen=True)
class Rule:
    """A condition that manifests must meet.

    Attributes:
        id: Its permanent name.
        severity: Severity of its findings.
        kinds: Kinds of documents that it applies to.
        wants: The condition.
        source: Evidence for it: a file of the platform.
        consequence: What happens if it is not met.
        fix: How to meet it.
        chapter: Key in `PLATFORMS`.
        check: Checks one document, knowing the others; None for faults that the YAML reader finds.
    """

    id: str
    severity: Severity
    kinds: tuple[str, ...]
    wants: str
    source: str
    consequence: str
    fix: str
    chapter: str
    check: AcrossCheck | None = None


RULES: dict[str, Rule] = {}


def add(rule: Rule) -> None:
    """Add a rule."""
    assert rule.id not in RULES, rule.id
    RULES[rule.id] = rule


def rule(
    name: str, severity: Severity, *kinds: str, consequence: str, fix: str
) -> Callable[[Check], Check]:
    """Make a function that checks one document a rule; see `across`."""

    def decorate(check: Check) -> Check:
        def alone(document: Document, run: Run) -> Hits:
            return check(document)

        _register(name, severity, kinds, consequence, fix, check, alone)
        return check

    return decorate


def across(
    name: str, severity: Severity, *kinds: str, consequence: str, fix: str
) -> Callable[[AcrossCheck], AcrossCheck]:
    """Make a function a rule that checks one document, and can look at the others.

    The first line of its docstring is the condition; `Source:` names the evidence for it.

    Args:
        name: Id of the rule.
        severity: Severity of its findings.
        kinds: Kinds of documents that it applies to.
        consequence: What happens if the condition is not met.
        fix: How to meet it.
    """

    def decorate(check: AcrossCheck) -> AcrossCheck:
        _register(name, severity, kinds, consequence, fix, check, check)
        return check

    return decorate


def _register(
    name: str,
    severity: Severity,
    kinds: tuple[str, ...],
    consequence: str,
    fix: str,
    function: Callable[..., Hits],
    check: AcrossCheck,
) -> None:
    wants, _, rest = cast(str, inspect.getdoc(function)).partition("\n")
    source = " ".join(rest.split("Source:", 1)[1].split()) if "Source:" in rest else ""
    chapter = function.__module__.rpartition(".")[2]
    add(Rule(name, severity, kinds, wants, source, consequence, fix, chapter, check))


def table() -> str:
    """Return the rules as Markdown, for docs/lint.md."""
    lines = []
    for chapter, title in PLATFORMS.items():
        lines += [
            f"### {title}",
            "",
            "| rule | | what must hold | otherwise |",
            "|---|---|---|---|",
        ]
        for rule in sorted(RULES.values(), key=lambda rule: rule.id):
            if rule.chapter == chapter:
                cells = (f"`{rule.id}`", rule.severity, rule.wants, rule.consequence)
                lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)
