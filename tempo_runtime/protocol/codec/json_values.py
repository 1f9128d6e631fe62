"""Convert values to JSON and back, and validate them against their annotations with pydantic.

A value must arrive unchanged. It is written as plain JSON if that preserves it, or with tags
(`tagged_json`) if the receiver reads them; otherwise it is refused by name.
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

TAGGED = "tagged"  # tensor parameter: the JSON has tags
_NATIVE = frozenset((Any, object, dict, list, str, int, float, bool, type(None)))
_ELSEWHERE = (
    "plain JSON does not have, and the receiver has not stated that it reads tagged JSON; annotate the "
    "argument or result with its type, such as dict[str, tuple[int, int]], pass lists, numbers and text "
    "keys, or, for a result, let the client send the parameter tempo_tagged"
)
# Exceptions of validation besides pydantic's own, such as for pandas' NaT as a date.
_UNCHECKED = (TypeError, ArithmeticError)
_LOST = "; change its type so that it is read back as it was written, or pass its parts"


def encode_json(spec: TensorSpec, value: Any, tagged: bool = False) -> Tensor:
    """Encode a value as one element of JSON, with tags if it needs them and the receiver reads them."""
    try:
        if spec.kind is not Kind.JSON:  # an integer that does not have a datatype
            return _native_tensor(spec, value, tagged)
        if _is_native(spec.hint):
            return _native_tensor(spec, _native(spec, value), tagged)
        return _typed(spec, value, _checked(spec, value), tagged)
    except RecursionError as error:
        raise PayloadError(
            f"{spec.name!r} is nested more than {tags.DEEPEST} levels deep"
        ) from error


def decode_json(spec: TensorSpec, tensor: Tensor) -> Any:
    """Decode the value in a tensor of JSON, or of the numbers or texts of a list."""
    if tensor.datatype != BYTES:
        numbers = tensor.numbers().tolist()
        try:
            return validate(spec, numbers)
        except PayloadError:
            if tensor.shape != [1]:
                raise
        return validate(spec, numbers[0])  # most clients send a single number in this form
    if tensor.content_type == "str":
        return validate(spec, read_texts(tensor) if tensor.shape != [1] else read_texts(tensor)[0])
    return load_json(spec, only_element(spec, tensor, tensor.elements()))


def has_tags(tensor: Tensor) -> bool:
    """Return whether a tensor is JSON with tags."""
    return tensor.parameters.get(TAGGED) is True and tensor.content_type == "json"


def read_tagged(spec: TensorSpec, tensor: Tensor) -> Any:
    """Decode the value in a tensor of JSON with tags, regardless of the spec's type."""
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
    """Write plain JSON, even if information is lost: tuples become lists, and keys become text."""
    checked = _checked(spec, without_numpy(value, spec.name))
    [text] = _plain_tensor(spec, _dumped(spec, checked)).data
    return str(text, "utf-8")


def load_json(spec: TensorSpec, element: Any) -> Any:
    """Decode JSON text as the spec's type."""
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
    """Refuse a plain value that is nested too deeply to be written again."""
    parts = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(parts, list | tuple):
        return
    if not levels:
        raise PayloadError(f"{spec.name!r} is nested more than {tags.DEEPEST} levels deep")
    for part in parts:
        if isinstance(part, list | dict | tuple):
            refuse_deep(spec, part, levels - 1)


def validate(spec: TensorSpec, value: Any) -> Any:
    """Convert a Python value to the spec's type, by pydantic's rules."""
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
    """Encode a value without an annotation that adds to its own type."""
    if tags.is_plain(native):
        try:
            return _plain_tensor(spec, native)
        except PayloadError:  # an integer with too many digits
            if not tagged:
                raise
    if tagged:
        return encode_tagged(spec, native)
    # Other receivers do not have numpy's types, so these become numbers and lists.
    numbers = without_numpy(native, spec.name)
    if not tags.is_plain(numbers):
        encode_tagged(spec, numbers)  # raises if the value cannot be sent to any receiver
        fault = tags.unplain(numbers, spec.name)
        raise PayloadError(f"{spec.name!r}: {fault}, which {_ELSEWHERE}")
    return _plain_tensor(spec, numbers)


def _plain_tensor(spec: TensorSpec, value: Any) -> Tensor:
    try:
        # orjson cannot write integers of more than 64 bits, NaN and infinity.
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise PayloadError(f"{spec.name!r} cannot be written as JSON: {error}") from error
    return bytes_tensor(spec, to_utf8(spec, [text]), [1], "json")


def _typed(spec: TensorSpec, value: Any, checked: Any, tagged: bool) -> Tensor:
    """Encode a value of a type that JSON lacks, in the first form that can be read back unchanged."""
    whole = _whole(spec, checked) if tagged else None
    if whole is not None:
        return whole
    faults = []
    for write, reads in _forms(spec, value, checked):
        if reads and not tagged:
            continue
        try:
            tensor = write()
            arrived = read_back(spec, tensor)
        except PayloadError as error:
            faults.append(str(error))
            continue
        gap = difference(checked, arrived, spec.name, exact=tagged)
        if gap is None:
            return tensor
        faults.append(str(changed(spec, gap)))
    if not tagged and _needs_tags(spec, value, checked):
        raise PayloadError(f"{faults[0].removesuffix(_LOST)}: it needs types that {_ELSEWHERE}")
    raise PayloadError(faults[1] if tagged else faults[0])


