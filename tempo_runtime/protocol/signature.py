"""Read annotations as the named, typed tensors that a pipeline takes and returns."""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from datetime import datetime
from enum import Enum
from functools import cached_property
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np
import typing_extensions

from tempo_runtime.errors import AuthoringError, PayloadError
from tempo_runtime.protocol.columns import Columns, shown
from tempo_runtime.protocol.tensor import datatype_of

_STREAMS = (
    collections.abc.Iterator,
    collections.abc.Iterable,
    collections.abc.Generator,
    collections.abc.AsyncIterator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncGenerator,
)
_UNRESOLVED = (NameError, AttributeError, SyntaxError, TypeError)
OUTPUT_PREFIX = "output-"  # as in MLServer's `decode_args`


class Kind(str, Enum):
    """Kinds of values, by how they are sent. Each kind has one codec."""

    ANY = "any"
    ARRAY = "array"
    BOOL = "bool"
    INT = "int"
    FLOAT = "float"
    STRING = "string"
    STRINGS = "strings"
    BYTES = "bytes"
    BYTES_LIST = "bytes_list"
    DATETIME = "datetime"
    DATETIMES = "datetimes"
    FRAME = "frame"
    JSON = "json"


KINDS: dict[Any, Kind] = {
    Any: Kind.ANY,
    inspect.Parameter.empty: Kind.ANY,
    bool: Kind.BOOL,
    int: Kind.INT,
    float: Kind.FLOAT,
    str: Kind.STRING,
    bytes: Kind.BYTES,
    datetime: Kind.DATETIME,
    list[str]: Kind.STRINGS,
    list[bytes]: Kind.BYTES_LIST,
    list[datetime]: Kind.DATETIMES,
    typing.List[str]: Kind.STRINGS,  # noqa: UP006 - compares unequal to list[str]
    typing.List[bytes]: Kind.BYTES_LIST,  # noqa: UP006
    typing.List[datetime]: Kind.DATETIMES,  # noqa: UP006
}


_WITH_COLUMNS = (Kind.ANY, Kind.ARRAY, Kind.FRAME, Kind.STRINGS)
_SEQUENCES = (list, tuple, collections.abc.Sequence)


