"""Whether the author's modules in memory are those on the disk.

`save` takes a module's file, but the author tried the module as it was imported. Python does not keep
the source that it read, so the author's modules are noted when a model is declared, which is while that
module, or one that imports it, is imported. A module that was not noted, or was reloaded since, is
compared by its functions.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, FunctionType, ModuleType
from typing import Any

from tempo_runtime.errors import ArtifactError

_OURS = "tempo_runtime"
_STDLIB = tuple(os.path.join(sysconfig.get_path(name), "") for name in ("stdlib", "platstdlib"))
_noted: dict[str, tuple[ModuleSpec, str]] = {}
"""Name of a module -> its spec, which another import replaces, and the digest of its file then."""


def note() -> None:
    """Notes the files of the author's modules that were imported since the last time."""
    for name, module in list(sys.modules.items()):
        spec = _spec(module)
        if spec is None or (name in _noted and _noted[name][0] is spec):
            continue
        with suppress(OSError):
            _noted[name] = (spec, _digest(str(spec.origin)))


def check(sources: Mapping[str, str]) -> None:
    """Refuses modules whose file is not what was imported.

    Args:
        sources: Path of a module, as in an artefact's `code` -> its file.

    Raises:
        ArtifactError: If one has changed.
    """
    changed = [file for path, file in sources.items() if _has_changed(path, file)]
    if changed:
        files = ", ".join(min(file, os.path.relpath(file), key=len) for file in changed)
        raise ArtifactError(
            f"{files} changed on disk since it was imported: restart Python, or reload it with "
            "importlib.reload, so that what you try is what is saved"
        )


def _has_changed(path: str, file: str) -> bool:
    name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    module = sys.modules.get(name)
    spec = _spec(module)
    if spec is None or not os.path.samefile(str(spec.origin), file):
        return False
    spec_then, digest = _noted.get(name, (None, ""))
    if spec_then is spec:
        return digest != _digest(file)
    # Another loader, as pytest's, may have imported other code than compiling the file gives.
    return type(spec.loader) is SourceFileLoader and not _has_code_of(module, str(spec.origin))


def _spec(module: Any) -> ModuleSpec | None:
    """Return the spec of a module that comes from a file and belongs to no installed package."""
    spec = getattr(module, "__dict__", {}).get("__spec__")  # a lazy module is left alone
    origin = getattr(spec, "origin", None)
    if not isinstance(spec, ModuleSpec) or not isinstance(origin, str):
        return None
    elsewhere = "/site-packages/" in origin or "/dist-packages/" in origin
    if elsewhere or origin.startswith(_STDLIB) or spec.name.partition(".")[0] == _OURS:
        return None
    return spec if origin.endswith(".py") else None


def _digest(file: str) -> str:
    with open(file, "rb") as opened:
        return hashlib.sha256(opened.read()).hexdigest()


def _has_code_of(module: Any, origin: str) -> bool:
    """Tell whether compiling a file gives all functions that its module has."""
    with open(origin, "rb") as opened:
        source = opened.read()
    try:
        compiled = compile(source, origin, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    there = {_plain(code) for code in _within(compiled)}
    return all(_plain(function.__code__) in there for function in _functions(module, origin))


def _within(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _within(constant)


def _plain(code: CodeType) -> tuple[Any, ...]:
    """Return a function's code without its line numbers and file."""
    constants = tuple(
        _plain(each) if isinstance(each, CodeType) else (type(each), repr(_sorted(each)))
        for each in code.co_consts
    )
    return code.co_name, code.co_code, constants, code.co_names, code.co_varnames


def _sorted(value: Any) -> Any:
    return sorted(map(repr, value)) if isinstance(value, frozenset) else value


def _functions(module: ModuleType, origin: str) -> Iterator[FunctionType]:
    """Yield the functions of a module and its classes that are written in its file."""
    found, seen = list(vars(module).values()), set[int]()
    while found:
        value = found.pop()
        if id(value) in seen or inspect.ismodule(value):
            continue
        seen.add(id(value))
        if inspect.isclass(value):
            if value.__module__ == module.__name__:
                found += vars(value).values()
            continue
        for inner in ("__func__", "fget", "__wrapped__"):
            with suppress(Exception):  # whatever a stranger's descriptor does
                value = inspect.getattr_static(value, inner)
        if inspect.isfunction(value) and value.__code__.co_filename == origin:
            yield value
