"""dill, for a pipeline and the code it needs.

The author's class is written by value where dill can (a class of `__main__`, or one made inside a
function). What it takes from the author's own modules is written by reference, and those modules'
files go into the artefact; when it is read, they are imported from there, under names no other
artefact shares. Installed packages are written by reference only: the environment has them.
"""

from __future__ import annotations

import ast
import dis
import io
import os
import pickle
import pickletools
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.util import find_spec, resolve_name
from types import CodeType, FunctionType, ModuleType
from typing import Any

import dill

from tempo_runtime import states
from tempo_runtime.errors import ArtifactError
from tempo_runtime.importing import PREFIX

PROTOCOL = 4  # the highest that every supported Python reads and writes the same
_OURS = "tempo_runtime"


def dump(root: Any) -> tuple[bytes, dict[str, str], set[str]]:
    """Writes an object.

    Returns:
        The pickle; the source files of the author's modules, path in the artefact's code folder ->
        path on this machine; and the names of all modules that either imports.

    Raises:
        ArtifactError: If something in it cannot be written, or could not be read elsewhere.
    """
    buffer = io.BytesIO()
    pickler = _Pickler(buffer, protocol=PROTOCOL, byref=False, recurse=True)
    try:
        pickler.dump(root)
    except ArtifactError:
        raise
    except Exception as error:  # __getstate__ and __reduce__ are anybody's code
        raise ArtifactError(states.unpicklable(pickler.failed, error)) from error
    data = buffer.getvalue()
    names = pickler.imported | {module for module, _ in references(data)}
    if any(name.startswith(PREFIX) for name in names):
        raise ArtifactError(
            "it was loaded from an artefact, and its code is there; copy that folder instead"
        )
    if "__main__" in names:
        culprits = ", ".join(
            sorted({name for module, name in references(data) if module == "__main__"})
        )
        raise ArtifactError(
            f"it needs {culprits} of __main__, which dill can only name and not carry; move it into "
            "a module and import it"
        )
    return data, *_sources(names)


def references(data: bytes) -> set[tuple[str, str]]:
    """What a pickle would import, as (module, name), without running it."""
    found: set[tuple[str, str]] = set()
    memo: dict[int, str | None] = {}
    strings: list[str] = []
    last: str | None = None
    for opcode, argument, _ in pickletools.genops(data):
        name = opcode.name
        if name == "MEMOIZE":
            memo[len(memo)] = last
            continue
        if name in ("BINGET", "LONG_BINGET"):
            last = memo.get(int(argument or 0))
        elif "UNICODE" in name:
            last = str(argument)
        else:
            last = None
        if last is not None:
            strings.append(last)
        if name == "STACK_GLOBAL" and len(strings) > 1:
            found.add((strings[-2], strings[-1]))
        elif name == "GLOBAL":
            module, _, attribute = str(argument).partition(" ")
            found.add((module, attribute))
    return found


class _Pickler(dill.Pickler):
    dispatch = dill._dill.MetaCatchingDict(dill.Pickler.dispatch.copy())

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.imported: set[str] = set()
        self._way: list[Any] = []  # from the root to what is being written
        self._error: BaseException | None = None
        self.failed: list[Any] = []  # the way to what could not be

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        self._way.append(obj)
        try:
            super().save(obj, save_persistent_id)
        except Exception as error:
            if error is not self._error:
                self._error, self.failed = error, list(self._way)
            raise
        finally:
            self._way.pop()

    def reducer_override(self, obj: Any) -> Any:
        if (reason := states.refusal(obj)) is not None:
            raise pickle.PicklingError(reason)
        return states.reduced(obj, self._way)


def _save_module(pickler: _Pickler, module: ModuleType) -> None:
    if module.__name__ == "__main__":
        dill.Pickler.dispatch[ModuleType](pickler, module)
        return
    # dill would write the contents of a module that is not installed.
    pickler.imported.add(module.__name__)
    pickler.save_reduce(dill._dill._import_module, (module.__name__,), obj=module)


