"""How the objects of a pipeline are pickled: their state, and only references to objects of ours.

An object is written as it would pickle itself. It is refused where that would give another one
elsewhere (an open file, a running thread), by the way that leads to it: `self.steps[2].lock`.
"""

from __future__ import annotations

import concurrent.futures
import copyreg
import functools
import inspect
import io
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from types import CellType, FunctionType, MethodType
from typing import Any, TypeVar

import dill
import numpy as np
from pydantic import BaseModel

from tempo_runtime.artifact import declaration, saved
from tempo_runtime.authoring import decorators
from tempo_runtime.authoring.decorators import describe
from tempo_runtime.authoring.details import ModelDetails
from tempo_runtime.authoring.instances import attributes
from tempo_runtime.authoring.models import Model, Pipeline, PipelineModels, pipelines
from tempo_runtime.errors import AuthoringError
from tempo_runtime.protocol.signature import Signature

_CHILDREN = ("tempo_runtime.clients.child", "tempo_runtime.execution.first_call")
_OPEN = (io.FileIO, io.BufferedReader, io.BufferedWriter, io.BufferedRandom, io.TextIOWrapper)
_OF_NAMEDTUPLES = (  # added by typing to a NamedTuple
    "__annotate__",
    "__annotate_func__",
    "__annotations__",
    "__annotations_cache__",
    "__firstlineno__",
    "__orig_bases__",
    "__slotnames__",
    "__static_attributes__",
)
_OF_FUNCTIONS = (*functools.WRAPPER_ASSIGNMENTS, "__wrapped__")  # copied from a pipeline's function
_PACKAGE = "tempo_runtime."
_PUBLIC = (
    "tempo_runtime",
    "tempo_runtime.explain",
    "tempo_runtime.kubernetes",
    "tempo_runtime.testing",
)
_SKIPPED = 8  # objects between an attribute and what is found in it
_LOCKS = (type(threading.Lock()), type(threading.RLock()))
_STANDARD = ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__")
_NEVER: tuple[tuple[Any, str], ...] = (
    (threading.Thread, "a thread runs in this process only"),
    (concurrent.futures.Executor, "its threads or processes belong to this process"),
    (concurrent.futures.Future, "its result arrives in this process only"),
    (subprocess.Popen, "its process is on this machine only"),
    (tempfile.TemporaryDirectory, "its folder is on this machine only"),
)


def contents(pipeline: Pipeline) -> tuple[Any, ...]:
    """Return what is pickled: a class, and its instance if any; or a function, and its context if any.

    Raises:
        AuthoringError: If it is a class that cannot be made without arguments.
    """
    if pipeline.predict_name is None:
        context = pipeline.without_loaded(vars(pipeline.context))
        return (pipeline, context) if context else (pipeline,)
    if (instance := pipeline.instance) is not None:
        return type(instance), instance
    _check_constructor(pipeline)
    return (pipeline.target,)


def _check_constructor(pipeline: Pipeline) -> None:
    """Refuse a class that cannot be made where it is loaded, without arguments."""
    kind = pipeline.target
    reason = ""
    if inspect.isabstract(kind):
        missing = ", ".join(sorted(kind.__abstractmethods__))
        reason = f"it is abstract, and lacks {missing}"
    else:
        with suppress(ValueError, TypeError):  # some classes tell no signature
            signature = inspect.signature(kind)
            required = [
                parameter.name
                for parameter in signature.parameters.values()
                if parameter.default is parameter.empty
                and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            ]
            if required:
                reason = f"its constructor needs {', '.join(required)}"
    if reason:
        name = kind.__name__
        raise AuthoringError(
            f"{pipeline.details.name}: the class {name} cannot be saved, because {reason}; save an "
            f"instance instead, as in save({name}(...)), which is loaded as it was"
        )


def refusal(obj: Any) -> str | None:
    """Say why an object would not be the same elsewhere, though it can be pickled; else None."""
    if isinstance(obj, _OPEN) and not any(obj is getattr(sys, name) for name in _STANDARD):
        return "an open file belongs to this process"
    for kind, reason in _NEVER:
        if isinstance(obj, kind):
            return reason
    if isinstance(obj, _LOCKS) and not repr(obj).startswith("<unlocked"):
        return "it is held, and would stay locked for ever"
    if type(obj).__name__ == "PyCapsule":
        return "it is an address in this process"
    return None


