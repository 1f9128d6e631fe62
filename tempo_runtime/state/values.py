"""Keys and values of a state, and how they are stored: as JSON, with tags for types that JSON lacks.

Both stores keep the same bytes, so that a value is the same wherever it is kept.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np

from tempo_runtime.errors import PayloadError, StateError
from tempo_runtime.protocol.codec.tagged_json import from_json, to_json
from tempo_runtime.protocol.tensor import shown

LONGEST_KEY = 512  # bytes
LARGEST_VALUE = 16 * 2**20  # bytes, as it is stored
_LIMIT = 2**63  # Redis counts with 64 bits
_NUMBER = re.compile(rb"-?\d+(\.\d+)?([eE][-+]?\d+)?")
_ADVICE = "keep numbers, text, lists, dicts or numpy arrays"

Number = int | float


def check_key(key: Any) -> str:
    """Return a key, if a state can have it.

    Raises:
        StateError: If it is not text of 1 to `LONGEST_KEY` bytes.
    """
    if type(key) is not str:
        raise StateError(f"a key of the state must be text, not {shown(key)}")
    try:
        length = len(key.encode())
    except UnicodeEncodeError as error:
        raise StateError(f"the key {key!r:.80} cannot be encoded as UTF-8: {error}") from error
    if not 1 <= length <= LONGEST_KEY:
        raise StateError(
            f"the key {key!r:.80} of the state has {length} bytes, and must have from 1 to {LONGEST_KEY}"
        )
    return key


def check_expiry(seconds: Any) -> float | None:
    """Return a number of seconds after which a value expires; None for never.

    Raises:
        StateError: If it is not a positive number.
    """
    if seconds is None:
        return None
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not 0 < seconds < _LIMIT / 1000:
        raise StateError(f"expires must be a positive number of seconds, not {shown(seconds)}")
    return float(seconds)


def encode(key: str, value: Any) -> bytes:
    """Return the bytes of a value.

    Raises:
        StateError: If the value would not be read back unchanged, or is too large.
    """
    try:
        content = _json(to_json(value, f"the value of {key!r}"))
    except PayloadError as error:
        reason = str(error).partition("; ")[0].replace(" without a declared type", "")
        reason = reason.replace("cannot be sent", "cannot be kept")
        raise StateError(f"{reason}; {_ADVICE}") from error
    if len(content) > LARGEST_VALUE:
        raise StateError(
            f"the value of {key!r} has {len(content)} bytes, and a value of the state may have "
            f"{LARGEST_VALUE}; keep it elsewhere, and its place in the state"
        )
    return content


def decode(key: str, content: bytes) -> Any:
    """Return the value that `encode` wrote.

    Raises:
        StateError: If something else wrote it.
    """
    try:
        return from_json(json.loads(content))
    except (ValueError, PayloadError) as error:
        raise StateError(
            f"the value of {key!r} was not written by tempo_runtime: {error}; use another namespace"
        ) from error


def same(left: bytes, right: bytes) -> bool:
    """Return whether two values are equal in types and values; the order of keys does not count."""
    try:
        return left == right or _sorted(left) == _sorted(right)
    except ValueError:  # another program wrote one of them
        return False


def check_amount(key: str, by: Any) -> Number:
    """Return an amount to add, as Python's own number.

    Raises:
        StateError: If it is not a finite number, or an integer beyond 64 bits.
    """
    if isinstance(by, int | np.integer) and not isinstance(by, bool):
        if -_LIMIT <= by < _LIMIT:
            return int(by)
        raise beyond_range(key)
    if isinstance(by, float | np.floating) and math.isfinite(by):
        return float(by)
    raise StateError(f"incr({key!r}) adds a finite number, not {shown(by)}")


def added(key: str, content: bytes | None, by: Number) -> bytes:
    """Return a number plus an amount; nothing counts as 0.

    Raises:
        StateError: If it is not a number, or the sum is too large.
    """
    if content is None:
        return _json(0 + by)  # which makes 0.0 of -0.0, as Redis does
    if not _NUMBER.fullmatch(content):
        raise not_a_number(key, content)
    number = json.loads(content)
    if isinstance(number, int) and isinstance(by, int):
        if not -_LIMIT <= number + by < _LIMIT or not -_LIMIT <= number < _LIMIT:
            raise beyond_range(key)
        return _json(number + by)
    try:
        total = float(number) + float(by)
    except OverflowError:
        total = math.inf
    if not math.isfinite(total):
        raise beyond_range(key)
    return _json(total)


def not_a_number(key: str, content: bytes) -> StateError:
    """Return the error of adding to another value."""
    return StateError(
        f"incr({key!r}): its value {shown(decode(key, content))} is not a finite number; use another key"
    )


def beyond_range(key: str) -> StateError:
    """Return the error of a sum that a state cannot keep."""
    return StateError(
        f"incr({key!r}) would count beyond the range of its numbers: 64 bits for integers, and that of "
        "float64; use another key, or compare_and_set"
    )


def _json(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()


def _sorted(content: bytes) -> str:
    return json.dumps(json.loads(content), sort_keys=True)
