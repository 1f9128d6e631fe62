"""What a rule is, and all of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

from tempo_runtime._util.yaml_document import Document, Place, Run
from tempo_runtime.lint.finding import Severity

# Where something is wrong, and what is there.
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
    """Something that must hold.

    Attributes:
        id: Its name, which stays.
        severity: Of what it finds.
        kinds: Kinds of documents that it is about.
        wants: What must hold.
        source: Where that is known from: a file of the platform.
        consequence: What a platform does otherwise.
        fix: What to write instead.
        chapter: Key in `PLATFORMS`.
        check: Finds it in one document, knowing the others; None for what reading finds.
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
    """Adds a rule."""
    assert rule.id not in RULES, rule.id
    RULES[rule.id] = rule


def rule(
    name: str, severity: Severity, *kinds: str, consequence: str, fix: str
) -> Callable[[Check], Check]:
    """Makes a rule of a function over one document; see `across`."""

    def decorate(check: Check) -> Check:
        def alone(document: Document, run: Run) -> Hits:
            return check(document)

        _register(name, severity, kinds, consequence, fix, check, alone)
        return check

    return decorate


def across(
    name: str, severity: Severity, *kinds: str, consequence: str, fix: str
) -> Callable[[AcrossCheck], AcrossCheck]:
    """Makes a rule of a function over one document that looks at the others.

    The first line of its docstring says what must hold, its line `Source:` where that is known from.

    Args:
        name: Id of the rule.
        severity: Of what it finds.
        kinds: Kinds of documents that it is about.
        consequence: What a platform does otherwise.
        fix: What to write instead.
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
    told: Callable[..., Hits],
    check: AcrossCheck,
) -> None:
    wants, _, rest = cast(str, inspect.getdoc(told)).partition("\n")
    source = " ".join(rest.split("Source:", 1)[1].split()) if "Source:" in rest else ""
    chapter = told.__module__.rpartition(".")[2]
    add(Rule(name, severity, kinds, wants, source, consequence, fix, chapter, check))


def table() -> str:
    """The rules in Markdown, as docs/lint.md has them."""
    lines = []
    for chapter, title in PLATFORMS.items():
        lines += [
            f"### {title}",
            "",
            "| rule | | what must hold | otherwise |",
            "|---|---|---|---|",
        ]
        for each in sorted(RULES.values(), key=lambda rule: rule.id):
            if each.chapter == chapter:
                cells = (f"`{each.id}`", each.severity, each.wants, each.consequence)
                lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)
