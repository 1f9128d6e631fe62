"""Whether the author's modules in memory are those on the disk.

`save` takes a module's file, but the author tried the module as it was imported. Python does not keep
the source that it read, so the author's modules are noted when a model is declared, which is while that
module, or one that imports it, is imported. A module that was not noted, or was reloaded since, is
compared by its functions.

A value that a notebook or a test has set on a module (`config.LIMIT = 3`, `Shop.factor = 2`) is not in a
file either. It is seen where the file gives the name a constant, or defines the function.
"""

from __future__ import annotations

import abc
import ast
import dataclasses
import functools
import hashlib
import inspect
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, FunctionType, ModuleType, SimpleNamespace
from typing import Any

from tempo_runtime._util import syntax_tree
from tempo_runtime.authoring import ownership
from tempo_runtime.errors import ArtifactError

_OURS = "tempo_runtime"
# Methods that change what they are called on.
_CHANGERS = {"add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "remove"}
_CHANGERS |= {"reverse", "setdefault", "sort", "update"}
# The parts of an expression that `_value_of` evaluates.
_CONSTANT = (ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.Set, ast.BinOp, ast.UnaryOp)
_CONSTANTS = (type(None), bool, int, float, complex, str, bytes, tuple, list, dict, set)
_DYNAMIC = ("exec", "globals", "locals")  # a module that uses them may give itself any name
# Replaces functions in place, without importing their module again.
_AUTORELOAD = "IPython.extensions.autoreload"
_PLAIN = (type, abc.ABCMeta)  # metaclasses that leave attributes as they are
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_noted: dict[str, tuple[ModuleSpec, str]] = {}
"""Name of a module -> its spec, which another import replaces, and the digest of its file then."""
_walked: tuple[int, str, ModuleSpec | None] = (0, "", None)
"""How many modules there were at the last walk over all of them, and the name and spec of the last."""


def note() -> None:
    """Note the files of the author's modules that were imported since the last time."""
    global _walked
    # An import and a reload put their module at the end, so most calls can skip the thousands before it.
    count, last = len(sys.modules), next(reversed(sys.modules))
    spec = getattr(sys.modules.get(last), "__dict__", {}).get("__spec__")
    if spec is not None and _walked[:2] == (count, last) and _walked[2] is spec:
        return
    _walked = (count, last, spec)
    for name, module in list(sys.modules.items()):
        spec = _spec(module)
        if spec is None or (name in _noted and _noted[name][0] is spec):
            continue
        with suppress(OSError):
            _noted[name] = (spec, _digest(str(spec.origin)))


def check(sources: Mapping[str, str]) -> None:
    """Refuse modules that are not what their file says.

    Args:
        sources: Path of a module, as in an artifact's `code` -> its file.

    Raises:
        ArtifactError: If a file has changed since it was imported, or the module in memory has.
    """
    changed = [file for path, file in sources.items() if _has_changed(path, file)]
    if changed:
        files = ", ".join(min(file, os.path.relpath(file), key=len) for file in changed)
        raise ArtifactError(
            f"{files} changed on disk since it was imported: restart Python, or reload it with "
            "importlib.reload, so that what you try is what is saved"
        )
    if replaced := list(_replaced(sources)):
        raise ArtifactError(
            f"{', '.join(replaced)} was set in this process, and what travels is the file, which says "
            "otherwise: change it there, or keep it in an attribute of the pipeline's instance"
        )


def _name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _has_changed(path: str, file: str) -> bool:
    name = _name(path)
    module = sys.modules.get(name)
    spec = _spec(module)
    if spec is None or not os.path.samefile(str(spec.origin), file):
        return False
    spec_then, digest = _noted.get(name, (None, ""))
    if spec_then is spec and (digest == _digest(file) or _AUTORELOAD not in sys.modules):
        return digest != _digest(file)
    # Another loader, as pytest's, may have imported other code than compiling the file gives.
    return type(spec.loader) is SourceFileLoader and not _has_code_of(module, str(spec.origin))


def _spec(module: Any) -> ModuleSpec | None:
    """Return the spec of a module that comes from a file and belongs to no installed package."""
    spec = getattr(module, "__dict__", {}).get("__spec__")  # a lazy module is left alone
    origin = getattr(spec, "origin", None)
    if not isinstance(spec, ModuleSpec) or not isinstance(origin, str):
        return None
    if spec.name.partition(".")[0] == _OURS or _is_installed(origin):
        return None
    return spec if origin.endswith(".py") else None


_is_installed = functools.lru_cache(maxsize=None)(ownership.is_installed)


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


# -- what was set from outside ---------------------------------------------------------------------


def _replaced(sources: Mapping[str, str]) -> Iterator[str]:
    """Name whose value in memory is not the one that the sources give them.

    State that the sources change themselves (a cache, a counter) changes elsewhere as well.
    """
    trees = {}
    for path, file in sources.items():
        module = sys.modules.get(_name(path))
        spec = _spec(module)
        if spec is not None and os.path.samefile(str(spec.origin), file):
            with suppress(SyntaxError, ValueError), open(file, "rb") as opened:
                trees[_name(path)] = syntax_tree.parse(opened.read(), file)
    changing = {name for tree in trees.values() for name in _names_changed_in(tree)}
    files = {os.path.realpath(file) for file in sources.values()}
    for name, tree in trees.items():
        if any(isinstance(each, ast.Name) and each.id in _DYNAMIC for each in ast.walk(tree)):
            continue
        for found in _differences(tree.body, sys.modules[name], changing, files):
            yield f"{name}.{found}"


def _names_changed_in(tree: ast.AST) -> Iterator[str]:
    """Name of what a source changes after it was made: globals, attributes, contents."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield from node.names
        elif isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            if _last(node.value) != "self":
                yield node.attr
        elif isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            yield _last(node.value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in _CHANGERS:
                yield _last(node.func.value)
        elif isinstance(node, ast.Call) and _last(node.func) == "setattr":
            yield from (str(each.value) for each in node.args if isinstance(each, ast.Constant))


def _last(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _differences(
    body: list[ast.stmt], holder: Any, changing: Collection[str], files: Collection[str]
) -> Iterator[str]:
    """Name that a module or a class gives once, and that hold something else in memory."""
    bound, held = _bound(body), vars(holder)
    if "*" in bound:  # any name may be another module's
        return
    for node in body:
        for name in _given(node):
            if bound.count(name) != 1 or name in changing or name not in held:
                continue
            found = held[name]
            if isinstance(node, ast.ClassDef):
                if isinstance(found, type) and found.__name__ == name and _is_of(found, holder):
                    inside = _differences(node.body, found, changing, files)
                    yield from (f"{name}.{each}" for each in inside)
            elif isinstance(node, _FUNCTIONS):
                if _is_from_outside(found, files):
                    yield name
            elif not name.startswith("__") and _is_another(node, found, holder):
                yield name
            else:
                yield from (f"{name}.{each}" for each in _set_on(node, found, changing))


def _is_of(kind: type, holder: Any) -> bool:
    return kind.__module__ == (holder.__module__ if isinstance(holder, type) else holder.__name__)


def _given(node: ast.stmt) -> list[str]:
    """Name that a statement binds, if it is of a kind that can be compared."""
    if isinstance(node, ast.ClassDef):
        return [node.name]
    if isinstance(node, _FUNCTIONS):
        return [] if node.decorator_list else [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _bound(body: list[ast.stmt]) -> list[str]:
    """Name that a scope binds, each as often as it does."""
    names: list[str] = []
    queue: list[ast.AST] = list(body)
    while queue:
        node = queue.pop()
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            names.append(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names += [(each.asname or each.name).partition(".")[0] for each in node.names]
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.append(node.id)
        elif not isinstance(node, ast.Lambda):
            queue += ast.iter_child_nodes(node)
    return names


def _is_another(node: Any, found: Any, holder: Any) -> bool:
    """Return whether a value is not the constant that a statement assigns."""
    in_class = isinstance(holder, type) and type(found) not in _CONSTANTS
    # Metaclasses and decorators put something of their own in the place of fields and members.
    if in_class and (type(holder) not in _PLAIN or hasattr(type(found), "__get__")):
        return False
    try:
        return not _is_same(_value_of(node.value), found)
    except ValueError:
        return False


def _value_of(node: ast.expr) -> Any:
    """Evaluate an expression of literals and operators, as `60 * 60` is one.

    Raises:
        ValueError: If it holds anything else.
    """
    parts = (*_CONSTANT, ast.operator, ast.unaryop, ast.expr_context)
    if not all(isinstance(each, parts) for each in ast.walk(node)):
        raise ValueError("not a constant")
    try:
        # Safe: it calls nothing and names nothing, and its module has evaluated it already.
        return eval(compile(ast.Expression(node), "", "eval"), {})  # noqa: S307
    except Exception as error:
        raise ValueError("not a constant") from error


def _set_on(node: ast.stmt, found: Any, changing: Collection[str]) -> Iterator[str]:
    """Attributes that were set on an object since a statement made it, such as `config = Config()`."""
    call, kind = getattr(node, "value", None), type(found)
    if not isinstance(call, ast.Call) or call.args or _last(call.func) != kind.__name__:
        return
    given: dict[str, Any] = {}
    if dataclasses.is_dataclass(kind) and not hasattr(kind, "__post_init__"):
        given = {each.name: each.default for each in dataclasses.fields(kind)}
    elif kind is not SimpleNamespace and (
        type(kind) not in _PLAIN
        or kind.__init__ is not object.__init__
        or kind.__new__ is not object.__new__
    ):
        return  # only its constructor knows
    unknown = {name for name, value in given.items() if value is dataclasses.MISSING}
    for keyword in call.keywords:
        if keyword.arg is None:
            return
        try:
            given[keyword.arg] = _value_of(keyword.value)
            unknown.discard(keyword.arg)
        except ValueError:
            unknown.add(keyword.arg)
    for name, value in getattr(found, "__dict__", {}).items():
        if name in unknown or name in changing or hasattr(getattr(kind, name, None), "__get__"):
            continue
        if name not in given or not _is_same(given[name], value):
            yield name


def _is_same(given: Any, found: Any) -> bool:
    if type(given) is not type(found):
        return False
    if isinstance(given, dict):
        given, found = list(given.items()), list(found.items())
    if isinstance(given, list | tuple):
        return len(given) == len(found) and all(map(_is_same, given, found))
    return bool(given == found)


def _is_from_outside(found: Any, files: Collection[str]) -> bool:
    """Tell whether a notebook or a test replaced a function of the module."""
    found = getattr(found, "__func__", found)
    if type(found).__module__ == "unittest.mock":
        return True
    found = inspect.unwrap(found)
    if not inspect.isfunction(found):
        return False
    file = found.__code__.co_filename
    return os.path.realpath(file) not in files and not ownership.is_installed(file)
