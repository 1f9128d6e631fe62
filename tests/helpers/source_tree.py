"""A source tree of an author, to be saved, deleted and missed by no one."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import tempo_runtime
from tests.helpers import forked_server

ANSWER = """
import json, sys, tempo_runtime
predict = tempo_runtime.load(sys.argv[1])
predict = getattr(predict, "predict", predict)
print(json.dumps([predict(int(value)) for value in sys.argv[2:]]))
plain = [name for name in sys.modules if name.partition(".")[0] in ("own", "space", "helper")]
assert not plain, plain
"""


def fresh(code: str, *arguments: Any, cwd: Path) -> str:
    """Runs code in a process that knows nothing of this one; gives its last line."""
    done = forked_server.run(code, *arguments, cwd=cwd)
    assert done.status == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.fixture(name="tree")
def source_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Writes the files of a source tree that can be imported, as if nothing of it had been."""
    root = tmp_path / "tree"

    def write(files: dict[str, str]) -> Path:
        forget()
        for name in {name.partition("/")[0].removesuffix(".py") for name in files}:
            if name in sys.stdlib_module_names:  # which a test before may have imported
                monkeypatch.delitem(sys.modules, name, raising=False)
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(dedent(text))
        importlib.invalidate_caches()  # an import before may have found no such folder
        return root

    def forget() -> None:
        for name in list(sys.modules):
            if str(root) in str(getattr(sys.modules[name], "__spec__", "")):
                del sys.modules[name]

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(root))
    yield write
    forget()


def saved(target: Any, root: Path, name: str = "artifact") -> Path:
    folder = root.parent / name
    tempo_runtime.save(target, str(folder))
    return folder


def imported(name: str) -> Any:
    return __import__(name, fromlist=["*"])


PREDICT = """
from tempo_runtime import model, pipeline, predictmethod, loadmethod

@model("p")
class P:
    @predictmethod
    def predict(self, value: int) -> int:
        return {body}
"""
PLUS = {"own/__init__.py": "", "own/plus.py": "def plus(value):\n    return value + 1\n"}


def importing(line: str, body: str) -> str:
    return f"{line}\n{PREDICT.format(body=body)}"
