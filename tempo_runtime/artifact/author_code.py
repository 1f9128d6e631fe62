"""The author's code that a pipeline needs: modules, and the data files that they read.

Modules are followed from what the pickle imports, through the `import` statements of their sources. A
module that is imported by a name which the program makes (`import_module(f"plugins.{name}")`) is found
from the texts in the sources. Nothing is imported here: a module that nobody imported yet may have side
effects. Code that cannot be found or carried is reported with its place, or refused.
"""

from __future__ import annotations

import ast
import os
import pkgutil
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES, ModuleSpec
from importlib.util import resolve_name
from types import CodeType
from typing import Any

from tempo_runtime._util import syntax_tree
from tempo_runtime.artifact.importing import spec_of
from tempo_runtime.authoring import ownership
from tempo_runtime.authoring.models import Model, Pipeline
from tempo_runtime.errors import ArtifactError

_OURS = "tempo_runtime"
LARGEST = 10 << 20  # bytes of one data file
_MOST = 1000  # data files of one folder
_TOTAL = 100 << 20  # bytes of all of them

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
# Functions that import what a text names, and those that list the modules of a package.
IMPORTERS = frozenset(("import_module", "__import__", "import_string", "locate"))
_WALKERS = frozenset(("iter_modules", "walk_packages"))
_READS_BESIDE = frozenset(("__file__", "__path__", "__spec__", "get_data", "resource_string"))
_RESOURCES = ("importlib.resources", "importlib_resources", "pkg_resources")
OPENERS = frozenset(
    (
        "Path",
        "from_file",
        "fromfile",
        "genfromtxt",
        "load",
        "load_model",
        "loadtxt",
        "memmap",
        "open",
        *(f"read_{kind}" for kind in ("csv", "excel", "feather", "hdf", "json", "orc")),
        *(f"read_{kind}" for kind in ("parquet", "pickle", "table")),
    )
)
_SYSTEM = ("/dev/", "/proc/", "/sys/", "/etc/", "/usr/", "/bin/", "/lib")
_SECRET = re.compile(
    r".*\.(pem|key|p12|pfx|jks|keystore)|id_(rsa|ed25519|ecdsa)|credentials.*\.json"
)


@dataclass
class Code:
    """The author's code that goes into an artifact.

    Attributes:
        files: Path in the artifact's code folder -> content.
        paths: The same -> file on this machine.
        names: All modules that are imported, installed ones too.
        unpickled: File -> the author's modules that unpickling it looks up.
        warnings: What may be missing where the artifact runs, each with its place and the remedy.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    unpickled: dict[str, set[str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@dataclass
class Own:
    """A module of the author's.

    Attributes:
        name: Its name.
        path: Its file.
        content: That file's content.
        package: Whether it is a package.
    """

    name: str
    path: str
    content: bytes
    package: bool

    @property
    def home(self) -> str:
        """The package that its relative imports start at."""
        return self.name if self.package else self.name.rpartition(".")[0]

    @property
    def place(self) -> str:
        """Its path in the artifact's code folder."""
        return self.name.replace(".", "/") + ("/__init__.py" if self.package else ".py")


def collect(
    names: Iterable[str],
    functions: Iterable[CodeType] = (),
    folders: Collection[str] = (),
    pickles: Mapping[str, Collection[tuple[str, str]]] | None = None,
) -> Code:
    """Find what of the author's code is needed.

    Args:
        names: The modules that a pickle, and the functions in it, import.
        functions: The code of the functions that the pickle holds themselves.
        folders: Those of artifacts and models: nothing in them is a data file of a module.
        pickles: Files that the pipeline may unpickle, and the (module, name) pairs that each looks up.

    Raises:
        ArtifactError: If a module of the author's cannot travel.
    """
    return _Collector(folders).collect(names, functions, pickles or {})


