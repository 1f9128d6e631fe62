"""Pipelines of a source tree are saved, the tree is deleted, and a fresh process loads them."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import tempo_runtime
from tempo_runtime import ArtifactError
from tests.helpers.source_tree import ANSWER, PLUS, fresh, imported, importing, saved
from tests.helpers.source_tree import source_tree as source_tree  # a fixture

CASES: dict[str, dict[str, str]] = {
    "from-import": {**PLUS, "own/main.py": importing("from own.plus import plus", "plus(value)")},
    "import": {**PLUS, "own/main.py": importing("import own.plus", "own.plus.plus(value)")},
    "from-dot": {**PLUS, "own/main.py": importing("from . import plus", "plus.plus(value)")},
    "relative": {**PLUS, "own/main.py": importing("from .plus import plus as p", "p(value)")},
    "relative-up": {
        **PLUS,
        "own/deep/__init__.py": "from ..plus import plus",
        "own/main.py": importing("from own.deep import plus", "plus(value)"),
    },
    "inside-a-function": {
        **PLUS,
        "own/lazy.py": "def lazy(value):\n    from .plus import plus\n    return plus(value)\n",
        "own/main.py": importing(
            "def go(value):\n    import own.lazy\n    return own.lazy.lazy(value)", "go(value)"
        ),
    },
    "star": {**PLUS, "own/main.py": importing("from own.plus import *", "plus(value)")},
    "namespace-package": {
        "space/plus.py": PLUS["own/plus.py"],
        "own/main.py": importing("import space.plus as s", "s.plus(value)"),
    },
    "enum": {
        "own/kind.py": "import enum\n\nclass Kind(enum.Enum):\n    ONE = 1\n",
        "own/main.py": importing("from own.kind import Kind", "value + Kind.ONE.value"),
    },
    "dataclass": {
        "own/main.py": """
            from __future__ import annotations
            import dataclasses
            from tempo_runtime import model, predictmethod

            @dataclasses.dataclass
            class Step:
                size: int = dataclasses.field(default=1)

            @model("p")
            class P:
                def __init__(self, step: Step = Step()) -> None:
                    self.step = step

                @predictmethod
                def predict(self, value: int) -> int:
                    return value + self.step.size
        """
    },
    "pydantic": {
        "own/tree.py": """
            from __future__ import annotations
            from pydantic import BaseModel, field_validator

            class Node(BaseModel):
                value: int
                next: Node | None = None

                @field_validator("value")
                @classmethod
                def one_more(cls, value: int) -> int:
                    return value + 1
        """,
        "own/main.py": """
            from __future__ import annotations
            from own.tree import Node
            from tempo_runtime import model, predictmethod

            @model("p")
            class P:
                def sized(self, node: Node) -> int:
                    return node.value

                @predictmethod
                def predict(self, value: int | Node) -> int:
                    made = Node.model_validate({"value": 0, "next": {"value": value}})
                    assert made.next is not None
                    return made.next.value
        """,
    },
    "super-and-own-base": {
        "own/base.py": """
            class Base:
                def __init__(self, plus):
                    super().__init__()
                    self.plus = plus

                def add(self, value):
                    return value + self.plus
        """,
        "own/main.py": """
            from own.base import Base
            from tempo_runtime import model, predictmethod

            @model("p")
            class P(Base):
                def __init__(self):
                    super().__init__(1)

                @predictmethod
                def predict(self, value: int) -> int:
                    return super().add(value)
        """,
    },
    "namedtuple-with-methods": {
        "own/pair.py": """
            from typing import NamedTuple

            class Pair(NamedTuple):
                plus: int
                def add(self, value):
                    return value + self.plus

            class Outer:
                class Pair(Pair):
                    pass
        """,
        "own/main.py": """
            from own.pair import Outer, Pair
            from tempo_runtime import pipeline

            def made():
                pair, inner = Pair(1), Outer.Pair(0)

                @pipeline("p")
                def P(value: int) -> int:
                    assert isinstance(pair, Pair)
                    return inner.add(pair.add(value))

                return P

            P = made()
        """,
    },
    "function-with-context": {
        "own/main.py": """
            from tempo_runtime import pipeline

            @pipeline("p")
            def P(value: int) -> int:
                return value + helper()

            @P.loadmethod
            def load() -> None:
                P.context.plus = 1

            def helper() -> int:
                return P.context.plus
        """
    },
    "function-under-another-name": {
        "own/main.py": """
            from tempo_runtime import pipeline

            def predict(value: int) -> int:
                return value + P.context.plus

            def load() -> None:
                P.context.plus = 1

            P = pipeline("p")(predict)
            P.loadmethod(load)
        """
    },
}


@pytest.mark.parametrize("case", CASES)
def test_a_class_of_a_module_loads_without_its_source(
    case: str, tree: Callable[..., Path], tmp_path: Path
) -> None:
    root = tree(CASES[case])
    folder = saved(imported("own.main").P, root)
    shutil.rmtree(root)
    assert json.loads(fresh(ANSWER, folder, 1, 41, cwd=tmp_path)) == [2, 42]


def test_two_artifacts_with_modules_of_the_same_names_use_each_their_own(
    tree: Callable[..., Path],
) -> None:
    util = "def step():\n    return {}\n"
    main = importing("from src import util", "value + util.step()")
    loaded = []
    for size in (1, 10):
        root = tree({"src/util.py": util.format(size), "src/main.py": main})
        folder = saved(imported("src.main").P, root, f"artifact-{size}")
        loaded.append(tempo_runtime.load(str(folder)))
    tree({})
    assert [one.predict(0) for one in loaded] == [1, 10]
    assert not [name for name in sys.modules if name.partition(".")[0] == "src"]


def test_changed_code_is_used_when_it_is_saved_and_loaded_again(
    tree: Callable[..., Path],
) -> None:
    answers = []
    for size in (1, 10):
        root = tree({"own/main.py": importing(f"SIZE = {size}", "value + SIZE")})
        folder = saved(imported("own.main").P, root)
        answers.append(tempo_runtime.load(str(folder)).predict(0))
    assert answers == [1, 10]


def test_a_module_that_is_no_longer_needed_leaves_the_artifact(
    tree: Callable[..., Path],
) -> None:
    root = tree(CASES["from-import"])
    folder = saved(imported("own.main").P, root)
    assert (folder / "code/own/plus.py").exists()
    root = tree({"own/main.py": importing("", "value")})
    saved(imported("own.main").P, root)
    assert sorted(path.name for path in (folder / "code/own").iterdir()) == [
        "__init__.py",
        "main.py",
    ]


def test_packages_that_only_own_modules_import_are_recorded(tree: Callable[..., Path]) -> None:
    root = tree({"own/main.py": importing("import joblib", "value")})
    folder = saved(imported("own.main").P, root)
    assert "joblib" in json.loads((folder / "tempo.json").read_text())["packages"]


def test_a_module_that_fails_to_import_says_which_packages_it_was_saved_with(
    tree: Callable[..., Path],
) -> None:
    guard = "import sys\nif hasattr(sys, 'lacking'):\n    import lacking_package"
    root = tree({"own/main.py": importing(guard, "value")})
    folder = saved(imported("own.main").P, root)
    before = set(sys.modules)
    sys.lacking = True  # type: ignore[attr-defined]
    try:
        with pytest.raises(ArtifactError, match="No module named 'lacking_package'; is a package"):
            tempo_runtime.load(str(folder))
    finally:
        del sys.lacking  # type: ignore[attr-defined]
    assert set(sys.modules) == before
