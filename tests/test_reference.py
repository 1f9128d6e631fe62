"""The reference of the documentation site."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from pathlib import Path

import pytest

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
LISTED = Counter(
    name
    for page in REFERENCE.glob("*.md")
    for name in re.findall(r"^::: (\S+)", page.read_text(), re.MULTILINE)
)


@pytest.mark.parametrize("module", ["tempo_runtime", "tempo_runtime.kubernetes"])
def test_it_lists_every_public_name_once(module: str) -> None:
    loaded = importlib.import_module(module)
    errors = importlib.import_module("tempo_runtime.errors")
    for name in loaded.__all__:
        # Errors are on the page of their module; deploy_remote is beside its siblings in `kubernetes`.
        elsewhere = f"tempo_runtime.kubernetes.{name}"
        if not hasattr(errors, name):
            assert LISTED[f"{module}.{name}"] or LISTED[elsewhere], (
                f"{name} is not in the reference"
            )
    assert [name for name, count in LISTED.items() if count > 1] == []


@pytest.mark.parametrize("module", ["errors", "settings", "testing", "testing.plugin"])
def test_it_lists_modules_whose_names_are_public(module: str) -> None:
    assert LISTED[f"tempo_runtime.{module}"] == 1