def imported(module: str, names: Iterable[str], level: int, package: str) -> Iterator[str]:
    """List the modules that `from {level dots}{module} import {names}` may import."""
    with suppress(ImportError):  # beyond the top: it fails here as well
        base = resolve_name("." * level + module, package)
        yield base
        yield from (f"{base}.{name}" for name in names)


class _Collector:
    def __init__(self, folders: Collection[str]) -> None:
        self._folders = {os.path.realpath(folder) for folder in folders}
        self._code = Code()
        self._own: dict[str, Own] = {}
        self._scans: dict[str, _Scan] = {}
        self._specs: dict[str, ModuleSpec | None] = {}
        self._bytes = 0  # of data files

    def collect(
        self,
        names: Iterable[str],
        functions: Iterable[CodeType],
        pickles: Mapping[str, Collection[tuple[str, str]]],
    ) -> Code:
        functions = [code for code in functions if not ownership.is_installed(code.co_filename)]
        self._follow(names)
        for path, looked_up in pickles.items():
            self._follow_pickle(path, looked_up)
        self._follow_texts(functions)
        self._take_data()
        for name, scan in self._scans.items():
            self._warn_of_files(self._own[name], scan)
        for code in functions:
            self._warn_of_function(code)
        self._code.files = dict(sorted(self._code.files.items()))
        return self._code

    # -- modules -----------------------------------------------------------------------------------

    def _follow(self, names: Iterable[str]) -> None:
        queue = sorted(names)
        while queue:
            name = queue.pop()
            if name in self._code.names or name.partition(".")[0] in (_OURS, "__main__"):
                continue
            self._code.names.add(name)
            own = self._find(name)
            if own is None:
                continue
            self._own[name] = own
            self._code.files[own.place], self._code.paths[own.place] = own.content, own.path
            queue += [".".join(name.split(".")[:i]) for i in range(1, name.count(".") + 1)]
            self._folders |= _model_folders(sys.modules.get(name))
            scan = self._scans[name] = _Scan.of(own)
            queue += scan.imports
            for package in scan.packages:
                queue += self._members(package)

    def _follow_pickle(self, path: str, looked_up: Iterable[tuple[str, str]]) -> None:
        """Follow what a file imports when it is unpickled; installed modules are its own matter."""
        for module, name in sorted(looked_up):
            if module == "__main__":
                self._code.warnings.append(
                    f"{path} refers to {name} in __main__, which does not exist where the artifact runs; "
                    f"move {name} into a module and write the file again"
                )
            elif (own := self._find(module)) is not None:
                if module.partition(".")[0] in sys.stdlib_module_names:
                    raise ArtifactError(
                        f"{path} refers to {name} in your module {module!r} ({own.path}), but elsewhere "
                        "that name imports the standard library's module; rename yours and write the "
                        "file again"
                    )
                self._follow([module])
                self._code.unpickled.setdefault(path, set()).add(module)

    def _follow_texts(self, functions: Collection[CodeType]) -> None:
        """Follow what is imported by a text that the program has somewhere, until nothing is new."""
        asked = [f"{c.co_filename}:{c.co_firstlineno}" for c in functions if _imports_by_text(c)]
        texts = {text for code in functions for text in code.co_consts if isinstance(text, str)}
        found: set[str] = set()
        while True:
            places = [*asked, *(p for scan in self._scans.values() for p in scan.unknown)]
            if not places:
                return
            known = texts | {text for scan in self._scans.values() for text, _ in scan.texts}
            named = {name for text in known for name in self._named(text)}
            if named <= found:
                break
            found |= named
            self._follow(named)
        if not found:
            self._code.warnings += [
                f"{place} imports a module whose name is only known at run time; if the module is yours, "
                "also write a plain import of it in that file, so that it travels"
                for place in places
            ]

    def _named(self, text: str) -> Iterator[str]:
        """Return the author's module that a text names, such as `plugins.csv` or `plugins.csv:Reader`."""
        name = text.partition(":")[0]
        while name and _NAME.fullmatch(name):
            if self._find(name) is not None:
                yield name
                return
            name = name.rpartition(".")[0]

    def _members(self, package: str) -> Iterator[str]:
        """List all modules of an author's package, at any depth."""
        spec = self._spec(package)
        for folder in _locations(spec):
            if ownership.is_installed(folder):
                continue
            for member in pkgutil.iter_modules([folder]):
                if member.name != "__main__":
                    name = f"{package}.{member.name}"
                    yield name
                    if member.ispkg:
                        yield from self._members(name)

    def _find(self, name: str) -> Own | None:
        """Find a module that belongs to no installed package, so that no environment will have it."""
        if name in self._own:
            return self._own[name]
        imported_here = spec_of(name)
        spec = imported_here or self._spec(name)
        path = getattr(spec, "origin", None)
        if spec is None or path in (None, "built-in", "frozen") or ownership.is_installed(path):
            return None
        if not spec.has_location and not os.path.isfile(path):
            return None
        if path.endswith((*EXTENSION_SUFFIXES, *BYTECODE_SUFFIXES)):
            self._refuse_binary(name, path, is_used=imported_here is not None)
            return None
        content = _content(spec, path) if path.endswith(".py") else None
        if content is None:
            return None
        return Own(name, path, content, spec.submodule_search_locations is not None)

    def _refuse_binary(self, name: str, path: str, is_used: bool) -> None:
        kind = (
            "an extension module" if path.endswith(tuple(EXTENSION_SUFFIXES)) else "bytecode only"
        )
        told = (
            f"its module {name!r} is {kind} ({path}), but only source files travel; build a wheel of it, "
            "and install that here and where the artifact runs"
        )
        if is_used:
            raise ArtifactError(told)
        if told not in self._code.warnings:
            self._code.warnings.append(told)

    def _spec(self, name: str) -> ModuleSpec | None:
        """Find a module's spec without importing its package, as `find_spec` would."""
        if name not in self._specs:
            self._specs[name] = self._look_up(name)
        return self._specs[name]

    def _look_up(self, name: str) -> ModuleSpec | None:
        path = None
        package = name.rpartition(".")[0]
        if package:
            path = _locations(spec_of(package) or self._spec(package))
            if not path:
                return None
        for finder in sys.meta_path:
            with suppress(Exception):  # a finder of a library's own, or an invalid name
                spec = finder.find_spec(name, path)
                if spec is not None:
                    return spec
        return None

    # -- data files --------------------------------------------------------------------------------

    def _take_data(self) -> None:
        readers = [name for name, scan in self._scans.items() if scan.reads_beside]
        outermost = {self._outermost_package(name) for name in readers} - {None}
        for name, own in self._own.items():
            if own.package and self._outermost_package(name) in outermost:
                folder = os.path.dirname(own.path)
                self._take_folder(folder, os.path.dirname(own.place), own, code=False)
        for name in readers:
            for text, line in self._scans[name].texts:
                self._take_named(self._own[name], text, line)

    def _outermost_package(self, name: str) -> str | None:
        """Return the outermost package with an `__init__.py` that contains a module."""
        parts = name.split(".")
        packages = (".".join(parts[:end]) for end in range(1, len(parts) + 1))
        return next((p for p in packages if p in self._own and self._own[p].package), None)

    def _take_named(self, own: Own, text: str, line: int) -> None:
        """Take the file or folder that a text names, from the module's folder or one above it."""
        if not text or len(text) > 200 or text.strip("./") == "" or os.path.isabs(text):
            return
        folder, place = beside, target = os.path.dirname(own.path), os.path.dirname(own.place)
        while True:
            path = os.path.normpath(os.path.join(folder, text))
            target = os.path.normpath(os.path.join(place, text)).replace(os.sep, "/")
            if not target.startswith("../"):
                with suppress(OSError, ValueError):  # a text that no path can be
                    if os.path.isfile(path):
                        self._take_file(path, target, own, named=True)
                    elif os.path.isdir(path) and not self._is_apart(path):
                        if folder == beside:
                            self._take_folder(path, target, own, code=True)
                        else:
                            self._take_named_in(path, target, own, line)
            if not place:
                return
            folder, place = os.path.dirname(folder), os.path.dirname(place)

    def _take_named_in(self, folder: str, place: str, own: Own, line: int) -> None:
        """Take the files of a folder above a package that the module names as well.

        The folder may hold anything, what a model is trained with for one.
        """
        texts = {text for text, _ in self._scans[own.name].texts}
        found = False
        for path in self._walk(folder, own):
            relative = os.path.relpath(path, folder).replace(os.sep, "/")
            if not texts.isdisjoint((relative, os.path.basename(path))):
                found |= self._take_file(path, f"{place}/{relative}", own, named=True)
        if not found:
            self._code.warnings.append(
                f"{own.path}:{line} names the folder {folder}, which does not travel; if the pipeline "
                f"reads it, move it into the package {own.home or own.name!r}, or put its files into the "
                "artifact's folder, and read them from get_tempo().details.local_folder"
            )

    def _take_folder(self, folder: str, place: str, own: Own, *, code: bool) -> None:
        """Take the data files of a folder, and with `code` also modules that nothing imports."""
        count = 0
        for path in self._walk(folder, own):
            relative = os.path.relpath(path, folder).replace(os.sep, "/")
            if path.endswith((*BYTECODE_SUFFIXES, *EXTENSION_SUFFIXES, ".pyi", "py.typed", "~")):
                continue
            if path.endswith(".py") and not code:
                continue
            if count == _MOST:
                self._leave(folder, own, f"has more than {_MOST} files")
                return
            count += self._take_file(path, f"{place}/{relative}", own, named=False)

    def _walk(self, folder: str, own: Own) -> Iterator[str]:
        for parent, folders, names in os.walk(folder):
            kept = []
            for name in sorted(folders):
                path = os.path.join(parent, name)
                if name.startswith(".") or name == "__pycache__" or self._is_apart(path):
                    continue
                if os.path.islink(path):
                    self._leave(path, own, "is a link to a folder")
                else:
                    kept.append(name)
            folders[:] = kept
            yield from (os.path.join(parent, n) for n in sorted(names) if not n.startswith("."))

    def _is_apart(self, folder: str) -> bool:
        """Tell whether a folder inside a package is separate from it, rather than its data."""
        inside = os.path.join(os.path.realpath(folder), "")
        if any(os.path.join(each, "").startswith(inside) for each in self._folders):
            return True
        if _is_package(folder):
            return True
        if folder.endswith((".dist-info", ".egg-info", "node_modules")):
            return True
        marks = ("pyvenv.cfg", "conda-meta", "tempo.json", "model-settings.json")
        return any(os.path.exists(os.path.join(folder, mark)) for mark in marks)

    def _take_file(self, path: str, place: str, own: Own, *, named: bool) -> bool:
        if place in self._code.files or not os.path.isfile(path):
            return False
        size = os.path.getsize(path)
        if size > LARGEST or self._bytes + size > _TOTAL:
            self._leave(path, own, f"has {size:,} bytes")
        elif _SECRET.fullmatch(os.path.basename(path)) and not named:
            self._leave(path, own, "looks like a secret")
        else:
            with open(path, "rb") as file:
                self._code.files[place], self._code.paths[place] = file.read(), path
            self._bytes += size
            return True
        return False

    def _leave(self, path: str, own: Own, why: str) -> None:
        told = (
            f"{path}, beside your module {own.name!r}, {why} and does not travel; if the pipeline "
            "reads it, put it into the artifact's folder, and read it from "
            "get_tempo().details.local_folder"
        )
        if told not in self._code.warnings:
            self._code.warnings.append(told)

    # -- files that cannot travel ------------------------------------------------------------------

    def _warn_of_files(self, own: Own, scan: _Scan) -> None:
        for text, line in scan.texts:
            if self._is_elsewhere(text):
                self._warn_of_file(text, f"{own.path}:{line}")
        base = os.path.dirname(own.path)
        for text, line in scan.opened:
            beside = os.path.join(base, text) if scan.reads_beside else ""
            if self._is_here(text) and not os.path.isfile(beside):
                self._warn_of_file(text, f"{own.path}:{line}")

    def _warn_of_function(self, code: CodeType) -> None:
        place = f"{code.co_filename}:{code.co_firstlineno}"
        opens = not OPENERS.isdisjoint(code.co_names)
        for text in code.co_consts:
            if isinstance(text, str) and (
                self._is_elsewhere(text) or (opens and self._is_here(text))
            ):
                self._warn_of_file(text, place)
        if "__file__" in code.co_names:
            self._code.warnings.append(
                f"{place} uses __file__, and the file of a script or notebook does not travel; move the "
                "function into a module, and import it"
            )

    def _warn_of_file(self, path: str, place: str) -> None:
        self._code.warnings.append(
            f"{place} names the file {path}, which does not travel; put it into the artifact's folder, "
            "and read it from get_tempo().details.local_folder"
        )

    def _is_elsewhere(self, text: str) -> bool:
        if not os.path.isabs(text) or len(text) > 1000 or text.startswith(_SYSTEM):
            return False
        return self._is_file(text) and not ownership.is_installed(text)

    def _is_here(self, text: str) -> bool:
        """Tell whether a text that is opened names a file in the working folder."""
        return 0 < len(text) < 200 and not os.path.isabs(text) and self._is_file(text)

    def _is_file(self, text: str) -> bool:
        with suppress(OSError, ValueError):
            return os.path.isfile(text) and os.path.realpath(text) not in self._folders
        return False


