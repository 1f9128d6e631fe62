"""CONTRIBUTING.md names files that are there."""

from __future__ import annotations

import re

from tests.helpers.income import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text()
_FOLDERS = "tempo_runtime|tests|docs|scripts|k8s|cli|lint|clients"
_PATH = re.compile(rf"`((?:{_FOLDERS})/[\w./-]+|\.[\w-]+/[\w./-]+|[\w-]+\.(?:toml|cfg|yml|yaml))`")


def test_every_file_that_it_names_exists() -> None:
    named = {path for path in _PATH.findall(TEXT) if not re.search("NAME|CHAPTER", path)}
    assert len(named) > 30
    roots = (ROOT, ROOT / "tempo_runtime", ROOT / "tempo_runtime/lint")
    missing = {path for path in named if not any((root / path).exists() for root in roots)}
    assert missing == set()


def test_the_commands_that_it_names_are_in_the_makefile() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"`?make (\w+)", TEXT)) <= set(targets)
