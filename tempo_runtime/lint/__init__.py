"""Check manifests before they are applied: what would a platform refuse, or silently break?

    rules       the type of a rule; the rules themselves are in
                common, containers, artifacts, secrets, addresses, seldon, seldon_pods, seldon2,
                kserve, kserve_knative and kserve_graph
    views       parts of documents that several rules need; `runtimes` are those of KServe
    fields      the fields that each kind has
    finding     a finding of a rule

Rules do not ask a cluster: they know the documents of one run, and allow for others in the cluster.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator

from tempo_runtime._util.yaml_document import Document, Run, path_text
from tempo_runtime._util.yaml_reading import read
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

# Importing these adds their rules.
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
    """Check a text.

    Args:
        text: YAML or JSON, with any number of documents.
        file: The file name in findings.

    Returns:
        The findings, by line and rule. A text that cannot be read is one of them, not an exception.
    """
    return _lint([(file, text)])


def lint_files(paths: Iterable[str | os.PathLike[str]]) -> list[Finding]:
    """Check files together; `-` is standard input.

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
        error.filename = path  # missing in errors after the file was opened
        raise
    # Bytes that are not UTF-8 become characters that YAML does not allow: a finding with its line.
    return data.decode("utf-8-sig", errors="surrogateescape")


def _lint(texts: list[tuple[str, str]]) -> list[Finding]:
    documents: list[Document] = []
    findings: list[Finding] = []
    for file, text in texts:
        read_here, faults = read(text, file)
        documents += read_here
        findings += [
            _finding(RULES[fault.rule], file, fault.line, fault.message) for fault in faults
        ]
    run = Run(documents)
    for document in documents:
        findings += _of_document(document, run)
    disabled = {(file, line, rule) for file, text in texts for line, rule in _comments(text)}
    kept = {
        finding
        for finding in findings
        if (finding.file, finding.line, finding.rule) not in disabled
    }
    order = {file: index for index, (file, _) in enumerate(texts)}
    return sorted(
        kept, key=lambda finding: (order[finding.file], finding.line, finding.rule, finding.path)
    )


def _of_document(document: Document, run: Run) -> Iterator[Finding]:
    annotation = document["metadata"]["annotations"][ANNOTATION].text
    disabled = {name.strip() for name in annotation.split(",")}
    for rule in RULES.values():
        if document.kind not in rule.kinds or rule.check is None or rule.id in disabled:
            continue
        for place, message in rule.check(document, run):
            where = document.kind, document.name, path_text(place.path)
            yield _finding(rule, document.file, document.line(place.path), message, *where)


def _finding(
    rule: Rule, file: str, line: int, message: str, kind: str = "", name: str = "", path: str = ""
) -> Finding:
    return Finding(
        rule.id, rule.severity, file, line, kind, name, path, message, rule.consequence, rule.fix
    )


def _comments(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        for comment in _COMMENT.finditer(line):
            for rule in comment[1].split(","):
                yield number, rule.strip()
