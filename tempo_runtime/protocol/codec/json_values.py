"""JSON <-> values, and pydantic's check of a value against its annotation.

A value is written so that it arrives as it is: plainly where JSON brings it back, tagged (`tagged`) where
the other end reads that, and otherwise it is refused by name.
"""

from __future__ import annotations

import json
import operator
import types
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

import numpy as np

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.codec import tagged_json as tags
from tempo_runtime.protocol.codec.elements import bytes_tensor, only_element, read_texts, to_utf8
from tempo_runtime.protocol.codec.equality import MISSING, Difference, difference
from tempo_runtime.protocol.signature import Kind, TensorSpec
from tempo_runtime.protocol.tensor import BYTES, Tensor, shown

if TYPE_CHECKING:
    from pydantic import TypeAdapter

TAGGED = "tagged"  # tensor parameter: whether its JSON has tags
_NATIVE = frozenset((Any, object, dict, list, str, int, float, bool, type(None)))
_ELSEWHERE = (
    "plain JSON does not have, and the other end has not said that it reads tagged JSON; annotate the "
    "argument or result with its type, such as dict[str, tuple[int, int]], pass lists, numbers and text "
    "keys, or, for a result, have the client send the parameter tempo_tagged"
)
# What a check may end in besides its own error, as that of pandas' NaT as a date does.
_UNCHECKED = (TypeError, ArithmeticError)
_LOST = "; change its type so that it is read back as it was written, or pass its parts"


def encode_json(spec: TensorSpec, value: Any, tagged: bool = False) -> Tensor:
    """Encode a value as one element of JSON, with tags if needed and if the other end reads them."""
    try:
        if spec.kind is not Kind.JSON:  # a number that no other datatype holds
            return _native_tensor(spec, value, tagged)
        if _is_native(spec.hint):
            return _native_tensor(spec, _native(spec, value), tagged)
        return _typed(spec, value, _checked(spec, value), tagged)
    except RecursionError as error:
        raise PayloadError(f"{spec.name!r} is nested over {tags.DEEPEST} levels deep") from error


def decode_json(spec: TensorSpec, tensor: Tensor) -> Any:
    """Return the value a tensor holds as JSON, or as the numbers or texts of a list."""
    if tensor.datatype != BYTES:
        numbers = tensor.numbers().tolist()
        try:
            return validate(spec, numbers)
        except PayloadError:
            if tensor.shape != [1]:
                raise
        return validate(spec, numbers[0])  # as most clients send a single one
    if tensor.content_type == "str":
        return validate(spec, read_texts(tensor) if tensor.shape != [1] else read_texts(tensor)[0])
    return load_json(spec, only_element(spec, tensor, tensor.elements()))


def has_tags(tensor: Tensor) -> bool:
    """Tell whether a tensor is JSON with tags."""
    return tensor.parameters.get(TAGGED) is True and tensor.content_type == "json"


def read_tagged(spec: TensorSpec, tensor: Tensor) -> Any:
    """Read the value in a tensor of JSON with tags, regardless of the spec's type."""
    element = only_element(spec, tensor, tensor.elements())
    try:
        return tags.from_json(json.loads(element))
    except (TypeError, ValueError, RecursionError) as error:
        raise PayloadError(f"{spec.name!r} is not tagged JSON: {error}") from error
    except PayloadError as error:
        raise _named(spec, error) from error


def encode_tagged(spec: TensorSpec, value: Any) -> Tensor:
    """Encode a value of any kind as one element of JSON with tags."""
    try:
        tensor = _plain_tensor(spec, tags.to_json(value, spec.name))
    except PayloadError as error:
        raise _named(spec, error) from error
    tensor.parameters[TAGGED] = True
    return tensor


def lossy_json(spec: TensorSpec, value: Any) -> str:
    """Write plain JSON even if something gets lost: a tuple becomes a list, a key becomes text."""
    checked = _checked(spec, without_numpy(value, spec.name))
    [text] = _plain_tensor(spec, _dumped(spec, checked)).data
    return str(text, "utf-8")


