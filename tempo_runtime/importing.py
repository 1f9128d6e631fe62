"""Reading a pickle together with the modules its artefact brings.

The modules are imported under a name no other artefact has, and an `import` inside them, or inside
what was pickled, finds them there first: two artefacts that bring a package `src` do not meet.
"""

from __future__ import annotations

import builtins
import importlib
import io
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import SourceLoader
from importlib.machinery import ModuleSpec
from importlib.util import resolve_name, spec_from_loader
from types import CodeType, ModuleType
from typing import Any

import dill

PREFIX = "_tempo_artifact_"

# What artefacts name of ours, and has moved since: b385a99 put these on an author's class.
_MOVED = {
    ("tempo_runtime.authoring", "_LoadingFirst"): ("tempo_runtime.authoring", "_Direct"),
    ("tempo_runtime.authoring", "_Recording"): ("tempo_runtime.authoring", "_Method"),
}


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
        self._prefix = f"{PREFIX}{name}"
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
            # Final: another finder would take the file of that name, if the folder has one.
            raise ModuleNotFoundError(f"the artefact has no module {name!r}", name=name)
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
        if level:
            name = resolve_name("." * level + name, self._package(globals or {}))
        place = self.place(name)
        found = builtins.__import__(place, globals, locals, fromlist or (), 0)
        if fromlist or place == name:
            return found
        return sys.modules[self.place(name.partition(".")[0])]  # `import a.b` binds `a`

    def _package(self, scope: Mapping[str, object]) -> str:
        """The package that relative imports of a module, or of a function by value, start at."""
        package = scope.get("__package__")
        if package is None:
            package = str(scope["__name__"])
            if f"{package.replace('.', '/')}/__init__.py" not in self._sources:
                package = package.rpartition(".")[0]
        return str(package)


class _Unpickler(dill.Unpickler):
    def __init__(self, file: io.BytesIO, modules: Modules) -> None:
        super().__init__(file)
        self._modules = modules

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("dill._dill", "_import_module"):
            return lambda found: importlib.import_module(self._modules.place(found))
        if (module, name) == ("dill._dill", "_create_function"):
            return self._create_function
        module, name = _MOVED.get((module, name), (module, name))
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
