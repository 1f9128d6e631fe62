"""What a platform would refuse, or silently break, in a manifest: found before it is applied.

    document    a document, and the lines of what is in it
    reading     YAML, to documents
    views       what several rules look at; `runtimes` are KServe's
    rules       what a rule is; the rules themselves are in
                common, containers, artifacts, secrets, addresses, seldon, seldon_pods, seldon2,
                kserve, kserve_knative and kserve_graph

Nothing is asked of a cluster: a rule knows the documents of one run, and says nothing of what may be
in the cluster already.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator

from tempo_runtime._util.yaml_document import Document, Run, written
from tempo_runtime._util.yaml_reading import Fault, read
from tempo_runtime.lint import (
    addresses,
    artifacts,
    common,
    containers,
    kserve,
    kserve_graph,
    kserve_knative,
    secrets,
    seldon,
    seldon2,
    seldon_pods,
)
from tempo_runtime.lint.finding import Finding, Severity
from tempo_runtime.lint.rules import RULES, Rule, table

__all__ = ["ANNOTATION", "RULES", "Finding", "Rule", "Severity", "lint", "lint_files", "table"]

# Importing them adds their rules.
_CHAPTERS = (
    common,
    containers,
    artifacts,
    secrets,
    addresses,
    seldon,
    seldon_pods,
    seldon2,
    kserve,
    kserve_knative,
    kserve_graph,
)

ANNOTATION = "tempo-runtime/lint-disable"
_COMMENT = re.compile(r"#\s*tempo-lint:\s*disable=([\w-]+(?:\s*,\s*[\w-]+)*)")


def lint(text: str, file: str = "-") -> list[Finding]:
    """All that is found in a text.

    Args:
        text: YAML or JSON, of any number of documents.
        file: What to call it.

    Returns:
        The findings, by line and rule. No text makes it fail: what cannot be read is one of them.
    """
    return _lint([(file, text)])


def lint_files(paths: Iterable[str | os.PathLike[str]]) -> list[Finding]:
    """All that is found in files, which are looked at together; `-` is standard input.

    Args:
        paths: The files.

    Returns:
        The findings, by file, line and rule.

    Raises:
        OSError: If one cannot be read.
    """
    return _lint([(path, _text(path)) for path in dict.fromkeys(os.fspath(path) for path in paths)])


def _text(path: str) -> str:
    try:
        if path == "-":
            data = sys.stdin.buffer.read()
        else:
            with open(path, "rb") as file:
                data = file.read()
    except OSError as error:
        error.filename = path  # which is known only of what cannot be opened
        raise
    # What is no UTF-8 becomes a character that YAML does not have, and so a finding with its line.
    return data.decode("utf-8-sig", errors="surrogateescape")


def _lint(texts: list[tuple[str, str]]) -> list[Finding]:
    documents: list[Document] = []
    findings: list[Finding] = []
    for file, text in texts:
        read_here, faults = read(text, file)
        documents += read_here
        findings += [_of_fault(fault, file) for fault in faults]
    run = Run(documents)
    for document in documents:
        findings += _of_document(document, run)
    disabled = {(file, line, rule) for file, text in texts for line, rule in _comments(text)}
    kept = {each for each in findings if (each.file, each.line, each.rule) not in disabled}
    order = {file: place for place, (file, _) in enumerate(texts)}
    return sorted(kept, key=lambda each: (order[each.file], each.line, each.rule, each.path))


def _of_fault(fault: Fault, file: str) -> Finding:
    rule = RULES[fault.rule]
    return Finding(
        rule.id,
        rule.severity,
        file,
        fault.line,
        "",
        "",
        "",
        fault.message,
        rule.consequence,
        rule.fix,
    )


def _of_document(document: Document, run: Run) -> Iterator[Finding]:
    annotation = document["metadata"]["annotations"][ANNOTATION].text
    disabled = {name.strip() for name in annotation.split(",")}
    for rule in RULES.values():
        if document.kind not in rule.kinds or rule.check is None or rule.id in disabled:
            continue
        for place, message in rule.check(document, run):
            yield Finding(
                rule.id,
                rule.severity,
                document.file,
                document.line(place.path),
                document.kind,
                document.name,
                written(place.path),
                message,
                rule.consequence,
                rule.fix,
            )


def _comments(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        for found in _COMMENT.finditer(line):
            for rule in found[1].split(","):
                yield number, rule.strip()