def load_json(spec: TensorSpec, element: Any) -> Any:
    """Return the value a JSON text says, as the spec's type."""
    if not isinstance(element, str | bytes):
        refuse_deep(spec, element)
        return validate(spec, element)
    from pydantic import ValidationError

    try:
        return _adapter(spec.hint).validate_json(element)
    except ValidationError as error:
        raise _invalid(spec, error) from error
    except _UNCHECKED as error:
        raise _unchecked(spec, element, error) from error


def refuse_deep(spec: TensorSpec, value: Any, levels: int = tags.DEEPEST) -> None:
    """Refuse a plain value that is nested deeper than it could be written again."""
    parts = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(parts, list | tuple):
        return
    if not levels:
        raise PayloadError(f"{spec.name!r} is nested over {tags.DEEPEST} levels deep")
    for part in parts:
        if isinstance(part, list | dict | tuple):
            refuse_deep(spec, part, levels - 1)


def validate(spec: TensorSpec, value: Any) -> Any:
    """Return a Python value as the spec's type, by pydantic's rules."""
    if type(value) is spec.hint and spec.kind is not Kind.JSON:
        return value
    from pydantic import ValidationError

    if isinstance(value, np.ndarray | np.generic) and not _is_open(spec.hint):
        value = _python(value, spec.name)
    try:
        return _adapter(spec.hint).validate_python(value)
    except ValidationError as error:
        raise _invalid(spec, error) from error
    except _UNCHECKED as error:
        raise _unchecked(spec, value, error) from error


# -- writing ---------------------------------------------------------------------------------------


def _native_tensor(spec: TensorSpec, native: Any, tagged: bool) -> Tensor:
    """Encode a value that has no type other than its own."""
    if tags.is_plain(native):
        try:
            return _plain_tensor(spec, native)
        except PayloadError:  # an integer of too many digits
            if not tagged:
                raise
    if tagged:
        return encode_tagged(spec, native)
    # Numbers and lists are what JSON has for numpy's, and no other end than ours could have those.
    numbers = without_numpy(native, spec.name)
    if not tags.is_plain(numbers):
        encode_tagged(spec, numbers)  # raises for what no other end could read, either
        fault = tags.unplain(numbers, spec.name)
        raise PayloadError(f"{spec.name!r}: {fault}, which {_ELSEWHERE}")
    return _plain_tensor(spec, numbers)


def _plain_tensor(spec: TensorSpec, value: Any) -> Tensor:
    try:
        # The standard library's writer: orjson has no integers over 64 bits, no NaN, no infinity.
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise PayloadError(f"{spec.name!r} cannot be written as JSON: {error}") from error
    return bytes_tensor(spec, to_utf8(spec, [text]), [1], "json")


def _typed(spec: TensorSpec, value: Any, checked: Any, tagged: bool) -> Tensor:
    """Encode a value of a type that JSON lacks, in the first form that is read back unchanged."""
    whole = _whole(spec, checked) if tagged else None
    if whole is not None:
        return whole
    faults = []
    for write, reads in _forms(spec, value, checked):
        if reads and not tagged:
            continue
        try:
            tensor = write()
            found = read_back(spec, tensor)
        except PayloadError as error:
            faults.append(str(error))
            continue
        gap = difference(checked, found, spec.name, exact=tagged)
        if gap is None:
            return tensor
        faults.append(str(changed(spec, gap)))
    if not tagged and _needs_tags(spec, value, checked):
        raise PayloadError(f"{faults[0].removesuffix(_LOST)}: it needs what {_ELSEWHERE}")
    raise PayloadError(faults[1] if tagged else faults[0])


def _whole(spec: TensorSpec, value: Any) -> Tensor | None:
    """Return a value in a form that a reader without its annotation can restore."""
    if tags.is_plain(value):
        return None
    try:
        tensor = encode_tagged(spec, value)
        found = read_back(spec, tensor)
    except PayloadError:
        return None
    return tensor if difference(value, found, spec.name) is None else None


