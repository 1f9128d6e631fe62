"""The author's modules are noted when a model is declared, and not all again for each model."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from tempo_runtime.authoring import module_sources
from tests.helpers.source_tree import source_tree  # noqa: F401


@pytest.fixture
def root(tree: Any) -> Path:
    folder: Path = tree({"first.py": "LIMIT = 1\n", "second.py": "LIMIT = 1\n"})
    return folder


def is_noted(root: Path, name: str) -> bool:
    """Tell whether a change of the module's constant on disk is seen, which its functions do not show."""
    (root / f"{name}.py").write_text("LIMIT = 2\n")
    try:
        module_sources.check({f"{name}.py": str(root / f"{name}.py")})
    except module_sources.ArtifactError as error:
        return "changed on disk since it was imported" in str(error)
    return False


def test_modules_are_looked_at_once_though_many_models_are_declared(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    importlib.import_module("first")
    module_sources.note()

    def fail(module: Any) -> None:
        raise AssertionError(f"{module} is looked at again")

    monkeypatch.setattr(module_sources, "_spec", fail)
    module_sources.note()


def test_a_module_that_was_imported_since_is_noted(root: Path) -> None:
    importlib.import_module("first")
    module_sources.note()
    importlib.import_module("second")
    module_sources.note()
    assert is_noted(root, "second")


def test_a_module_that_took_the_place_of_another_is_noted(root: Path) -> None:
    importlib.import_module("first")
    module_sources.note()
    del sys.modules["first"]
    importlib.import_module("second")
    module_sources.note()
    assert is_noted(root, "second")


@pytest.mark.parametrize("others", [[], ["second"]])
def test_a_module_that_was_reloaded_is_noted_with_its_file_of_then(
    root: Path, others: list[str]
) -> None:
    first = importlib.import_module("first")
    for name in others:
        importlib.import_module(name)
    module_sources.note()
    (root / "first.py").write_text("LIMIT = 10\n")
    importlib.reload(first)
    module_sources.note()
    module_sources.check({"first.py": str(root / "first.py")})
    assert is_noted(root, "first")
