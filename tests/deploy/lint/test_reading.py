"""Reading YAML: lines, what kubectl reads differently, and that no text makes it fail."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tempo_runtime.deploy.lint import lint, lint_files
from tempo_runtime.deploy.lint.reading import read
from tests.deploy.lint.manifests import KSERVE, SELDON, SELDON2

ALL = [*yaml.safe_load_all(SELDON), *yaml.safe_load_all(SELDON2), *yaml.safe_load_all(KSERVE)]
PIECES = [
    "a",
    "b:",
    "-",
    ",",
    "[",
    "]",
    "{",
    "}",
    "&",
    "*",
    "&a",
    "*a",
    "<<",
    "!",
    "!!int",
    "!!float",
    "!!bool",
    "!!binary",
    "!!timestamp",
    "!!str",
    "!x",
    "|",
    ">",
    "'",
    '"',
    "#",
    "%",
    "@",
    "`",
    "%YAML",
    "---",
    "...",
    "?",
    "=",
    "~",
    "1",
    "0x_",
    "1:99",
    ".inf",
    "2001-99-99",
    "\\U110000",
    "\\x",
    "kind:",
    "Model",
    "é",
    "日",
    "\ufeff",
    "\x00",
    "\u2028",
]


@given(st.text() | st.lists(st.sampled_from([*PIECES, " ", "\n", "\n  ", "\t"])).map("".join))
@settings(max_examples=300, deadline=None)
def test_no_text_makes_it_fail(text: str) -> None:
    lint(text)


@pytest.mark.parametrize("text", ["", "---\n", "# nothing\n", "- a\n", "a\n"])
def test_a_file_without_an_object_is_told(text: str) -> None:
    (found,) = lint(text)
    assert (found.rule, found.line) == ("yaml-empty", 1)


@given(st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_no_shape_of_a_manifest_makes_it_fail(seed: int) -> None:
    chance = random.Random(seed)
    documents = copy.deepcopy(ALL)
    for _ in range(chance.randint(1, 6)):
        _replace_somewhere(documents, chance)
    lint(yaml.safe_dump_all(documents))


def _replace_somewhere(value: Any, chance: random.Random) -> None:
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = chance.choice(keys)
        inner = value[key]
        if not isinstance(inner, (dict, list)) or chance.random() < 0.2:
            value[key] = chance.choice(
                [
                    None,
                    1,
                    -1.5,
                    True,
                    "",
                    "x_1",
                    "s3://a",
                    "http://[",
                    [],
                    [1],
                    {},
                    {"a": [{}]},
                    [[]],
                ]
            )
            return
        value = inner


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: b\nc: [1\n", 3, "expected"),
        ("a: *b\n", 1, "undefined alias"),
        ("a: &a [*a]\n", 1, "refers to what it is in"),
        ("a: b\nc: \x07\n", 2, "character #x0007"),
        ('a: b\nc: "\\UFFFFFFFF"\n', 2, "too large"),
        ("a: 1\n? [b]\n: c\n", 2, "key"),
        ("[" * 5000, 1, "nested too deep"),
        (
            "".join(f"a{n}: &a{n} [{f'*a{n - 1},' * 10 if n else 1}]\n" for n in range(9)),
            8,
            "large",
        ),
    ],
)
def test_what_cannot_be_read_is_a_finding_with_its_line(text: str, line: int, words: str) -> None:
    (found,) = lint(text)
    assert found.rule == "yaml"
    assert words in found.message
    assert abs(found.line - line) <= 1


def test_what_is_before_it_is_read_all_the_same() -> None:
    found = lint(SELDON.replace("protocol: v2", "protocol: v3", 1) + "---\na: [\n")
    assert [each.rule for each in found] == ["seldon-protocol", "yaml"]


def test_aliases_and_merges_are_followed_and_have_their_lines() -> None:
    text = "base: &b\n  x: 1\n  y: no\nthis:\n  <<: *b\n  x: 2\n"
    (document,), faults = read(text, "-")
    assert faults == []
    assert document.content["this"] == {"x": 2, "y": False}
    assert document.line(("this", "x")) == 6
    assert document.line(("this", "y")) == 3
    assert document.line(("this", "gone", "further")) == 4


def test_scalars_are_what_kubectl_makes_of_them() -> None:
    text = "[1:30, 2001-01-01, 010, 0x1f, 1_000, y, Off, ~, '1', .inf, 1e3, é]"
    (document,), _ = read(f"a: {text}", "-")
    whole = ["1:30", "2001-01-01", 8, 31, 1000, True, False, None, "1", float("inf")]
    assert document.content["a"][:10] == whole
    assert document.content["a"][11] == "é"


def test_a_file_that_is_no_text_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"a: b\nc: \xff\n")
    (found,) = lint_files([tmp_path / "a.yaml"])
    assert (found.rule, found.line) == ("yaml", 2)