def _forms(
    spec: TensorSpec, value: Any, checked: Any
) -> Iterator[tuple[Callable[[], Tensor], bool]]:
    """Ways to write a value, and whether its reader must know tags."""
    yield lambda: _plain_tensor(spec, _dumped(spec, checked)), False
    yield lambda: encode_tagged(spec, _parts(spec, checked, by_alias=True)), True
    yield lambda: encode_tagged(spec, _parts(spec, checked, by_alias=False)), True
    # As it was given: a validator may take something else than it gives.
    if tags.is_plain(value):
        yield lambda: _plain_tensor(spec, value), False
    else:
        yield lambda: encode_tagged(spec, value), True


def _needs_tags(spec: TensorSpec, value: Any, checked: Any) -> bool:
    try:
        _typed(spec, value, checked, tagged=True)
    except PayloadError:
        return False
    return True


def read_back(spec: TensorSpec, tensor: Tensor) -> Any:
    """Read a tensor of JSON, with or without tags."""
    if has_tags(tensor):
        return validate(spec, read_tagged(spec, tensor))
    return decode_json(spec, tensor)


def changed(spec: TensorSpec, gap: Difference) -> PayloadError:
    """Return the error of a value that would arrive as another."""
    return PayloadError(_gap(spec, gap))


def _gap(spec: TensorSpec, gap: Difference) -> str:
    path, ours, theirs = gap
    if shown(ours) == shown(theirs):
        return f"{spec.name!r}: {path} would arrive as another {tags.kind_name(type(ours))}{_LOST}"
    there = "would be missing" if theirs is MISSING else f"would arrive as {shown(theirs)}"
    here = "where there is none" if ours is MISSING else f"and is {shown(ours)}"
    return f"{spec.name!r}: {path} {there}, {here}{_LOST}"


def _dumped(spec: TensorSpec, value: Any) -> Any:
    from pydantic_core import to_jsonable_python

    try:
        return to_jsonable_python(value, by_alias=True, inf_nan_mode="constants", fallback=_plain)
    except Exception as error:  # of an author's serializer, too
        raise PayloadError(f"{spec.name!r} cannot be written as JSON: {error}") from error


def _parts(spec: TensorSpec, value: Any, *, by_alias: bool) -> Any:
    """Take a value apart into Python's own types."""
    try:
        parts = _adapter(spec.hint).dump_python(
            value, by_alias=by_alias, round_trip=True, warnings=False
        )
        return _standard(parts)
    except Exception as error:  # of an author's serializer, too
        raise PayloadError(f"{spec.name!r} cannot be taken apart: {error}") from error


def _standard(value: Any) -> Any:
    """Convert the parts of an author's type to standard types; enum members become their values."""
    kind = type(value)
    if kind is dict:
        return {_standard(key): _standard(part) for key, part in value.items()}
    if kind in (list, set, frozenset):
        return kind(map(_standard, value))
    if isinstance(value, tuple):
        return tuple(map(_standard, value))
    if tags.is_standard(value):
        return value
    if isinstance(value, Enum):
        return _standard(value.value)
    from pydantic_core import to_jsonable_python

    with suppress(Exception):  # what has no JSON is refused with its path
        return to_jsonable_python(value)
    return value


# -- types -----------------------------------------------------------------------------------------


def _native(spec: TensorSpec, value: Any) -> Any:
    """Convert a value to the spec's native type; parts without a type stay as they are."""
    try:
        return validate(spec, value)
    except PayloadError:
        plain = without_numpy(value, spec.name)
        if plain is value:
            raise
        return validate(spec, plain)


def _checked(spec: TensorSpec, value: Any) -> Any:
    """Convert a value to the spec's type, and numpy's values to Python's if the type needs that."""
    plain = without_numpy(value, spec.name)
    if plain is value:
        try:
            return validate(spec, value)
        except PayloadError:
            return _rebuilt(spec, value)
    try:
        checked = validate(spec, value)
    except PayloadError:
        return validate(spec, plain)
    try:
        other = validate(spec, plain)
    except PayloadError:
        return checked
    gap = difference(checked, other)
    kept = gap is not None and isinstance(gap[1], np.ndarray | np.generic)
    return checked if kept else other


