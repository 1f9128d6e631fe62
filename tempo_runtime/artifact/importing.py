"""Reading a pickle together with the modules its artifact brings.

The modules are imported under a name no other artifact has, and an `import` inside them, or inside
what was pickled, finds them there first: two artifacts that bring a package `src` do not meet.

A library that unpickles for the author's code (`joblib.load`) looks a module up in `sys.modules`, by its
plain name. It finds a stand-in there, which gives the attributes of the module of the artifact
whose code called the library.
"""

from __future__ import annotations

import builtins
import importlib
import io
import os
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.abc import Loader, SourceLoader
from importlib.machinery import ModuleSpec
from importlib.util import resolve_name, spec_from_loader
from types import CodeType, FrameType, ModuleType
from typing import Any, TypeVar

import dill

from tempo_runtime.artifact import earlier
from tempo_runtime.authoring import ownership

if sys.version_info >= (3, 11):
    from importlib.resources.abc import TraversableResources
else:
    from importlib.abc import TraversableResources

T = TypeVar("T")
PREFIX = "_tempo_artifact_"
_STAND_IN = "__tempo_stand_in__"
_running: ContextVar[Modules | None] = ContextVar("tempo_running", default=None)


def load(data: bytes, modules: Modules) -> Any:
    """Read what `dump` wrote, with the modules it needs."""
    return _Unpickler(io.BytesIO(data), modules).load()


def written_in(target: Any) -> str:
    """Return the name of the module that a class or function was written in, as its author knows it."""
    module: str = target.__module__
    return module.partition(".")[2] if module.startswith(PREFIX) else module


@contextmanager
def running(modules: Modules | None) -> Iterator[None]:
    """Look plain names up in an artifact's modules, for what is awaited in the block."""
    token = _running.set(modules)
    try:
        yield
    finally:
        _running.reset(token)


def run(modules: Modules | None, function: Callable[..., T], *args: Any) -> T:
    """Call a function of ours for an artifact's code, so that plain names are looked up in its modules.

    Args:
        modules: What the artifact brings; None for code that no artifact brought.
        function: What to call.
        args: Its arguments.
    """
    with running(modules):
        return function(*args)


def spec_of(name: str) -> ModuleSpec | None:
    """Return the spec of a module that was imported here; None for a stand-in."""
    module = sys.modules.get(name)
    spec: ModuleSpec | None = getattr(module, "__spec__", None)
    return None if isinstance(getattr(spec, "loader", None), _StandIns) else spec


def brought(frame: FrameType) -> bool:
    """Tell whether an artifact brought the code that runs in a frame."""
    return _owner(frame) is not None


def _owner(frame: FrameType) -> Modules | None:
    owner = getattr(frame.f_builtins.get("__import__"), "__self__", None)
    return owner if isinstance(owner, Modules) else None


