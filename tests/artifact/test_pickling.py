"""The imports of a pickle, objects that cannot be written, and the modules an artifact brings."""

# mypy: disable-error-code="no-any-return"
# mypy: allow-untyped-calls

from __future__ import annotations

import collections
import decimal
import enum
import pickle
import pickletools
import re
import socket
import sqlite3
import sys
import threading
from datetime import date, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tempo_runtime
from tempo_runtime import ArtifactError, model, pipeline, predictmethod
from tempo_runtime.artifact import pickling
from tempo_runtime.artifact.importing import Modules
from tempo_runtime.artifact.pickling import references


class Colour(enum.Enum):
    RED = 1


class Recorder(pickle.Unpickler):
    """Tells what is really imported."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.found: set[tuple[str, str]] = set()

    def find_class(self, module: str, name: str) -> Any:
        self.found.add((module, name))
        return super().find_class(module, name)


def imported(data: bytes) -> set[tuple[str, str]]:
    import io

    recorder = Recorder(io.BytesIO(data))
    recorder.load()
    return recorder.found


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([1, "builtins", {"os": ("system",)}], set()),
        (len, {("builtins", "len")}),
        (Fraction(1, 2), {("fractions", "Fraction")}),
        (
            collections.OrderedDict(a=decimal.Decimal(1)),
            {("collections", "OrderedDict"), ("decimal", "Decimal")},
        ),
        (
            [Recorder, Recorder.find_class],
            {(__name__, "Recorder"), (__name__, "Recorder.find_class")},
        ),
        (re.escape, {("re", "escape")}),
    ],
)
def test_references_are_the_globals_of_a_pickle(value: Any, expected: set[Any]) -> None:
    assert references(pickle.dumps(value, 4)) == expected


@pytest.mark.parametrize("protocol", [0, 1, 2, 3])
def test_references_of_older_protocols_are_found_too(protocol: int) -> None:
    data = pickle.dumps([date(2026, 1, 2), Colour.RED], protocol)
    assert {("datetime", "date"), (__name__, "Colour")} <= references(data)


def test_references_are_found_without_running_the_pickle() -> None:
    data = b"cos\nsystem\n(S'touch /tmp/never'\ntR."
    assert references(data) == {("os", "system")}


objects = st.recursive(
    st.none()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["os", "builtins", "Fraction", "datetime", "date"])
    | st.sampled_from([len, Fraction, date, Colour, Recorder, collections.deque, re.escape])
    | st.dates()
    | st.fractions()
    | st.just(Colour.RED)
    | st.builds(timedelta, st.integers(0, 5)),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(max_size=3), inner, max_size=4)
        | st.builds(collections.deque, st.lists(inner, max_size=4))
        | st.tuples(inner, inner)
    ),
)


@given(objects, st.sampled_from([4, 5]), st.booleans())
def test_references_are_what_loading_imports(value: Any, protocol: int, optimized: bool) -> None:
    data = pickle.dumps(value, protocol)
    if optimized:
        data = pickletools.optimize(data)
    assert references(data) == imported(data)


# -- what cannot be written ------------------------------------------------------------------------


def generator() -> Any:
    yield 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: socket.socket(),
        lambda: sqlite3.connect(":memory:"),
        lambda: threading.local(),
        lambda: generator(),
    ],
    ids=["socket", "database", "thread-local", "generator"],
)
def test_an_object_that_cannot_be_pickled_is_refused_by_pipeline_and_remedy(
    make: Any, tmp_path: Path
) -> None:
    held = make()

    @pipeline("holds-it", local_folder=str(tmp_path))
    def holds_it(value: int) -> int:
        return value + len(repr(held))

    try:
        with pytest.raises(
            ArtifactError, match=r"pipeline 'holds-it' cannot be saved: .*load method"
        ):
            tempo_runtime.save(holds_it)
    finally:
        getattr(held, "close", lambda: None)()
    assert list(tmp_path.iterdir()) == []


def test_a_lambda_and_a_closure_are_carried(tmp_path: Path) -> None:
    offset = 40
    add = lambda value: value + offset  # noqa: E731

    @model("adds", local_folder=str(tmp_path))
    def adds(value: int) -> int:
        return add(value)

    tempo_runtime.save(adds)
    offset = 0
    assert tempo_runtime.load(str(tmp_path))(2) == 42


def test_a_pipeline_loaded_with_its_modules_cannot_be_saved_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "resaved_module.py").write_text(
        "from tempo_runtime import model\n\n@model('again')\ndef f() -> int:\n    return 1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import resaved_module  # type: ignore[import-not-found]

    tempo_runtime.save(resaved_module.f, str(tmp_path / "saved"))
    loaded = tempo_runtime.load(str(tmp_path / "saved"))
    with pytest.raises(ArtifactError, match="copy that folder instead"):
        tempo_runtime.save(loaded, str(tmp_path / "again"))
    loaded.release()
    del sys.modules["resaved_module"]


# -- the modules an artifact brings ----------------------------------------------------------------


@pytest.fixture
def modules(tmp_path: Path) -> Any:
    (tmp_path / "pkg").mkdir()
    for file in ("extra.py", "pkg/extra.py"):  # as left by someone else
        (tmp_path / file).write_text("raise SystemExit('it ran')")
    sources = {
        "pkg/__init__.py": b"__all__ = ['a']\n",
        "pkg/a.py": b"from .b import VALUE\n\ndef f():\n    import pkg.b\n    return pkg.b.VALUE\n",
        "pkg/b.py": b"VALUE = 7\n",
        "tops.py": b"from pkg import *\nimport json\n",
        "space/inner/c.py": b"import pkg.a as a\nVALUE = a.f()\n",
        "wants_extra.py": b"import pkg.extra\n",
    }
    made = Modules(f"test_{tmp_path.name}", str(tmp_path), sources)
    yield made
    made.forget()


def load(modules: Modules, name: str) -> Any:
    return modules.builtins["__import__"](name, {}, {}, ("*",), 0)


def test_modules_are_imported_under_a_prefix_of_their_own(modules: Modules) -> None:
    module = load(modules, "pkg.a")
    assert module.__name__ == modules.place("pkg.a") != "pkg.a"
    assert module.f() == 7
    assert not {"pkg", "pkg.a", "pkg.b", "tops"} & set(sys.modules)


def test_other_modules_are_imported_as_ever(modules: Modules) -> None:
    assert modules.place("json.decoder") == "json.decoder"
    import json

    assert load(modules, "tops").json is json


def test_a_star_import_of_a_package_brings_the_submodules_it_lists(modules: Modules) -> None:
    assert load(modules, "tops").a.VALUE == 7


def test_a_namespace_package_needs_no_init_file(modules: Modules) -> None:
    assert load(modules, "space.inner.c").VALUE == 7


@pytest.mark.parametrize("name", ["pkg.extra", "wants_extra"])
def test_a_file_that_was_not_saved_is_never_imported(modules: Modules, name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"the artifact has no module 'pkg\.extra'"):
        load(modules, name)


def test_importing_writes_no_bytecode(modules: Modules, tmp_path: Path) -> None:
    load(modules, "pkg.a")
    assert not list(tmp_path.rglob("__pycache__"))


def test_forgotten_modules_leave_nothing_behind(modules: Modules) -> None:
    load(modules, "space.inner.c")
    prefix = modules.place("pkg").partition(".")[0]
    modules.forget()
    modules.forget()
    assert modules not in sys.meta_path
    assert not [name for name in sys.modules if name.startswith(prefix)]


def test_two_sets_of_modules_with_the_same_names_do_not_meet(tmp_path: Path) -> None:
    both = [Modules(f"{tmp_path.name}_{n}", "", {"m.py": b"N = %d" % n}) for n in (1, 2)]
    assert [load(one, "m").N for one in both] == [1, 2]
    for one in both:
        one.forget()


def test_dump_names_installed_packages_and_carries_none_of_their_files() -> None:
    import numpy as np

    class Uses:
        @predictmethod
        def predict(self) -> float:
            return float(np.mean([1.0]))

    _, code = pickling.dump(Uses)
    assert code.files == {}
    assert "numpy" in code.names