def _rebuilt(spec: TensorSpec, value: Any) -> Any:
    """Rebuild a value of the author's classes with the artifact's copies of those classes.

    Raises:
        PayloadError: If it is not one; what `validate` says, or how it would differ.
    """
    for by_alias in (True, False):
        try:
            found = validate(spec, _parts(TensorSpec(spec.name), value, by_alias=by_alias))
        except PayloadError:
            continue
        gap = difference(value, found, spec.name, classes=False)
        if gap is None:
            return found
        raise changed(spec, gap)
    return validate(spec, value)


def _is_open(hint: Any) -> bool:
    """Tell whether a type accepts any value."""
    return hint is Any or hint is object


@lru_cache(maxsize=1024)
def _cached_native(hint: Any) -> bool:
    origin, args = get_origin(hint), get_args(hint)
    if origin is None:
        return hint in _NATIVE
    if origin in (Union, types.UnionType):
        rest = [arg for arg in args if arg is not type(None)]
        return len(rest) == 1 and _is_native(rest[0])
    if origin is dict:
        return not args or (args[0] in (str, Any) and _is_native(args[1]))
    return origin is list and all(map(_is_native, args))


def _is_native(hint: Any) -> bool:
    """Tell whether plain JSON gives values of a type back unchanged.

    Of others, such as `date | str`, the type says what a text of JSON is.
    """
    try:
        return _cached_native(hint)
    except TypeError:  # an unhashable annotation
        return False


def _named(spec: TensorSpec, error: PayloadError) -> PayloadError:
    return PayloadError(f"{spec.name!r}: {error}")


def _unchecked(spec: TensorSpec, value: Any, error: Exception) -> PayloadError:
    return PayloadError(
        f"{spec.name!r}: {shown(value)} cannot be checked, which ended in {type(error).__name__}: "
        f"{error}; pass another value"
    )


def _invalid(spec: TensorSpec, error: Any) -> PayloadError:
    faults = error.errors(include_url=False, include_context=False)
    first = faults[0]
    where = ".".join(str(step) for step in (spec.name, *first["loc"]))
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return PayloadError(f"{where!r}: {first['msg']}, got {shown(first['input'])}{more}")


@lru_cache(maxsize=1024)
def _cached_adapter(hint: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(hint)


def _adapter(hint: Any) -> TypeAdapter[Any]:
    try:
        return _cached_adapter(hint)
    except TypeError:  # an unhashable annotation
        return _cached_adapter.__wrapped__(hint)


def without_numpy(value: Any, name: str) -> Any:
    """Replace numpy's values in containers with Python's; return the value itself if there are none."""
    if isinstance(value, np.ndarray | np.generic):
        return _python(value, name)
    kind = type(value)
    if kind not in (dict, list, tuple):
        return value
    parts = value.values() if kind is dict else value
    if tags.ATOMS.issuperset(map(type, parts)):
        return value
    found = [without_numpy(part, name) for part in parts]
    if all(map(operator.is_, found, parts)):
        return value
    return dict(zip(value, found)) if kind is dict else kind(found)


def _python(value: np.ndarray[Any, Any] | np.generic, name: str) -> Any:
    """Convert to Python's own list or number; nanosecond datetimes would become integers."""
    if value.dtype.kind in "mM":
        rounded = value.astype(f"{value.dtype.kind}8[us]")
        if not bool(np.all((rounded == value) | np.isnat(value))):
            raise PayloadError(
                f"{name!r}: {shown(value)} is more exact than a datetime or timedelta, which have "
                "microseconds; round it"
            )
        value = rounded
    return value.tolist()


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return _python(value, "a part")
    raise TypeError(f"a {type(value).__name__} has no JSON form")