@dataclass(frozen=True)
class TensorSpec:
    """One named, typed value of a signature.

    Attributes:
        name: Name of the tensor, and of the argument in Python.
        kind: How the value is sent.
        hint: The annotation, without `Optional` and `Columns`.
        dtype: Element type of an array; None for any type.
        shape: Dimensions of an array, -1 for any length; None for any rank.
        has_default: Whether the argument may be omitted.
        nullable: Whether the value may be None; an omitted argument is then None.
        columns: The names of its columns, for people.
    """

    name: str
    kind: Kind = Kind.ANY
    hint: Any = Any
    dtype: np.dtype[Any] | None = None
    shape: tuple[int, ...] | None = None
    has_default: bool = False
    nullable: bool = False
    columns: Columns | None = None

    @property
    def required(self) -> bool:
        """Whether a call must have this argument."""
        return not (self.has_default or self.nullable)

    @classmethod
    def of(cls, name: str, hint: Any, *, has_default: bool = False) -> TensorSpec:
        """Read one annotation.

        Raises:
            AuthoringError: If values of this type cannot be sent, or cannot have these columns.
        """
        annotation, outer = _without_columns(name, hint)
        hint, nullable = _without_none(_unaliased(annotation))
        hint, inner = _without_columns(name, hint)
        spec = cls._of(name, _unaliased(hint), annotation, has_default, nullable)
        for columns in filter(None, (outer, inner)):
            spec = spec.with_columns(columns)
        return spec

    @classmethod
    def _of(
        cls, name: str, hint: Any, annotation: Any, has_default: bool, nullable: bool
    ) -> TensorSpec:
        if any(isinstance(part, str | typing.ForwardRef) for part in _within(hint)):
            hint = annotation  # an alias that refers to itself; only pydantic resolves it
        if any(map(_is_read_once, _within(hint))):
            raise AuthoringError(
                f"{name}: values of type {hint!r} can be read only once, and would be empty or unchecked "
                "afterwards; annotate it as a list or a Sequence"
            )
        spec = cls(name=name, hint=hint, has_default=has_default, nullable=nullable)
        bare = get_args(hint)[0] if get_origin(hint) is typing.Annotated else hint
        if bare is np.ndarray or get_origin(bare) is np.ndarray:
            dtype, shape = _array_type(bare)
            if dtype is not None:
                _check_dtype(name, dtype)
            return replace(spec, kind=Kind.ARRAY, dtype=dtype, shape=shape)
        if _is_frame(bare):
            return replace(spec, kind=Kind.FRAME)
        if bare is object:
            return spec
        try:
            kind = KINDS.get(bare, Kind.JSON)
        except TypeError:  # an unhashable annotation
            kind = Kind.JSON
        if kind is Kind.JSON:
            _check_json(name, hint)
        return replace(spec, kind=kind)

    def with_columns(self, columns: Columns) -> TensorSpec:
        """Return the same value with names of its columns.

        Raises:
            AuthoringError: If it cannot have these columns.
        """
        if self.columns is not None and self.columns != columns:
            raise AuthoringError(
                f"{self.name}: its annotation names the columns {shown(self.columns.names)}, and not "
                f"{shown(columns.names)}; name them in one place"
            )
        if not self._may_have_columns:
            raise AuthoringError(
                f"{self.name}: a value of type {getattr(self.hint, '__name__', self.hint)} does not have "
                "columns; only arrays, lists and DataFrames do"
            )
        last = self.shape[-1] if self.shape else -1
        if last not in (-1, len(columns.names)):
            raise AuthoringError(
                f"{self.name}: its annotation has {last} columns, and {len(columns.names)} are named "
                f"({shown(columns.names)}); give one name for each"
            )
        return replace(self, columns=columns)

    @property
    def _may_have_columns(self) -> bool:
        if self.kind is Kind.JSON:
            bare = (
                get_args(self.hint)[0] if get_origin(self.hint) is typing.Annotated else self.hint
            )
            return bare in _SEQUENCES or get_origin(bare) in _SEQUENCES
        return self.kind in _WITH_COLUMNS and self.shape != ()


