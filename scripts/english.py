#!/usr/bin/env python3
"""Find English that a reader has to read twice: in docs, docstrings, comments, messages, test names.

    python scripts/english.py           check all files
    python scripts/english.py PATH...   check these files and folders

A comment `english: allow` accepts the line it stands on, or the string that ends on it.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from bisect import bisect
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
ALLOW = "english: allow"

# Texts of others, and files that quote what to avoid.
EXCLUDED = (
    "examples/income/src/tempo.py",
    "scripts/english.py",
    "tests/data",
    "tests/scripts/test_english.py",
)


class Rule(NamedTuple):
    """A phrase to avoid, as a regular expression, and the plain way to say it."""

    phrase: str
    plain: str


_IS = r"\b(?:is|are|was|were)"
_COMPARED = "longer|more|less|fewer|better|worse|higher|lower|larger|smaller|older|newer|different"
_START = r"(?:^|(?<=[.;!?] ))"
_NO_QUESTION = r"\b(?![^.;!]*\?)"

RULES = (
    Rule(r"\bartefacts?\b", "artifact"),
    Rule(rf"(?<!\bthere ){_IS} no (?!(?:{_COMPARED})\b)[\w'`{{-]+", "is not a ..."),
    Rule(rf"{_IS} (?-i:none)\b", "is not one; is empty; has no ..."),
    Rule(r"\bof none\b", "does not belong to any ..."),
    Rule(r"\bwho(?:so)?ever\b", "anyone who"),
    Rule(rf"{_START}Who \w+{_NO_QUESTION}", "say the noun: a client that, the user who"),
    Rule(rf"{_START}What \w+{_NO_QUESTION}", "say the noun: the value that, a file that"),
    Rule(
        r"\b(?:is|are|was|were|be|been) told\b(?! (?:about|apart|how|that|to|wh\w+)\b)",
        "is reported; the message says",
    ),
    Rule(
        rf"\b(?:the|each|every|all) (?:told|found|said|asked)(?=[.,;:)]|$| {_IS}\b)", "say the noun"
    ),
    Rule(
        r"\b(?:has|have|had)(?: (?!to\b|not\b|also\b|can|may\b|must\b|will\b)[\w'`-]+){1,3} be"
        r" \w+(?:ed|en|ne|t)\b",
        "say who does it: X removes it; lets X remove it",
    ),
    Rule(r"\b(?:has|have|had) (?:it|them) \w+ed\b", "say who does it: X removes it"),
    Rule(rf"{_IS} to be\b", "must be; will be"),
    Rule(r"\bat the (?:least|most)\b(?! \w+\b)", "at least; at most"),
    Rule(r"\b(?:one|two|three|\d+) at (?:least|most)\b", "at least one; at most one"),
    Rule(r"\bneed be\b", "if needed"),
    Rule(r"\b(?:be|been|is|are) had\b", "is available"),
    Rule(r"\b\w+ed no more\b", "is no longer ..."),
    Rule(r"\b(?:all|everything|each|nothing)(?: \w+)? but for\b|, but for\b", "except"),
    Rule(r"\banew\b", "again"),
    Rule(
        r"\b(?:hence|hither|lest|thence|thereof|therein|thither|whence|whereof)\b", "modern words"
    ),
    Rule(r"\bartifact's manifest\b|\bmanifest \(?tempo\.json", "the artifact's description"),
)
_RULES = [(re.compile(rule.phrase, re.IGNORECASE), rule.plain) for rule in RULES]


class Prose(NamedTuple):
    """A text by its lines, each with its number, and the number of the line that the text ends on."""

    lines: list[tuple[int, str]]
    end: int


class Finding(NamedTuple):
    """A phrase that a rule rejects."""

    line: int
    phrase: str
    plain: str


def check(source: str, texts: Iterable[Prose]) -> list[Finding]:
    """Return what the rules reject in the texts of a file."""
    allowed = {n for n, line in enumerate(source.splitlines(), 1) if ALLOW in line}
    findings = []
    for lines, end in texts:
        starts, text = [], ""
        for _, line in lines:
            text += " " if text else ""
            starts.append(len(text))
            text += " ".join(re.sub(r"`[^`]*`", "`x`", line).split())
        for pattern, plain in _RULES:
            for match in pattern.finditer(text):
                number = lines[bisect(starts, match.start()) - 1][0]
                if not allowed & {number, end}:
                    findings.append(Finding(number, match.group(), plain))
    return sorted(set(findings))


def markdown(source: str) -> Iterator[Prose]:
    """Yield the paragraphs, list items and rows of tables outside of code blocks."""
    lines: list[tuple[int, str]] = []
    fenced = False
    for number, line in enumerate(source.splitlines(), 1):
        fence = line.lstrip().startswith("```")
        fenced ^= fence
        heading = line.startswith("#")  # which may name a section by a question without its mark
        starts_item = re.match(r"\s*([-*+]|\d+\.) |\|", line)
        if fence or heading or starts_item or not line.strip():
            yield Prose(lines, number - 1)
            lines = []
        if not (fence or fenced or heading):
            text = re.sub(r"\]\([^)]*\)", "]", line)
            lines.append((number, re.sub(r"^\s*(?:[-*+]|\d+\.) +|^\|", "", text)))
    yield Prose(lines, 0)


def python(source: str, *, tests: bool = False) -> Iterator[Prose]:
    """Yield docstrings, comments and strings of several words; of tests, names in place of strings."""
    yield from _comments(source)
    other = set()  # strings that are part of a text above, or not for people
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(docstring)) as string):
                other.add(string)
                yield from _paragraphs(docstring, string.lineno, string.end_lineno or 0)
            case ast.FunctionDef() | ast.AsyncFunctionDef() if tests:
                if node.name.startswith("test_"):
                    name = node.name.removeprefix("test_").replace("_", " ")
                    yield Prose([(node.lineno, name)], node.lineno)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="re"))):
                other.update(node.args)
            case ast.JoinedStr() if not tests:
                other.update(node.values)
                parts = [v.value if isinstance(v, ast.Constant) else "{}" for v in node.values]
                yield Prose([(node.lineno, "".join(map(str, parts)))], node.end_lineno or 0)
            case ast.Constant(value=str(text)) if not tests and node not in other:
                if " " in text.strip():
                    yield Prose([(node.lineno, text)], node.end_lineno or 0)


def _paragraphs(docstring: str, first: int, end: int) -> Iterator[Prose]:
    numbered = enumerate(docstring.splitlines(), first)
    for blank, lines in groupby(numbered, key=lambda line: not line[1].strip()):
        if not blank:
            yield Prose(list(lines), end)


def _comments(source: str) -> Iterator[Prose]:
    lines: list[tuple[int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            number, column = token.start
            follows = lines and lines[-1][0] == number - 1 and not token.line[:column].strip()
            if not follows:
                yield Prose(lines, 0)
                lines = []
            lines.append((number, token.string.lstrip("#! ")))
    yield Prose(lines, 0)


def _files(paths: list[str]) -> list[str]:
    git = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *(paths or ["."])]
    names = subprocess.run(git, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()  # noqa: S603
    return [
        name
        for name in names
        if name.endswith((".py", ".md"))
        and (ROOT / name).is_file()
        and not any(name == path or name.startswith(f"{path}/") for path in EXCLUDED)
    ]


def main(paths: list[str]) -> int:
    """Print the findings in these paths, or in everything, and return an exit status."""
    count = 0
    for name in _files(paths):
        source = (ROOT / name).read_text()
        tests = name.startswith("tests/")
        texts = markdown(source) if name.endswith(".md") else python(source, tests=tests)
        for line, phrase, plain in check(source, texts):
            print(f"{name}:{line}: {phrase!r} -> {plain}")
            count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
