"""Reading YAML: lines, values as kubectl reads them, and faults instead of exceptions."""

from __future__ import annotations

import copy
import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tempo_runtime._util.yaml_reading import read
from tempo_runtime.lint import lint, lint_files
from tests.lint.manifests import KSERVE, SELDON, SELDON2

ALL = [*yaml.safe_load_all(SELDON), *yaml.safe_load_all(SELDON2), *yaml.safe_load_all(KSERVE)]
# More digits than Python prints of a number.
HEX = "0x" + "f" * 5000
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
    "1e9999999",
    HEX,
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
def test_a_file_without_an_object_is_a_finding(text: str) -> None:
    (found,) = lint(text)
    assert (found.rule, found.line) == ("yaml-empty", 1)


@given(st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_no_shape_of_a_manifest_makes_it_fail(seed: int) -> None:
    chance = random.Random(seed)
    documents = copy.deepcopy(ALL)
    for _ in range(chance.randint(1, 6)):
        _replace_somewhere(documents, chance)
    lint(yaml.safe_dump_all(documents).replace("HEX", HEX).replace("EXP", "'1e9999999'"))


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
                    "HEX",
                    "EXP",
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
        ("a: &a [*a]\n", 1, "refers to a value that contains it"),
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
def test_text_that_cannot_be_read_is_a_finding_with_its_line(
    text: str, line: int, words: str
) -> None:
    (found,) = lint(text)
    assert found.rule == "yaml"
    assert words in found.message
    assert abs(found.line - line) <= 1


def test_documents_before_unreadable_text_are_checked() -> None:
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


SCALARS = {
    "1:30": "1:30",
    "2001-01-01": "2001-01-01",
    "010": 8,
    "-0o14": -12,
    "0x1f": 31,
    "0X1F": 31,
    "0b11": 3,
    "1_000": 1000,
    "08": 8.0,
    "+1": 1,
    "1.": 1.0,
    ".5": 0.5,
    "-1e-3": -0.001,
    "1e3": 1000.0,
    "1234e56": 1.234e59,
    "12e4567": "12e4567",  # more than there are numbers for
    "123456789012345678901": 123456789012345678901.0,
    "0x1ffffffffffffffff": "0x1ffffffffffffffff",
    "0x_": "0x_",
    "1e": "1e",
    "_1": "_1",
    "y": True,
    "N": False,
    "Off": False,
    "~": None,
    "'1'": "1",
    "'1e3'": "1e3",
    "!!str 1e3": "1e3",
    "!!str y": "y",
    "é": "é",
    "\u0661": "\u0661",
}


def test_scalars_are_read_as_kubectl_reads_them() -> None:
    text = "".join(f"- {scalar}\n" for scalar in SCALARS)
    (document,), _ = read(f"a:\n{text}", "-")
    assert document.content["a"] == list(SCALARS.values())
    assert [*map(type, document.content["a"])] == [*map(type, SCALARS.values())]


def test_kubectl_reads_scalars_in_the_same_way(tmp_path: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl here")
    text = "".join(f"  - {scalar}\n" for scalar in SCALARS)
    file = tmp_path / "model.yaml"
    head = "apiVersion: mlops.seldon.io/v1alpha1\nkind: Model\nmetadata: {name: a}\nspec:\n  a:\n"
    file.write_text(head + text)
    asked = ["kubectl", "patch", "--local", "--type", "merge", "-p", "{}", "-o", "json", "-f", file]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    read_by_it = json.loads(done.stdout, parse_int=float)["spec"]["a"]
    assert read_by_it == list(SCALARS.values())


@pytest.mark.parametrize("scalar", [".inf", "-.INF"])
def test_infinity_is_a_number(scalar: str) -> None:
    (document,), _ = read(f"a: {scalar}", "-")
    assert abs(document.content["a"]) == float("inf")


def test_a_number_that_looks_like_a_commit_is_not_text() -> None:
    bad = SELDON.replace("team: a", "version: 1234e56, commit: '1234e56'")
    documents, _ = read(bad, "-")
    assert documents[0].content["metadata"]["labels"] == {"version": 1234e56, "commit": "1234e56"}


@pytest.mark.parametrize("huge", ["1e9999999", "'1e9999999'", HEX], ids=["1e", "'1e'", "0x"])
def test_a_number_that_is_too_large_raises_nothing(huge: str) -> None:
    assert lint(SELDON.replace("cpu: 500m", f"cpu: {huge}")) == []
    found = lint(SELDON.replace('WORKERS, value: "0"', f"WORKERS, value: {huge}"))
    assert [each.rule for each in found] == ["mlserver-number"]


def test_a_file_that_is_not_text_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"a: b\nc: \xff\n")
    (found,) = lint_files([tmp_path / "a.yaml"])
    assert (found.rule, found.line) == ("yaml", 2)
