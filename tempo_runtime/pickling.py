"""dill, for a pipeline and the code it needs.

The author's class is written by value where dill can (a class of `__main__`, or one made inside a
function). What it takes from the author's own modules is written by reference, and those modules'
files go into the artefact; when it is read, they are imported from there, under names no other
artefact shares. Installed packages are written by reference only: the environment has them.
"""

from __future__ import annotations

import ast
import builtins
import dis
import importlib
import io
import os
import pickle
import pickletools
import site
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from importlib.abc import SourceLoader
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_loader
from types import CodeType, ModuleType
from typing import Any

import dill

from tempo_runtime.errors import ArtifactError

PROTOCOL = 4  # the highest that every supported Python reads and writes the same
_PREFIX = "_tempo_artifact_"
_OURS = "tempo_runtime"


# -- writing ---------------------------------------------------------------------------------------


def dump(root: Any) -> tuple[bytes, dict[str, str]]:
    """Writes an object.

    Returns:
        The pickle, and the source files of the author's modules: path in the artefact's code folder
        -> path on this machine.

    Raises:
        ArtifactError: If something in it cannot be written, or could not be read elsewhere.
    """
    buffer = io.BytesIO()
    pickler = _Pickler(buffer, protocol=PROTOCOL, byref=False, recurse=True)
    try:
        pickler.dump(root)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(
            f"it cannot be written by dill: {error}; keep what cannot be pickled (connections, locks, "
            "open files) out of the class and its globals, and make it in __init__ or a load method"
        ) from error
    data = buffer.getvalue()
    names = pickler.imported | {module for module, _ in references(data)}
    if any(name.startswith(_PREFIX) for name in names):
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
    return data, _sources(names)


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


def _save_module(pickler: _Pickler, module: ModuleType) -> None:
    if module.__name__ == "__main__":
        dill.Pickler.dispatch[ModuleType](pickler, module)
        return
    # dill would write the contents of a module that is not installed.
    pickler.imported.add(module.__name__)
    pickler.save_reduce(dill._dill._import_module, (module.__name__,), obj=module)


def _save_code(pickler: _Pickler, code: CodeType) -> None:
    pickler.imported |= set(_imports_of_code(code))
    dill.Pickler.dispatch[CodeType](pickler, code)


_Pickler.dispatch[ModuleType] = _save_module
_Pickler.dispatch[CodeType] = _save_code


def _imports_of_code(code: CodeType) -> Iterator[str]:
    """Modules that a function imports when it runs; its globals are found by dill."""
    for instruction in dis.get_instructions(code):
        if instruction.opname == "IMPORT_NAME":
            yield str(instruction.argval)


def _sources(names: set[str]) -> dict[str, str]:
    """Files of the author's own modules among these, and of those they import."""
    files: dict[str, str] = {}
    queue, seen = sorted(names), set()
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
    return files


def _own_file(name: str) -> str | None:
    """The source file of a module that no package brought, and so no environment will have."""
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
            base = node.module or ""
            if node.level:
                anchor = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*anchor, *([base] if base else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


# -- reading ---------------------------------------------------------------------------------------


def load(data: bytes, modules: Modules) -> Any:
    """Reads what `dump` wrote, with the modules it needs."""
    return _Unpickler(io.BytesIO(data), modules).load()


class Modules:
    """The modules an artefact brings, importable by their own names from inside it only.

    Args:
        name: A name for this loading that no other has: the modules are imported under it.
        folder: Folder the sources came from, for `__file__`.
        sources: Path in that folder -> source. Only these are ever executed.
    """

    def __init__(self, name: str, folder: str, sources: Mapping[str, bytes]) -> None:
        self._prefix = f"{_PREFIX}{name}"
        self._folder = folder
        self._sources = sources
        self._top = {path.partition("/")[0].removesuffix(".py") for path in sources}
        self.builtins = {**vars(builtins), "__import__": self._import}
        root = ModuleType(self._prefix)
        root.__path__ = [folder]
        sys.modules[self._prefix] = root
        sys.meta_path.insert(0, self)

    def forget(self) -> None:
        """Removes the modules from the process, once nothing of them is used."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for name in [name for name in sys.modules if name.partition(".")[0] == self._prefix]:
            del sys.modules[name]

    def place(self, name: str) -> str:
        """The name a module is imported under: the artefact's own, or its plain one."""
        return f"{self._prefix}.{name}" if name.partition(".")[0] in self._top else name

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Finds a module of the artefact; see `importlib.abc.MetaPathFinder`."""
        prefix, _, name = fullname.partition(".")
        if prefix != self._prefix:
            return None
        base = name.replace(".", "/")
        package, plain = f"{base}/__init__.py", f"{base}.py"
        for file in (package, plain):
            if file in self._sources:
                loader = _Loader(os.path.join(self._folder, file), self._sources[file], self)
                return spec_from_loader(fullname, loader, is_package=file == package)
        if not any(file.startswith(f"{base}/") for file in self._sources):
            return None
        spec = ModuleSpec(fullname, None, is_package=True)  # a folder without __init__.py
        spec.submodule_search_locations = [os.path.join(self._folder, base)]
        return spec

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002 - the signature of __import__
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        if level or self.place(name) == name:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        module = importlib.import_module(self.place(name))
        if not fromlist:  # `import a.b` binds `a`
            return sys.modules[self.place(name.partition(".")[0])]
        for item in fromlist:
            if not hasattr(module, item) and hasattr(module, "__path__"):
                importlib.import_module(f"{module.__name__}.{item}")
        return module


class _Unpickler(dill.Unpickler):
    def __init__(self, file: io.BytesIO, modules: Modules) -> None:
        super().__init__(file)
        self._modules = modules

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("dill._dill", "_import_module"):
            return lambda found: importlib.import_module(self._modules.place(found))
        if (module, name) == ("dill._dill", "_create_function"):
            return self._create_function
        return super().find_class(self._modules.place(module), name)

    def _create_function(
        self, code: CodeType, scope: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        scope["__builtins__"] = self._modules.builtins  # what `import` inside the function uses
        return dill._dill._create_function(code, scope, *args, **kwargs)


class _Loader(SourceLoader):
    def __init__(self, path: str, source: bytes, modules: Modules) -> None:
        self._path = path
        self._source = source
        self._modules = modules

    def get_filename(self, fullname: str) -> str:
        return self._path

    def get_data(self, path: Any) -> bytes:
        return self._source

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = self._modules.builtins
        super().exec_module(module)