def reduced(obj: Any, way: Sequence[Any]) -> Any:
    """Reduce an object, as `reducer_override` does.

    Args:
        obj: The object.
        way: From the root of what is written to it.
    """
    if isinstance(obj, _LOCKS):  # dill's copy of an RLock can never be acquired
        return (threading.Lock if isinstance(obj, _LOCKS[0]) else threading.RLock), ()
    if obj is os.environ:  # whose variables are nobody else's business
        return getattr, (os, "environ")
    if isinstance(obj, type):
        copyreg._slotnames(obj)  # type: ignore[attr-defined]  # or the first pickle of it adds them
        return (
            _namedtuple(obj)
            if obj.__bases__ == (tuple,) and hasattr(obj, "_fields")
            else NotImplemented
        )
    if isinstance(obj, TypeVar) and not _found_by_name(obj):
        bounds = {"bound": obj.__bound__} if obj.__bound__ is not None else {}
        variance = {"covariant": obj.__covariant__, "contravariant": obj.__contravariant__}
        made = functools.partial(TypeVar, obj.__name__, *obj.__constraints__, **bounds, **variance)
        return made, ()
    if decorators.is_predict_method(obj):
        return saved.predict_method, (obj.function,)
    if isinstance(obj, MethodType) and not isinstance(obj.__func__, FunctionType):
        name = obj.__func__.__name__
        if getattr(obj.__self__, name, None) == obj:
            return getattr, (obj.__self__, name)
    if type(obj).__module__ in _CHILDREN:
        return _child(obj, way)
    if type(obj) in _OURS:
        return _OURS[type(obj)](obj, way)
    own = pipelines.get(obj)
    return NotImplemented if own is None or not own._changed else _reduced(obj, own)


# -- names of this package ------------------------------------------------------------------------


def public_module(obj: Any) -> str | None:
    """Return the module where a class or function of this package is public; None for any other."""
    if not isinstance(obj, type | FunctionType) or not str(obj.__module__).startswith(_PACKAGE):
        return None
    for name in _PUBLIC:
        module = sys.modules.get(name)
        if obj.__name__ in getattr(module, "__all__", ()) and getattr(module, obj.__name__) is obj:
            return name
    return None


def private_names(references: Iterable[tuple[str, str]]) -> list[str]:
    """Return which names of this package in a pickle may move: neither public, nor in `saved`.

    Args:
        references: The module and the name of each global in the pickle.
    """
    return sorted(
        f"{module}.{name}"
        for module, name in references
        if is_private(module) and module != saved.__name__
    )


def is_private(module: str) -> bool:
    """Tell whether a module is one of this package that may move."""
    return module.startswith(_PACKAGE) and module not in _PUBLIC


# -- objects of this package: by the names in `saved`, and as a declaration ------------------------


def _pipeline(obj: Pipeline, way: Sequence[Any]) -> Any:
    if obj.predict_name is not None:
        owner = obj.target if obj._instance is None else obj.instance
        return saved.pipeline_of, (owner,)
    made = obj.__reduce_ex__(4)
    if isinstance(made, str):  # found in its module
        return made
    plain = vars(Pipeline(obj.details, obj.declared, obj.target))
    state = {
        "function": obj.target,
        "load": obj._load_function,
        "attributes": {
            name: value
            for name, value in vars(obj).items()
            if name not in plain and name not in _OF_FUNCTIONS and not hasattr(Pipeline, name)
        },
        **_declaration(obj, is_root=obj is way[0][0]),
    }
    return saved.function_pipeline, (), state, None, None, saved.fill_function_pipeline


def class_state(cls: Any, way: Sequence[Any]) -> dict[str, Any]:
    """Return what makes a class, as its author wrote it, the pipeline class that it is.

    Args:
        cls: The class.
        way: From the root of what is written to it.
    """
    made = describe(cls)
    return {
        "is_decorated": decorators.is_decorated(cls),
        **_declaration(made, is_root=cls is way[0][0]),
    }


def _declaration(obj: Pipeline, *, is_root: bool) -> dict[str, Any]:
    # That of the artifact's own pipeline is in tempo.json.
    declared = None if is_root else _json(declaration.describe(obj))
    return {"declared_types": declaration.pipeline_types(obj), "declaration": declared}


def _details(obj: ModelDetails) -> tuple[Any, ...]:
    declared = _json(declaration.describe_model(obj))
    return declared, declaration.types_of(obj.signature), obj.local_folder


def _json(described: BaseModel) -> Any:
    return described.model_dump(mode="json", exclude_unset=True)


_OURS: dict[type, Callable[[Any, Sequence[Any]], Any]] = {
    Model: lambda obj, way: (saved.model, _details(obj.details)),
    ModelDetails: lambda obj, way: (saved.details, _details(obj)),
    Pipeline: _pipeline,
    PipelineModels: lambda obj, way: (saved.models, (dict(obj.items()),)),
    Signature: lambda obj, way: (
        saved.signature,
        (_json(declaration.describe_signature(obj)), declaration.types_of(obj)),
    ),
}


def _namedtuple(kind: Any) -> Any:
    """Return how a NamedTuple is pickled: dill would keep its fields and lose its methods."""
    if dill._dill._locate_function(kind):
        return kind.__qualname__
    plain = {*vars(namedtuple(kind.__name__, kind._fields)), *_OF_NAMEDTUPLES}
    added = sorted(
        name
        for name, value in vars(kind).items()
        if name not in plain
        or (isinstance(value, FunctionType) and value.__module__ == kind.__module__)
    )
    if added:
        raise pickle.PicklingError(f"{', '.join(added)} would be lost")
    return NotImplemented


def _found_by_name(obj: Any) -> bool:
    module = sys.modules.get(obj.__module__)
    return obj.__module__ != "__main__" and getattr(module, obj.__name__, None) is obj


