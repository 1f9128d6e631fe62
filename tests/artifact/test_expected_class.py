"""`load(folder, as_=Shop)` gives a `Shop`, or refuses the artifact by name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import tempo_runtime
from tempo_runtime import ArtifactError, model
from tests.helpers.author_module import own_module  # noqa: F401 - a fixture

DERIVED = """
from tempo_runtime import model, predictmethod

@model("size")
class Size:
    factor = 1

    @predictmethod
    def predict(self, value: int) -> int:
        return value * self.factor

@model("large")
class Large(Size):
    factor = 10
"""


def test_load_with_the_saved_class_returns_an_instance(own: Any) -> None:
    inner = tempo_runtime.load(tempo_runtime.save(own.Inner(by=3)), as_=own.Inner)
    assert inner.predict(2) == 6


def test_load_with_a_base_class_returns_an_instance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sizes.py").write_text(DERIVED)
    monkeypatch.syspath_prepend(str(tmp_path))
    import sizes  # type: ignore[import-not-found]

    folder = tempo_runtime.save(sizes.Large, str(tmp_path / "large"))
    assert tempo_runtime.load(folder, as_=sizes.Size).predict(2) == 20
    del sys.modules["sizes"]


def test_load_with_the_saved_function_returns_the_function(own: Any) -> None:
    calls = tempo_runtime.load(tempo_runtime.save(own.calls), as_=own.calls)
    assert calls.details.name == "calls"


def test_load_refuses_an_artifact_of_another_class_by_name(own: Any) -> None:
    folder = tempo_runtime.save(own.Inner)
    modules = set(sys.modules)
    with pytest.raises(ArtifactError, match=r"inner holds owned\.Inner, not owned\.Outer; load"):
        tempo_runtime.load(folder, as_=own.Outer)
    assert set(sys.modules) == modules, "the refused artifact's modules are still imported"


def test_load_refuses_a_class_of_the_same_name_in_another_module(own: Any) -> None:
    other = type("Inner", (), {"__module__": "elsewhere"})
    with pytest.raises(ArtifactError, match=r"holds owned\.Inner, not elsewhere\.Inner"):
        tempo_runtime.load(tempo_runtime.save(own.Inner), as_=other)


def test_load_refuses_a_class_where_the_artifact_holds_a_function(own: Any) -> None:
    with pytest.raises(ArtifactError, match=r"holds owned\.calls, not owned\.Inner"):
        tempo_runtime.load(tempo_runtime.save(own.calls), as_=own.Inner)


def test_a_class_saved_by_a_script_is_the_class_of_that_name_in_its_module(
    own: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @model("shop")
    class Shop:
        @tempo_runtime.predictmethod
        def total(self, price: float) -> float:
            return price

    Shop.__module__, Shop.__qualname__ = "__main__", "Shop"
    monkeypatch.setattr(sys.modules["__main__"], "Shop", Shop, raising=False)
    folder = tempo_runtime.save(Shop, str(tmp_path / "shop"))
    imported = type("Shop", (), {"__module__": "shop"})
    assert tempo_runtime.load(folder, as_=imported)
