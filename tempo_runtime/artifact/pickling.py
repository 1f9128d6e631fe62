"""dill, for a pipeline and the code it needs.

The author's class is written by value where dill can (a class of `__main__`, or one made inside a
function). Objects from the author's own modules are written by reference, and those modules' files
go into the artifact; when it is read, they are imported from there, under names no other
artifact shares. Installed packages are written by reference only: the environment has them.
"""

from __future__ import annotations

import dis
import io
import pickle
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from types import CodeType, FunctionType, ModuleType
from typing import Any

import dill

from tempo_runtime.artifact import author_code, saved, state
from tempo_runtime.artifact.importing import PREFIX, Shared
from tempo_runtime.artifact.pickle_imports import references
from tempo_runtime.authoring import decorators
from tempo_runtime.errors import ArtifactError

PROTOCOL = 4  # the highest that every supported Python reads and writes the same


def dump(
    root: Any,
    folders: Collection[str] = (),
    pickles: Mapping[str, Collection[tuple[str, str]]] | None = None,
) -> tuple[bytes, author_code.Code]:
    """Write an object.

    Args:
        root: The object.
        folders: See `author_code.collect`.
        pickles: See `author_code.collect`.

    Returns:
        The pickle, and the author's code that it, and the other pickles, need.

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
        raise ArtifactError(state.unpicklable(pickler.failed, error)) from error
    data = buffer.getvalue()
    names = pickler.imported | {module for module, _ in references(data)}
    if any(name.startswith(PREFIX) for name in names):
        raise ArtifactError(
            "it was loaded from an artifact, and its code is there; copy that folder instead"
        )
    if "__main__" in names:
        culprits = ", ".join(
            sorted({name for module, name in references(data) if module == "__main__"})
        )
        raise ArtifactError(
            f"it needs {culprits} of __main__, which dill can only name and not carry; move it into "
            "a module and import it"
        )
    code = author_code.collect(names, pickler.functions, folders, pickles)
    if private := state.private_names(references(data)):
        code.warnings.append(
            f"it holds {', '.join(private)}, which later versions of tempo_runtime may not have; use "
            "public names of tempo_runtime, or leave it out in __getstate__"
        )
    return data, code


class _Pickler(dill.Pickler):
    dispatch = dill._dill.MetaCatchingDict(dill.Pickler.dispatch.copy())

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.imported: set[str] = set()
        self.functions: list[CodeType] = []  # those that are in the pickle themselves
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
        if (reason := state.refusal(obj)) is not None:
            raise pickle.PicklingError(reason)
        if state.public_module(obj) is not None:
            return obj.__name__
        return state.reduced(obj, self._way)

    def save_global(self, obj: Any, name: str | None = None) -> None:
        if (module := state.public_module(obj)) is None:
            super().save_global(obj, name)
            return
        self.save(module)
        self.save(obj.__name__)
        self.write(pickle.STACK_GLOBAL)
        self.memoize(obj)

    def save_reduce(
        self, function: Any, arguments: Any, *more: Any, obj: Any = None, **named: Any
    ) -> None:
        if isinstance(obj, type) and decorators.is_pipeline_class(obj):
            # dill gives the class with its attributes: they are written as the author wrote them, and
            # what `@pipeline` put there is put back as soon as the class is made.
            last = arguments[-1]
            namespace = last if isinstance(last, dict) else last.keywords["source"]
            written = decorators.undecorated(obj, namespace)
            namespace.clear()
            namespace.update(written)
            more = state.class_state(obj, self._way), None, None, saved.pipeline_class
        super().save_reduce(function, arguments, *more, obj=obj, **named)


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
        if function.__module__ == "__main__":
            _refuse_relative_imports(codes)
        pickler.functions += codes
        pickler.imported |= {name for code in codes for name in _imports_of_code(code, package)}
        for module in _submodules(function, {name for code in codes for name in code.co_names}):
            pickler.save(module)  # imported with the function, and put nowhere
            pickler.write(pickle.POP)
    dill.Pickler.dispatch[FunctionType](pickler, function, **options)


_Pickler.dispatch[ModuleType] = _Pickler.dispatch[Shared] = _save_module


def _save_set(pickler: _Pickler, found: set[Any] | frozenset[Any]) -> None:
    if all(type(element) is str for element in found):
        # In one order: each process hashes texts in its own way.
        pickler.save_reduce(type(found), (sorted(found),), obj=found)
    else:
        dill.Pickler.dispatch[type(found)](pickler, found)


_Pickler.dispatch[FunctionType] = _save_function
_Pickler.dispatch[set] = _Pickler.dispatch[frozenset] = _save_set


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _imports_of_code(code: CodeType, package: str) -> Iterator[str]:
    """Modules that a function imports when it runs; its globals are found by dill."""
    for name, names, level in _import_statements(code):
        yield from author_code.imported(name, names, level, package)


def _refuse_relative_imports(codes: list[CodeType]) -> None:
    """Refuse what `python -m` runs and an artifact cannot: it has no package for its `__main__`."""
    for code in codes:
        for name, names, level in _import_statements(code):
            if level:
                raise ArtifactError(
                    f"{code.co_name} ({code.co_filename}:{code.co_firstlineno}) is in __main__, which is "
                    f"in no package when the artifact runs, and imports {', '.join(names)} from "
                    f"{'.' * level}{name}; write the package's name in place of the dots"
                )


def _import_statements(code: CodeType) -> Iterator[tuple[str, tuple[str, ...], int]]:
    """Yield the module, the names taken from it, and the dots before it, of each import of a function."""
    steps = [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]
    for level, names, step in zip(steps, steps[1:], steps[2:]):
        if step.opname == "IMPORT_NAME":
            yield step.argval, names.argval or (), level.argval


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
            is_used = name.startswith(prefix) and names.issuperset(name[len(prefix) :].split("."))
            # This package has modules of many a name that other things have: `context`, `models`.
            if is_used and not state.is_private(name):
                yield module