OutputForm = Literal["single", "tuple", "named", "mapping", "list", "dynamic"]


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of a model.

    Attributes:
        inputs: The arguments, in order.
        outputs: The results, in order; one for the forms `single`, `mapping` and `list` (the type of each
            value), empty for `dynamic`.
        form: How the outputs are combined to one Python value: a `single` value, a `tuple`, a class with
            `named` fields, a `mapping` of names to arrays, a `list` of arrays, or by the outputs
            themselves (`dynamic`).
        container: The NamedTuple or TypedDict of `named` outputs.
        streams: Whether the predict method is a generator.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...] = ()
    form: OutputForm = "dynamic"
    container: Any = None
    streams: bool = False

    def __getstate__(self) -> dict[str, Any]:
        # Without cached properties, so that an artifact does not depend on earlier calls.
        return {part.name: getattr(self, part.name) for part in fields(self)}

    def input(self, name: str) -> TensorSpec | None:
        """Return the argument with this name."""
        return next((spec for spec in self.inputs if spec.name == name), None)

    def with_columns(self, columns: Mapping[str, Columns]) -> Signature:
        """Return the same signature with names of the columns of some arguments.

        Args:
            columns: Argument -> the names.

        Raises:
            AuthoringError: If there is no such argument, or it cannot have these columns.
        """
        for name, named in columns.items():
            if not isinstance(named, Columns):
                raise AuthoringError(
                    f"columns: {name!r} has {type(named).__name__}; write Columns([...]) with its names"
                )
            if self.input(name) is None:
                known = ", ".join(spec.name for spec in self.inputs) or "none"
                raise AuthoringError(
                    f"columns: there is no argument {name!r}; the arguments are: {known}"
                )
        inputs = (
            spec.with_columns(columns[spec.name]) if spec.name in columns else spec
            for spec in self.inputs
        )
        return replace(self, inputs=tuple(inputs))

    def takes(self, count: int, names: Collection[str]) -> bool:
        """Return whether it accepts this number of positional arguments and these named ones."""
        if not self.inputs:
            return True
        positional = {spec.name for spec in self.inputs[:count]}
        known = {spec.name for spec in self.inputs}
        needed = {spec.name for spec in self.inputs if spec.required}
        given = positional | set(names)
        return (
            count <= len(self.inputs)
            and positional.isdisjoint(names)
            and needed <= given
            and given <= known
        )

    @cached_property
    def named(self) -> dict[str, TensorSpec]:
        """The arguments that are single tensors, by name."""
        return {spec.name: spec for spec in self.inputs if spec.kind is not Kind.FRAME}

    @cached_property
    def frame(self) -> TensorSpec | None:
        """The DataFrame argument, whose columns are separate tensors."""
        return next((spec for spec in self.inputs if spec.kind is Kind.FRAME), None)

    @classmethod
    def of(cls, function: Callable[..., Any], *, method: bool = False) -> Signature:
        """Read a function's annotations.

        Args:
            function: The predict method, or a pipeline function.
            method: Whether the first parameter is `self`.

        Raises:
            AuthoringError: If an argument or result cannot be sent; the message names it.
        """
        hints = _hints(function)
        parameters = list(inspect.signature(function).parameters.values())[1 if method else 0 :]
        inputs = []
        for parameter in parameters:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
                raise AuthoringError(
                    f"{_place(function)}: the arguments in {stars}{parameter.name} do not have names and "
                    "types; declare each argument"
                )
            if parameter.kind is parameter.POSITIONAL_ONLY:
                raise AuthoringError(
                    f"{_place(function)}: {parameter.name} cannot be positional-only, because arguments "
                    "are passed by name"
                )
            spec = TensorSpec.of(
                parameter.name,
                hints.get(parameter.name, Any),
                has_default=parameter.default is not parameter.empty,
            )
            # `x: int = None` means Optional; Python 3.10 reads it like that, 3.11 does not.
            inputs.append(replace(spec, nullable=spec.nullable or parameter.default is None))
        if sum(spec.kind is Kind.FRAME for spec in inputs) > 1:
            raise AuthoringError(
                f"{_place(function)}: the tensors of a request are the columns of a DataFrame, so a "
                "predict method can have only one DataFrame"
            )
        streams = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
        hint = hints.get("return", Any)
        if streams and (hint in _STREAMS or get_origin(hint) in _STREAMS):
            hint = (*get_args(hint), Any)[0]
        form, container, outputs = _outputs(hint)
        return cls(tuple(inputs), outputs, form, container, streams)

    @classmethod
    def declared(cls, inputs: Any, outputs: Any) -> Signature | None:
        """Return the signature that a `Model` declares by types, or by tuples or dicts of them."""
        if inputs is None and outputs is None:
            return None
        if inputs is None:
            specs: tuple[TensorSpec, ...] = ()
        elif isinstance(inputs, dict):
            specs = tuple(TensorSpec.of(name, hint) for name, hint in inputs.items())
        elif isinstance(inputs, tuple):
            specs = tuple(TensorSpec.of(f"input-{i}", hint) for i, hint in enumerate(inputs))
        else:
            specs = (TensorSpec.of("input-0", inputs),)
        if isinstance(outputs, dict):
            named = _parts(TensorSpec.of(name, hint) for name, hint in outputs.items())
            return cls(specs, named, "named", dict)
        if isinstance(outputs, tuple):
            outputs = types.GenericAlias(tuple, outputs)
        form, container, results = _outputs(Any if outputs is None else outputs)
        return cls(specs, results, form, container)