def _whole(spec: TensorSpec, value: Any) -> Tensor | None:
    """Encode a value in a form that a reader can decode without the annotation; None if impossible."""
    if tags.is_plain(value):
        return None
    try:
        tensor = encode_tagged(spec, value)
        arrived = read_back(spec, tensor)
    except PayloadError:
        return None
    return tensor if difference(value, arrived, spec.name) is None else None


def _forms(
    spec: TensorSpec, value: Any, checked: Any
) -> Iterator[tuple[Callable[[], Tensor], bool]]:
    """Yield functions that encode a value, and whether its reader must know tags."""
    yield lambda: _plain_tensor(spec, _dumped(spec, checked)), False
    yield lambda: encode_tagged(spec, _parts(spec, checked, by_alias=True)), True
    yield lambda: encode_tagged(spec, _parts(spec, checked, by_alias=False)), True
    # Unchanged: a validator may accept other values than it returns.
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
    """Decode a tensor of JSON, with or without tags."""
    if has_tags(tensor):
        return validate(spec, read_tagged(spec, tensor))
    return decode_json(spec, tensor)


def changed(spec: TensorSpec, gap: Difference) -> PayloadError:
    """Return the error of a value that would arrive changed."""
    return PayloadError(_gap(spec, gap))


def _gap(spec: TensorSpec, gap: Difference) -> str:
    path, ours, theirs = gap
    if shown(ours) == shown(theirs):
        return f"{spec.name!r}: {path} would arrive as another {tags.kind_name(type(ours))}{_LOST}"
    arrival = "would be missing" if theirs is MISSING else f"would arrive as {shown(theirs)}"
    original = "does not exist" if ours is MISSING else f"is {shown(ours)}"
    return f"{spec.name!r}: {path} {arrival}, but {original}{_LOST}"


def _dumped(spec: TensorSpec, value: Any) -> Any:
    from pydantic_core import to_jsonable_python

    try:
        return to_jsonable_python(value, by_alias=True, inf_nan_mode="constants", fallback=_plain)
    except Exception as error:  # of an author's serializer, too
        raise PayloadError(f"{spec.name!r} cannot be written as JSON: {error}") from error


def _parts(spec: TensorSpec, value: Any, *, by_alias: bool) -> Any:
    """Convert a value to parts of Python's own types."""
    try:
        parts = _adapter(spec.hint).dump_python(
            value, by_alias=by_alias, round_trip=True, warnings=False
        )
        return _standard(parts)
    except Exception as error:  # of an author's serializer, too
        raise PayloadError(f"{spec.name!r} cannot be converted to its parts: {error}") from error


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

    with suppress(Exception):  # a part without a form in JSON is refused later, with its path
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
    """Convert a value to the spec's type, and numpy's values in it to Python's if the type needs that."""
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
    """Rebuild a value of the author's classes with the artifact's copies of these classes.

    Raises:
        PayloadError: As `validate` does, or with the difference between the two.
    """
    for by_alias in (True, False):
        try:
            rebuilt = validate(spec, _parts(TensorSpec(spec.name), value, by_alias=by_alias))
        except PayloadError:
            continue
        gap = difference(value, rebuilt, spec.name, classes=False)
        if gap is None:
            return rebuilt
        raise changed(spec, gap)
    return validate(spec, value)


def _is_open(hint: Any) -> bool:
    """Return whether a type accepts any value."""
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
    """Return whether plain JSON preserves values of a type without knowing the type.

    For other types, such as `date | str`, the type determines the meaning of a text.
    """
    try:
        return _cached_native(hint)
    except TypeError:  # an unhashable annotation
        return False


def _named(spec: TensorSpec, error: PayloadError) -> PayloadError:
    return PayloadError(f"{spec.name!r}: {error}")


def _unchecked(spec: TensorSpec, value: Any, error: Exception) -> PayloadError:
    return PayloadError(
        f"{spec.name!r}: {shown(value)} cannot be validated: {type(error).__name__}: {error}; pass "
        "another value"
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
    """Replace numpy's values in containers by Python's; return a value without any as it is."""
    if isinstance(value, np.ndarray | np.generic):
        return _python(value, name)
    kind = type(value)
    if kind not in (dict, list, tuple):
        return value
    parts = value.values() if kind is dict else value
    if tags.ATOMS.issuperset(map(type, parts)):
        return value
    converted = [without_numpy(part, name) for part in parts]
    if all(map(operator.is_, converted, parts)):
        return value
    return dict(zip(value, converted)) if kind is dict else kind(converted)


def _python(value: np.ndarray[Any, Any] | np.generic, name: str) -> Any:
    """Convert to Python's list or number; datetimes are rounded first, or they would become integers."""
    if value.dtype.kind in "mM":
        rounded = value.astype(f"{value.dtype.kind}8[us]")
        if not bool(np.all((rounded == value) | np.isnat(value))):
            raise PayloadError(
                f"{name!r}: {shown(value)} is more precise than a datetime or timedelta, which have "
                "microseconds; round it"
            )
        value = rounded
    return value.tolist()


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return _python(value, "a part")
    raise TypeError(f"a {type(value).__name__} does not have a form in JSON")