def _save_function(pickler: _Pickler, function: FunctionType, **options: Any) -> None:
    if not dill._dill._locate_function(function, pickler):
        package = function.__globals__.get("__package__") or ""
        codes = list(_codes(function.__code__))
        pickler.imported |= {name for code in codes for name in _imports_of_code(code, package)}
        for module in _submodules(function, {name for code in codes for name in code.co_names}):
            pickler.save(module)  # imported with the function, and put nowhere
            pickler.write(pickle.POP)
    dill.Pickler.dispatch[FunctionType](pickler, function, **options)


def _save_set(pickler: _Pickler, found: set[Any] | frozenset[Any]) -> None:
    if all(type(element) is str for element in found):
        # In one order: each process hashes texts in its own way.
        pickler.save_reduce(type(found), (sorted(found),), obj=found)
    else:
        dill.Pickler.dispatch[type(found)](pickler, found)


_Pickler.dispatch[ModuleType] = _save_module
_Pickler.dispatch[FunctionType] = _save_function
_Pickler.dispatch[set] = _Pickler.dispatch[frozenset] = _save_set


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _imports_of_code(code: CodeType, package: str) -> Iterator[str]:
    """Modules that a function imports when it runs; its globals are found by dill."""
    steps = [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]
    for level, names, step in zip(steps, steps[1:], steps[2:]):
        if step.opname == "IMPORT_NAME":
            yield from _imported(step.argval, names.argval or (), level.argval, package)


def _imported(module: str, names: Iterable[str], level: int, package: str) -> Iterator[str]:
    """What `from {level dots}{module} import {names}` may import."""
    with suppress(ImportError):  # beyond the top: it fails here as well
        base = resolve_name("." * level + module, package)
        yield base
        yield from (f"{base}.{name}" for name in names)


def _submodules(function: FunctionType, names: set[str]) -> Iterator[ModuleType]:
    """Modules that a function reaches through a package: `import a.b` binds no more than `a`."""
    reached = [function.__globals__.get(name) for name in names]
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # a name that is not assigned yet
            reached.append(cell.cell_contents)
    for package in reached:
        if not isinstance(package, ModuleType):
            continue
        prefix = f"{package.__name__}."
        for name, module in sorted(sys.modules.items()):
            if name.startswith(prefix) and names.issuperset(name[len(prefix) :].split(".")):
                yield module


def _sources(names: set[str]) -> tuple[dict[str, str], set[str]]:
    """Files of the author's own modules among these and those they import; and all the names."""
    files: dict[str, str] = {}
    queue, seen = sorted(names), set[str]()
    while queue:
        name = queue.pop()
        if name in seen or name.partition(".")[0] == _OURS:
            continue
        seen.add(name)
        path = _own_file(name)
        if path is None:
            continue
        package = os.path.basename(path) == "__init__.py"
        files[name.replace(".", "/") + ("/__init__.py" if package else ".py")] = path
        queue += [".".join(name.split(".")[:i]) for i in range(1, name.count(".") + 1)]
        queue += _imports_of_source(path, name if package else name.rpartition(".")[0])
    return dict(sorted(files.items())), seen


def _own_file(name: str) -> str | None:
    """The source file of a module that no package brought, and so no environment will have."""
    if name.partition(".")[0] in sys.stdlib_module_names:
        return None
    module = sys.modules.get(name)
    try:
        spec = getattr(module, "__spec__", None) or find_spec(name)
    except (ImportError, AttributeError, ValueError):
        return None
    path = getattr(spec, "origin", None)
    if path is None or not path.endswith(".py") or not os.path.isfile(path):
        return None
    path = os.path.realpath(path)
    return None if path.startswith(_installed_folders()) else path


def _installed_folders() -> tuple[str, ...]:
    folders = {*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()}
    # Only those that hold packages: `data` and `scripts` are the environment's root and its bin.
    kept = [f for f in folders if f.endswith("-packages") or os.path.isfile(f"{f}/os.py")]
    return tuple(os.path.join(os.path.realpath(folder), "") for folder in kept)


def _imports_of_source(path: str, package: str) -> Iterator[str]:
    with open(path, "rb") as file:
        tree = ast.parse(file.read(), path)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
            yield from _imported(node.module or "", names, node.level, package)
