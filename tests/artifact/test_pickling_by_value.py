"""Classes and functions that no module holds: made in a function, or of a script."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.source_tree import ANSWER, PLUS, fresh, imported, saved
from tests.helpers.source_tree import source_tree as source_tree  # a fixture

FACTORY = """
def make(plus):
    from tempo_runtime import model, predictmethod

    class Base:
        def predict(self, value):
            return value + plus

    @model("p")
    class P(Base):
        {line}

        @predictmethod
        def predict(self, value: int) -> int:
            {inside}
            return {body}

    return P

P = None
"""
FACTORIES = {
    "closure": ("pass", "pass", "super().predict(value)"),
    "import-inside": ("pass", "import own.plus", "own.plus.plus(value)"),
    "from-inside": ("pass", "from own import plus", "plus.plus(value)"),
    "relative-inside": ("pass", "from .plus import plus", "plus(value)"),
    "relative-package-inside": ("pass", "from . import plus", "plus.plus(value)"),
    "submodule-of-a-global": ("pass", "pass", "own.plus.plus(value)"),
    "in-a-nested-function": (
        "def each(self, values):\n            return [(lambda v: own.plus.plus(v))(v) for v in values]",
        "pass",
        "self.each([value])[0]",
    ),
}


@pytest.mark.parametrize("module", ["main.py", "__init__.py"])
@pytest.mark.parametrize("case", FACTORIES)
def test_a_class_made_by_a_function_loads_without_its_source(
    case: str, module: str, tree: Callable[..., Path], tmp_path: Path
) -> None:
    line, inside, body = FACTORIES[case]
    made = FACTORY.format(line=line, inside=inside, body=body)
    root = tree({**PLUS, f"own/{module}": f"import own.plus\n{made}"})
    folder = saved(imported("own.main" if module == "main.py" else "own").make(1), root)
    shutil.rmtree(root)
    assert json.loads(fresh(ANSWER, folder, 1, 41, cwd=tmp_path)) == [2, 42]


SCRIPT = """
import sys
import xml.etree.ElementTree
from dataclasses import dataclass
import tempo_runtime
import own.plus
from tempo_runtime import model, predictmethod

@dataclass
class Step:
    size: int

def text(value: int) -> str:
    return f"<a>{value}</a>"

@model("p")
class P:
    def __init__(self, step: Step) -> None:
        self.step = step

    @predictmethod
    def predict(self, value: int) -> int:
        found = xml.etree.ElementTree.fromstring(text(value)).text
        return own.plus.plus(int(found)) - 1 + self.step.size

@model("f")
def f(value: int) -> int:
    return value + f.context.plus

@f.loadmethod
def load() -> None:
    f.context.plus = 1

tempo_runtime.save(P(Step(1)), sys.argv[1])
tempo_runtime.save(f, sys.argv[2])
"""


def test_a_class_and_a_function_of_a_script_load_without_it(
    tree: Callable[..., Path], tmp_path: Path
) -> None:
    root = tree({**PLUS, "script.py": SCRIPT})
    folders = [tmp_path / "class", tmp_path / "function"]
    command = [sys.executable, "-W", "error", str(root / "script.py"), *map(str, folders)]
    subprocess.run(command, check=True, cwd=tmp_path)
    shutil.rmtree(root)
    for folder in folders:
        assert json.loads(fresh(ANSWER, folder, 1, 41, cwd=tmp_path)) == [2, 42]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("class Kind(enum.Enum):\n    value = 1", "it needs Kind of __main__"),
        (
            "class Kind(typing.NamedTuple):\n    value: int = 1\n    def half(self): return 1",
            "the class Kind can only be imported, not carried (half would be lost)",
        ),
    ],
)
def test_a_class_of_a_script_that_cannot_be_carried_is_refused_by_name(
    tree: Callable[..., Path], tmp_path: Path, kind: str, said: str
) -> None:
    script = f"""
import enum
import typing
import tempo_runtime

{kind}

@tempo_runtime.model("p")
def f(value: int) -> int:
    return Kind is None

tempo_runtime.save(f, "artifact")
"""
    root = tree({"script.py": script})
    command = [sys.executable, str(root / "script.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    error = done.stderr.splitlines()[-1]
    assert f"pipeline 'p' cannot be saved: {said}" in error
    assert "move it into a module" in error


def test_a_namedtuple_of_a_script_is_carried(tree: Callable[..., Path], tmp_path: Path) -> None:
    script = """
import typing
import tempo_runtime

class Pair(typing.NamedTuple):
    one: int
    other: int = 1

@tempo_runtime.model("p")
def f(value: int) -> int:
    return sum(Pair(value))

tempo_runtime.save(f, "artifact")
tempo_runtime.save(f, "artifact")
"""
    root = tree({"script.py": script})
    subprocess.run([sys.executable, str(root / "script.py")], cwd=tmp_path, check=True)
    assert json.loads(fresh(ANSWER, tmp_path / "artifact", 1, 41, cwd=tmp_path)) == [2, 42]


def test_a_relative_import_in_a_function_that_python_m_runs_is_refused(
    tree: Callable[..., Path], tmp_path: Path
) -> None:
    script = """
import tempo_runtime

@tempo_runtime.model("p")
def f(value: int) -> int:
    from .plus import plus
    return plus(value)

assert f(1) == 2
tempo_runtime.save(f, "artifact")
"""
    root = tree({**PLUS, "own/script.py": script})
    command = [sys.executable, "-m", "own.script"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 1
    error = done.stderr.splitlines()[-1]
    assert re.search(r"script\.py:\d+\) is in __main__, .* imports plus from \.plus; write", error)