def _calling() -> Modules | None:
    """Return the modules of the artifact whose code is the nearest caller."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not run.__code__:
        owner = _owner(frame)
        if owner is not None:
            return owner
        frame = frame.f_back
    return _running.get()


class Modules:
    """The modules an artifact brings, importable by their own names from inside it only.

    Args:
        name: A name for this loading that no other has: the modules are imported under it.
        folder: Folder the sources came from, for `__file__`.
        sources: Path in that folder -> content, of modules and of the data files beside them. Only
            these are ever executed.
    """

    copy: object = None
    """The object that keeps the folder, if it is a private copy."""

    def __init__(self, name: str, folder: str, sources: Mapping[str, bytes]) -> None:
        self._prefix = f"{PREFIX}{name}"
        self._folder = folder
        self._sources = sources
        modules = [path for path in sources if path.endswith(".py")]
        # Every module, and every folder that can be imported as a package.
        self._names = {
            ".".join(parts[:end])
            for parts in map(_parts, modules)
            for end in range(1, len(parts) + 1)
        }
        self.name = name
        self._archives: dict[str, zipfile.Path] = {}
        self.builtins = {**vars(builtins), "__import__": self._import}
        root = ModuleType(self._prefix)
        root.__path__ = [folder]
        sys.modules[self._prefix] = root
        sys.meta_path.insert(0, self)
        for plain in self._names:
            _share(plain)

    def forget(self) -> None:
        """Remove the modules from the process, once nothing of them is used."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for name in [name for name in sys.modules if name.partition(".")[0] == self._prefix]:
            del sys.modules[name]
        for name in self._names:
            _unshare(name)
        self.copy = None  # the artifact's classes may live longer than the pipeline is loaded

    def brings(self, name: str) -> bool:
        """Tell whether the artifact has a module of that name."""
        return name in self._names

    def place(self, name: str) -> str:
        """Return the name a module is imported under: the artifact's own, or its plain one."""
        package = name
        while package:
            # The rest of a namespace package may be installed; all of another one is here.
            if package in self._names and (package == name or not self._is_namespace(package)):
                return f"{self._prefix}.{name}"
            package = package.rpartition(".")[0]
        return name

    def content(self, path: str) -> bytes:
        """Return a file of the artifact's code, as it was when its digest was checked.

        Raises:
            FileNotFoundError: If the artifact has none there.
        """
        relative = os.path.relpath(path, self._folder).replace(os.sep, "/")
        if relative in self._sources:
            return self._sources[relative]
        if relative.startswith("../"):  # not the artifact's
            with open(path, "rb") as file:
                return file.read()
        raise FileNotFoundError(2, "the artifact has no such file", path)

    def files(self, package: str) -> zipfile.Path:
        """Return the artifact's files in the folder of a package, for `importlib.resources`."""
        if package not in self._archives:
            base = package.partition(".")[2].replace(".", "/") + "/"
            with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
                for path, content in self._sources.items():
                    if path.startswith(base):
                        archive.writestr(path.removeprefix(base), content)
            self._archives[package] = zipfile.Path(zipfile.ZipFile(buffer))
        return self._archives[package]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module of the artifact; see `importlib.abc.MetaPathFinder`."""
        prefix, _, name = fullname.partition(".")
        if prefix != self._prefix:
            if fullname in self._names and _calling() is self:
                return ModuleSpec(fullname, _StandIns(), is_package=self._is_package(fullname))
            return None
        base = name.replace(".", "/")
        package, plain = f"{base}/__init__.py", f"{base}.py"
        for file in (package, plain):
            if file in self._sources:
                loader = _Loader(os.path.join(self._folder, file), self._sources[file], self)
                return spec_from_loader(fullname, loader, is_package=file == package)
        if not any(file.startswith(f"{base}/") for file in self._sources):
            # Final: another finder would take the file of that name, if the folder has one.
            raise ModuleNotFoundError(f"the artifact has no module {name!r}", name=name)
        # A folder without __init__.py.
        spec = ModuleSpec(fullname, _NamespaceLoader(self), is_package=True)
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
        name = name.removeprefix(f"{self._prefix}.")  # from `__package__` and `__name__`
        if name.partition(".")[0] in self._names:
            parts = name.split(".")
            for end in range(2, len(parts) + 1):
                self._join(".".join(parts[:end]), required=True)
            for part in fromlist or ():
                self._join(f"{name}.{part}", required=False)
        place, top = self.place(name), self.place(name.partition(".")[0])
        if isinstance(fromlist, list) and place != name:
            # Of C code (`pickle.load`), which then takes what is in `sys.modules`.
            importlib.import_module(name)
        found = builtins.__import__(place, globals, locals, fromlist or (), 0)
        return found if fromlist or top == name.partition(".")[0] else sys.modules[top]

    def _join(self, name: str, *, required: bool) -> None:
        """Bind an installed part of a namespace package in the part that the artifact brings."""
        package, _, last = name.rpartition(".")
        if self.place(name) != name or not package or self.place(package) == package:
            return
        home = importlib.import_module(self.place(package))
        try:
            setattr(home, last, importlib.import_module(name))
        except ModuleNotFoundError as error:
            if required or error.name != name:
                raise

    def _is_package(self, name: str) -> bool:
        return f"{name.replace('.', '/')}.py" not in self._sources

    def _is_namespace(self, name: str) -> bool:
        base = name.replace(".", "/")
        return not {f"{base}.py", f"{base}/__init__.py"} & self._sources.keys()

    def _package(self, scope: Mapping[str, object]) -> str:
        """Return the package that relative imports of a module, or of a function by value, start at."""
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
            return self._import_module
        if (module, name) == ("dill._dill", "_create_function"):
            return self._create_function
        module, name = earlier.current(module, name)
        return super().find_class(self._modules.place(module), name)

    def _import_module(self, name: str) -> ModuleType:
        return importlib.import_module(self._modules.place(earlier.current_module(name)))

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
        return self._source if path == self._path else self._modules.content(os.fspath(path))

    def get_resource_reader(self, fullname: str) -> TraversableResources | None:
        return _Resources(self._modules, fullname) if self.is_package(fullname) else None

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = self._modules.builtins
        super().exec_module(module)


class _NamespaceLoader(Loader):
    def __init__(self, modules: Modules) -> None:
        self._modules = modules

    def exec_module(self, module: ModuleType) -> None:
        pass

    def get_resource_reader(self, fullname: str) -> TraversableResources:
        return _Resources(self._modules, fullname)


class _Resources(TraversableResources):
    """Data files of a package, for `importlib.resources`: those that were checked."""

    def __init__(self, modules: Modules, package: str) -> None:
        self._modules = modules
        self._package = package

    def files(self) -> Any:
        return self._modules.files(self._package)


class Shared(ModuleType):
    """A module of a plain name that artifacts bring as well: each of them sees its own.

    It is the module that this process imported under that name, or stands in for one.
    """

    def __getattribute__(self, attribute: str) -> Any:
        own: dict[str, Any] = ModuleType.__getattribute__(self, "__dict__")
        name = own["__name__"]
        modules = _calling()
        if modules is not None and attribute != "__class__" and modules.brings(name):
            return getattr(importlib.import_module(modules.place(name)), attribute)
        # Code that looks through `sys.modules` asks for other names with two underscores: import nothing.
        if _STAND_IN in own and (attribute == "__path__" or not attribute.startswith("__")):
            return getattr(_imported_here(name, self), attribute)
        return ModuleType.__getattribute__(self, attribute)

    def __reduce_ex__(self, protocol: Any) -> Any:
        # Pickles that carry modules know those of a plain module's type only.
        return importlib.import_module, (self.__name__,)


class _StandIns(Loader):
    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = Shared(spec.name)
        setattr(module, _STAND_IN, True)
        return module

    def exec_module(self, module: ModuleType) -> None:
        pass


def _imported_here(name: str, stand_in: ModuleType) -> ModuleType:
    """Return the module that an import finds outside of artifacts' code."""
    found = sys.modules.pop(name, stand_in)
    if found is stand_in:
        try:
            found = importlib.import_module(name)
        except ImportError:
            sys.modules[name] = stand_in
            raise AttributeError(
                f"module {name!r} is part of an artifact, and no code of that artifact is running"
            ) from None
    sys.modules[name] = found
    _share(name)
    return found


def _share(name: str) -> None:
    """Make a module of the author's, imported in this process, one that artifacts see their own in."""
    module = sys.modules.get(name)
    if type(module) is not ModuleType:
        return
    # The libraries that use an installed module of that name are to find that one.
    file = getattr(module, "__file__", None)
    path = file or next(iter(getattr(module, "__path__", ())), None)
    if path is not None and not ownership.is_installed(path):
        module.__class__ = Shared


def _unshare(name: str) -> None:
    module = sys.modules.get(name)
    left = [each for each in sys.meta_path if isinstance(each, Modules) and each.brings(name)]
    if left or type(module) is not Shared:
        return
    if _STAND_IN in ModuleType.__getattribute__(module, "__dict__"):
        del sys.modules[name]
    else:
        module.__class__ = ModuleType  # type: ignore[assignment]


def _parts(path: str) -> list[str]:
    """Split a module's path into the parts of its name."""
    parts = path.removesuffix(".py").split("/")
    return parts[:-1] if parts[-1] == "__init__" else parts