def _reduced(obj: Any, own: Pipeline) -> Any:
    """Reduce an instance as it would by itself, without what its load method made."""
    reduce = copyreg.dispatch_table.get(type(obj))
    made = reduce(obj) if reduce is not None else obj.__reduce_ex__(4)
    if isinstance(made, str) or len(made) < 3:
        return made
    parts = list(made)
    parts[2] = _without_loaded(parts[2], own)
    return tuple(parts)


def _without_loaded(state: Any, own: Pipeline) -> Any:
    if isinstance(state, tuple):  # of a `__dict__` and of slots
        return tuple(_without_loaded(part, own) for part in state)
    if not isinstance(state, dict):
        return state
    nested = {name for name in state if name in ("__dict__", "__pydantic_private__")}
    if nested:
        return {
            name: _without_loaded(part, own) if name in nested else part
            for name, part in state.items()
        }
    return own.without_loaded(state)


def _child(obj: Any, way: Sequence[Any]) -> Any:
    """Reduce a child to its name in the pipeline that calls it."""
    for holder in reversed((*way[0], *way) if isinstance(way[0], tuple) else way):
        own = holder if isinstance(holder, Pipeline) else pipelines.get(holder)
        if own is None or (own is holder and own.predict_name is not None):
            continue
        children = (own._origin or own)._children
        if children == obj:  # in whichever request they were looked up
            return saved.ChildReference, (), {"_holder": holder, "_alias": None}
        for alias in children or ():
            if getattr(children, alias) == obj:
                return saved.ChildReference, (), {"_holder": holder, "_alias": alias}
    raise TypeError("it is a model of another pipeline, which only that one can call")


# -- what is refused, by name ----------------------------------------------------------------------


def unpicklable(way: Sequence[Any], error: Exception) -> str:
    """Say what cannot be written, where it is, and what to do.

    Args:
        way: From the root of what is written to it.
        error: Why not.
    """
    found = way[-1]
    if isinstance(found, type):
        return (
            f"the class {found.__qualname__} can only be imported, not carried ({error}); move it into a "
            "module and import it"
        )
    path, reached = _where(way)
    remedy = "make it in the load method, which runs wherever the pipeline is loaded"
    if path.startswith("self"):
        remedy += ", or leave it out in __getstate__"
    holds = "is" if reached else "holds"
    return f"{path} {holds} a {_kind_of(found)}, which cannot be pickled: {error}; {remedy}"


def _where(way: Sequence[Any]) -> tuple[str, bool]:
    """Return the path to an object as its author would write it, and whether it is complete."""
    start, path = min(1, len(way) - 1), ""
    for number, found in enumerate(way):
        if pipelines.get(found) is not None:
            start, path = number, "self"
            break
        if isinstance(found, (type, FunctionType)):
            start = number
    holder, rest = way[start], way[start + 1 :]
    if not path and isinstance(holder, FunctionType) and rest:
        steps, reached = _steps(holder, rest)
        return f"{''.join(steps) or 'something'} (of {holder.__qualname__})", reached
    if not path and isinstance(holder, dict):
        path = "context"  # a function pipeline's
    steps, reached = _steps(holder, rest)
    return (path or _name(holder)) + "".join(steps), reached


def _steps(holder: Any, way: Sequence[Any]) -> tuple[list[str], bool]:
    """Return the steps from an object to the last one on the stack, and whether they reach it."""
    steps: list[str] = []
    skipped: list[Any] = []  # objects in between: a state, the arguments of a constructor
    for found in way:
        if step := _step(holder, found):
            steps.append(step)
            holder, skipped = found, []
        else:
            skipped.append(found)
    for number, between in enumerate(skipped[:-1][:_SKIPPED]):
        more, reached = _steps(between, skipped[number + 1 :])
        if reached:
            return steps + more, True
    return steps, not skipped


def _name(found: Any) -> str:
    if isinstance(found, Pipeline):
        return found.details.name
    return getattr(found, "__qualname__", None) or f"a {_kind_of(found)}"


def _step(holder: Any, found: Any) -> str | None:
    """Return the step from an object to one that it holds, such as `.name` or `[2]`."""
    for step, value in _held(holder):
        if value is found:
            return step
    return None


def _held(holder: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(holder, Pipeline):
        return
    if isinstance(holder, FunctionType):
        for name, cell in zip(holder.__code__.co_freevars, holder.__closure__ or ()):
            yield name, _content(cell)
        for name in holder.__code__.co_names:
            yield name, holder.__globals__.get(name)
        return
    if isinstance(holder, dict):
        yield from ((f"[{key!r}]", value) for key, value in holder.items())
    elif isinstance(holder, list | tuple) or (type(holder) is np.ndarray and holder.ndim == 1):
        yield from ((f"[{number}]", value) for number, value in enumerate(holder))
    named = vars(holder) if isinstance(holder, type) else attributes(holder)
    yield from ((f".{name}", value) for name, value in named.items())


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


def _kind_of(obj: Any) -> str:
    """Return the name of an object's class."""
    kind = type(obj)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