def _outputs(hint: Any) -> tuple[OutputForm, Any, tuple[TensorSpec, ...]]:
    annotation, hint = hint, _unaliased(hint)
    if hint is Any or hint is object or hint is inspect.Parameter.empty:
        return "dynamic", None, ()
    if typing_extensions.is_typeddict(hint) or (inspect.isclass(hint) and hasattr(hint, "_fields")):
        return "named", hint, _fields(hint)
    origin, args = get_origin(hint), get_args(hint)
    if origin is tuple and args and args[-1] is not Ellipsis:
        specs = (TensorSpec.of(f"{OUTPUT_PREFIX}{i}", of) for i, of in enumerate(args))
        return "tuple", None, _parts(specs)
    if origin is dict and args and args[0] is str:
        value = TensorSpec.of(f"{OUTPUT_PREFIX}0", args[1])
        if value.kind is Kind.ARRAY:
            return "mapping", None, (value,)
    if origin is list and args and _is_array(args[0]):
        return "list", None, (TensorSpec.of(f"{OUTPUT_PREFIX}0", args[0]),)
    return "single", None, (TensorSpec.of(f"{OUTPUT_PREFIX}0", annotation),)


def _is_array(hint: Any) -> bool:
    bare = _unaliased(hint)
    return bare is np.ndarray or get_origin(bare) is np.ndarray


def _fields(container: Any) -> tuple[TensorSpec, ...]:
    """Return the fields of a NamedTuple or TypedDict; fields may be optional."""
    try:
        hints = typing_extensions.get_type_hints(container, include_extras=True)
    except _UNRESOLVED as error:
        raise AuthoringError(
            f"{container.__qualname__}: an annotation cannot be resolved ({error}); define the type "
            "at the top of the module"
        ) from error
    optional = getattr(container, "__optional_keys__", getattr(container, "_field_defaults", ()))
    specs = []
    # A `collections.namedtuple` has fields without hints.
    for name in getattr(container, "_fields", hints):
        hint = hints.get(name, Any)
        # `__optional_keys__` does not consider postponed annotations.
        qualifier: Any = get_origin(hint)
        if qualifier in (typing_extensions.Required, typing_extensions.NotRequired):
            hint = get_args(hint)[0]
        is_optional = qualifier is typing_extensions.NotRequired or (
            name in optional and qualifier is not typing_extensions.Required
        )
        specs.append(TensorSpec.of(name, hint, has_default=is_optional))
    return _parts(specs)


def _parts(specs: Iterable[TensorSpec]) -> tuple[TensorSpec, ...]:
    specs = tuple(specs)
    for spec in specs:
        if spec.kind is Kind.FRAME:
            raise AuthoringError(
                f"{spec.name}: the columns of a DataFrame are the outputs, so it must be the only "
                "result, not one of several"
            )
    return specs


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    closure = getattr(function, "__closure__", None) or ()
    names = function.__code__.co_freevars
    local = {}
    for name, cell in zip(names, closure):
        with suppress(ValueError):  # the name is not assigned yet
            local[name] = cell.cell_contents
    try:
        return typing.get_type_hints(function, localns=local, include_extras=True)
    except _UNRESOLVED as error:
        raise AuthoringError(
            f"{_place(function)}: an annotation cannot be resolved ({error}); define the type at "
            "the top of the module"
        ) from error


def _place(function: Callable[..., Any]) -> str:
    return f"{function.__qualname__} ({function.__code__.co_filename}:{function.__code__.co_firstlineno})"


def _without_none(hint: Any) -> tuple[Any, bool]:
    if get_origin(hint) not in (Union, types.UnionType):
        return hint, False
    args = tuple(arg for arg in get_args(hint) if arg is not type(None))
    if len(args) == len(get_args(hint)):
        return hint, False
    return (args[0] if len(args) == 1 else Union[args]), True  # noqa: UP007 - the members are only known at run time


def _without_columns(name: str, hint: Any) -> tuple[Any, Columns | None]:
    """Return a type without the names of columns in its annotation, and those names."""
    annotated = _unaliased(hint)
    if get_origin(annotated) is not typing.Annotated:
        return hint, None
    bare, *metadata = get_args(annotated)
    found = [part for part in metadata if isinstance(part, Columns)]
    if not found:
        return hint, None
    if len(found) > 1:
        raise AuthoringError(f"{name}: its annotation has Columns twice; name the columns once")
    for part in metadata:
        if part is not found[0]:
            bare = typing.Annotated[bare, part]
    return bare, found[0]