class _Scan(ast.NodeVisitor):
    """The imports of a module, and the files that it reads, as its source names them.

    Attributes:
        imports: Names of modules.
        packages: Packages any module of which may be imported.
        unknown: Places where a module is imported whose name is not seen.
        reads_beside: Whether it reads files beside modules.
        texts: Texts and their lines, except docstrings.
        opened: Those that a function is given which opens files.
    """

    def __init__(self, own: Own) -> None:
        self._own = own
        # The values of the module's names that are texts.
        self._constants = {"__package__": own.home, "__name__": own.name}
        self._modules: dict[str, str] = {}  # name in the source -> module
        self.imports: list[str] = []
        self.packages: list[str] = []
        self.unknown: list[str] = []
        self.reads_beside = False
        self.texts: list[tuple[str, int]] = []
        self.opened: list[tuple[str, int]] = []
        self._walks = False

    @classmethod
    def of(cls, own: Own) -> _Scan:
        scan = cls(own)
        try:
            tree = syntax_tree.parse(own.content, own.path)
        except (SyntaxError, ValueError):
            return scan  # for another Python: this one cannot import it, and it travels as it is
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for each in node.names:
                    scan._modules[each.asname or each.name] = each.name
            elif isinstance(node, ast.ImportFrom):
                for each in node.names:
                    for name in imported(node.module or "", [each.name], node.level, own.home):
                        scan._modules[each.asname or each.name] = name
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                for target in node.targets:
                    if isinstance(target, ast.Name) and isinstance(node.value.value, str):
                        scan._constants[target.id] = node.value.value
        scan.visit(tree)
        if scan._walks:  # it imports the names that it found in this way
            scan.unknown.clear()
        return scan

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._importing(alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        names = [alias.name for alias in node.names]
        for name in imported(node.module or "", names, node.level, self._own.home):
            self._importing(name)

    def visit_If(self, node: ast.If) -> None:
        if _name_of(node.test) == "TYPE_CHECKING":
            for each in node.orelse:
                self.visit(each)
        else:
            self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.texts.append((node.value, node.lineno))

    def visit_Name(self, node: ast.Name) -> None:
        self.reads_beside |= node.id in _READS_BESIDE

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.reads_beside |= node.attr in _READS_BESIDE
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = _name_of(node.func)
        if name in IMPORTERS and node.args:
            self._importing_text(*self._text(node.args[0]), node.lineno)
        elif name in _WALKERS:
            walked = [
                ast.unparse(each.value) for each in node.args if isinstance(each, ast.Attribute)
            ]
            self.packages += [self._modules.get(each, each) for each in walked] or [self._own.home]
            self._walks = True
        elif name in OPENERS and node.args:
            text, whole = self._text(node.args[0])
            if whole:
                self.opened.append((text, node.lineno))
        self.generic_visit(node)

    def _importing(self, name: str) -> None:
        self.imports.append(name)
        self.reads_beside |= name in _RESOURCES or name.startswith("importlib.resources.")

    def _importing_text(self, text: str, whole: bool, line: int) -> None:
        if text.startswith("."):
            with suppress(ImportError):
                dots = len(text) - len(text.lstrip("."))
                rest = resolve_name("." * dots, self._own.home).rstrip(".")
                text = f"{rest}.{text[dots:]}"
        if whole and text:
            self.imports.append(text)
        elif "." in text:
            self.packages.append(text.rpartition(".")[0])
        else:
            self.unknown.append(f"{self._own.path}:{line}")

    def _text(self, node: ast.expr) -> tuple[str, bool]:
        """Return the known beginning of a text, and whether that is the whole text."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value, True
        if isinstance(node, ast.Name):
            return self._constants.get(node.id, ""), node.id in self._constants
        if isinstance(node, ast.Attribute) and node.attr in ("__name__", "__package__"):
            module = ast.unparse(node.value)
            return self._modules.get(module, ""), module in self._modules
        if isinstance(node, ast.FormattedValue):
            return self._text(node.value)
        if isinstance(node, ast.JoinedStr):
            return self._joined(node.values)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return self._joined([node.left, node.right])
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
            return self._text(node.left)[0].partition("%")[0], False
        if isinstance(node, ast.Call) and _name_of(node.func) == "format":
            return self._text(getattr(node.func, "value", node))[0].partition("{")[0], False
        return "", False

    def _joined(self, parts: Iterable[ast.expr]) -> tuple[str, bool]:
        joined = ""
        for part in parts:
            text, whole = self._text(part)
            joined += text
            if not whole:
                return joined, False
        return joined, True


def _name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _model_folders(module: Any) -> set[str]:
    """List the folders of models that a module declares: their artifacts are not its data."""
    found = set()
    for value in list(vars(module or object).values()):
        if isinstance(value, type) and "get_tempo" in vars(value) and not issubclass(value, Model):
            value = value.get_tempo()  # type: ignore[attr-defined]
        if isinstance(value, Model):
            declared = dict(value.declared.items()) if isinstance(value, Pipeline) else {}
            folders = (model.details.local_folder for model in (value, *declared.values()))
            found |= {os.path.realpath(folder) for folder in folders if folder}
    return found


def _imports_by_text(code: CodeType) -> bool:
    return not IMPORTERS.isdisjoint(code.co_names)


def _is_package(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, "__init__.py"))


def _locations(spec: Any) -> list[str]:
    locations = getattr(spec, "submodule_search_locations", None) or []
    # A namespace package's are looked up again through its parent, which need not be imported.
    return list(getattr(locations, "_path", locations))


def _content(spec: ModuleSpec, path: str) -> bytes | None:
    try:
        if os.path.isfile(path):
            with open(path, "rb") as file:
                return file.read()
        read: Callable[[str], bytes] | None = getattr(spec.loader, "get_data", None)
        return read(path) if read is not None else None  # of a zip file
    except OSError:
        return None
