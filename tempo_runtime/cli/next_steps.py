"""The next three commands for somebody who is in a folder."""

from __future__ import annotations

import ast
import os
import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tempo_runtime._util import syntax_tree

_DESCRIPTION = "tempo.json"
_DECORATORS = ("model", "pipeline")
_LARGEST = 1_000_000  # bytes of a module that is read
_MOST = 100  # files of a folder that are looked at


@dataclass(frozen=True)
class Step:
    """A command, and the reason to run it."""

    command: str
    reason: str


def steps(folder: Path) -> list[Step]:
    """Return three commands that work in a folder, the next one first.

    Only names and texts of files are read; no code of the folder is run.
    """
    if artifact := next(_artifacts(folder), None):
        place = shlex.quote(os.path.relpath(artifact, folder))
        return [
            Step(f"tempo-runtime check {place}", "load it in a fresh process, and try its example"),
            Step(f"tempo-runtime serve {place}", "serve it until Ctrl-C, and see how to call it"),
            Step(f"tempo-runtime deploy {place}", "keep it running on this machine"),
        ]
    if pipeline := next(_pipelines(folder), None):
        if _is_project(folder):
            return [
                Step("make test", "train the model, and run the tests"),
                Step("make serve", "save the pipeline, and serve it until Ctrl-C"),
                Step(f"tempo-runtime graph {pipeline}", "see the models that it calls"),
            ]
        place = shlex.quote(f"artifacts/{pipeline.rpartition(':')[2].lower()}")
        return [
            Step(f"tempo-runtime graph {pipeline}", "see the models that it calls"),
            Step(f"tempo-runtime save {pipeline} --folder {place}", "write its artifact"),
            Step(f"tempo-runtime serve {place}", "serve the artifact, and see how to call it"),
        ]
    return [
        Step("tempo-runtime init demo", "start a project in the folder demo"),
        Step("tempo-runtime doctor", "look for known problems on this machine"),
        Step("tempo-runtime --help", "see all commands"),
    ]


def _artifacts(folder: Path) -> Iterator[Path]:
    """Yield the artifacts of pipelines in a folder and up to two folders below, the newest first."""
    found = [
        path
        for pattern in (_DESCRIPTION, f"*/{_DESCRIPTION}", f"*/*/{_DESCRIPTION}")
        for path in islice(folder.glob(pattern), _MOST)
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    yield from (path.parent for path in sorted(found, key=_written, reverse=True))


def _written(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _pipelines(folder: Path) -> Iterator[str]:
    """Yield `MODULE:NAME` of the pipelines that the modules in a folder declare."""
    for path in islice(sorted(folder.glob("*.py")), _MOST):
        if not path.stem.isidentifier():
            continue
        with suppress(OSError, SyntaxError, ValueError, RecursionError):
            if path.stat().st_size > _LARGEST:
                continue
            for node in syntax_tree.parse(path.read_bytes()).body:
                if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and any(
                    map(_declares, node.decorator_list)
                ):
                    yield f"{path.stem}:{node.name}"


def _declares(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else None
    name = getattr(called, "attr", getattr(called, "id", None))  # `tempo.pipeline`, or `pipeline`
    return name in _DECORATORS


def _is_project(folder: Path) -> bool:
    """Return whether `tempo-runtime init` wrote the folder's Makefile."""
    with suppress(OSError, UnicodeDecodeError):
        return "tempo-runtime save" in (folder / "Makefile").read_text()
    return False