def _unaliased(hint: Any) -> Any:
    """Return the type behind an alias: `type` (`NDArray`, from numpy 2.4 on), NewType or TypeVar."""
    if isinstance(hint, typing.TypeVar):
        if hint.__constraints__:
            return Union[hint.__constraints__]  # noqa: UP007 - only known at run time
        return Any if hint.__bound__ is None else _unaliased(hint.__bound__)
    if isinstance(hint, typing.NewType):
        return _unaliased(hint.__supertype__)
    alias = get_origin(hint) if hasattr(get_origin(hint), "__value__") else hint
    if not hasattr(alias, "__value__"):
        return hint
    return _unaliased(alias.__value__ if alias is hint else alias.__value__[get_args(hint)])


def _within(hint: Any) -> Iterator[Any]:
    """Yield a type and all types in its annotation."""
    yield hint
    for part in get_args(hint):
        yield from _within(part)


def _is_read_once(hint: Any) -> bool:
    """Return whether pydantic would validate the type as an iterator, which can be read only once."""
    return hint is collections.abc.Iterable or get_origin(hint) is collections.abc.Iterable


def _array_type(hint: Any) -> tuple[np.dtype[Any] | None, tuple[int, ...] | None]:
    """Return the dtype and shape in `np.ndarray[SHAPE, np.dtype[DTYPE]]`, both optional.

    SHAPE is `tuple[int, Literal[4]]` (any number of rows, four columns); `int` is any length.
    """
    args = get_args(hint)
    if not args:
        return None, None
    scalar = get_args(args[1])[0] if get_args(args[1]) else Any
    # An abstract type, such as np.floating, is not a dtype; numpy would treat it as float64.
    dtype = np.dtype(scalar) if scalar in np.sctypeDict.values() else None
    dims = get_args(args[0])
    if get_origin(args[0]) is not tuple or Ellipsis in dims:
        return dtype, None
    return dtype, tuple(get_args(d)[0] if get_origin(d) is Literal else -1 for d in dims)


def _is_frame(hint: Any) -> bool:
    module = getattr(hint, "__module__", None) or ""
    return module.partition(".")[0] == "pandas" and getattr(hint, "__name__", "") == "DataFrame"


def _check_dtype(name: str, dtype: np.dtype[Any]) -> None:
    try:
        datatype_of(dtype)
    except PayloadError as error:
        raise AuthoringError(f"{name}: {error}") from error


_PYTHON_TYPES = ((np.bool_, bool), (np.integer, int), (np.floating, float), (np.str_, str))


def _check_json(name: str, hint: Any) -> None:
    from pydantic import PydanticUserError, TypeAdapter

    if isinstance(hint, type) and issubclass(hint, np.generic):
        plain = [python.__name__ for numpy, python in _PYTHON_TYPES if issubclass(hint, numpy)]
        raise AuthoringError(
            f"{name}: values of type np.{hint.__name__} cannot be sent, because most clients do not have "
            f"this type; annotate it as {' or '.join(plain or ['np.ndarray'])}"
        )
    if any(map(_is_array, get_args(hint))):
        raise AuthoringError(
            f"{name}: values of type {hint!r} cannot be sent, because they hold arrays; declare each "
            "array as an argument (`rows: np.ndarray, name: str`) or result (`-> tuple[np.ndarray, str]`)"
        )
    try:
        TypeAdapter(hint)
    except PydanticUserError as error:
        # A model that refers to a later definition is complete when it is first used.
        if error.code != "class-not-fully-defined":
            raise AuthoringError(
                f"{name}: values of type {hint!r} cannot be sent as tensors or JSON; use an "
                "ndarray, DataFrame, str, bytes, number, list, dict or pydantic model"
            ) from error
