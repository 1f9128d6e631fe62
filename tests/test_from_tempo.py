"""docs/from-tempo.md names what is there, and every name of tempo 0.5 that is refused."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

import tempo_runtime
from tempo_runtime.authoring import tempo_names

PAGE = (Path(__file__).parents[1] / "docs/from-tempo.md").read_text()
_TABLE = PAGE.partition("<!-- names -->")[2].partition("<!-- end of names -->")[0]
_NAME = re.compile(r"`([\w.]+)`")


def rows() -> list[list[str]]:
    lines = [line for line in _TABLE.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def ours() -> list[str]:
    return sorted({name for row in rows() for name in _NAME.findall(row[1])})


def resolved(name: str) -> Any:
    """Return what a dotted name stands for: of `tempo_runtime`, or from a module."""
    found: Any = tempo_runtime
    parts = name.split(".")
    if not hasattr(tempo_runtime, parts[0]):
        for length in range(len(parts), 0, -1):
            try:
                found = importlib.import_module(".".join(parts[:length]))
            except ModuleNotFoundError:
                continue
            parts = parts[length:]
            break
    for part in parts:
        fields = getattr(found, "model_fields", {})
        if part in fields or re.search(rf"^ +{part}: ", found.__doc__ or "", re.MULTILINE):
            return part  # an attribute of its objects, which its docstring lists
        found = getattr(found, part)
    return found


def test_the_table_has_rows_of_three_cells() -> None:
    assert len(rows()) > 60
    assert [row for row in rows() if len(row) != 3] == []
    assert [row for row in rows() if row[1] != "—" and not _NAME.findall(row[1])] == []


@pytest.mark.parametrize("name", ours())
def test_each_of_our_names_is_there(name: str) -> None:
    assert resolved(name) is not None


@pytest.mark.parametrize("name", ["Modle", "RemoteModel.endpont", "tempo_runtime.kubernetes.x"])
def test_a_name_that_is_missing_would_be_seen(name: str) -> None:
    with pytest.raises((AttributeError, ModuleNotFoundError)):
        resolved(name)


@pytest.mark.parametrize(
    "name",
    sorted(
        {
            *tempo_names.ARGUMENTS,
            *tempo_names.OF_AUTHORS_CLASS,
            *tempo_names.OF_MODEL,
            *tempo_names.OF_MODELS,
            *tempo_names.OF_CHILD,
            *tempo_names.OF_REMOTE,
            *tempo_names.OF_OPTIONS,
        }
    ),
)
def test_each_name_that_is_refused_is_on_the_page(name: str) -> None:
    assert re.search(rf"\b{name}\b", PAGE)
