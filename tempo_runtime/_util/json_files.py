"""Read JSON files of an artifact, which may be damaged or hostile."""

from __future__ import annotations

import json
import os
import stat
from typing import Any

from tempo_runtime._util.printable import shortened
from tempo_runtime.errors import ArtifactDamaged

MAX_BYTES = 64 * 2**20
MAX_DEPTH = 64  # nested lists and objects; Python's own limit depends on the caller's stack


def read_object(path: str, remedy: str = "correct it") -> dict[str, Any]:
    """Read a JSON object from a file.

    Args:
        path: The file.
        remedy: Remedy for a damaged file, for the error.

    Raises:
        FileNotFoundError: If there is no such file.
        ArtifactDamaged: If it is not a file with one JSON object.
    """
    try:
        content = read_bytes(path)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ArtifactDamaged(
            f"{shortened(path, 300)} cannot be read: {reason}; {remedy}"
        ) from error
    return parse_object(content, path, remedy)


def read_bytes(path: str, limit: int = MAX_BYTES) -> bytes:
    """Read a regular file; refuse folders, and pipes and devices, which may never end.

    Args:
        path: The file.
        limit: Largest size in bytes.

    Raises:
        OSError, ValueError: If it cannot be read.
    """
    # O_NONBLOCK: opening a pipe would wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is not a file")
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"it has more than {limit:,} bytes")
    return content


def parse_object(content: bytes, source: str, remedy: str = "correct it") -> dict[str, Any]:
    """Parse a JSON object strictly.

    Besides invalid JSON, this refuses duplicate names in an object, because readers disagree on which one
    to use; nesting so deep that it raises RecursionError; and text that is not Unicode.

    Args:
        content: The JSON, in UTF-8.
        source: Name of the content's source, for the error.
        remedy: Remedy, for the error.

    Raises:
        ArtifactDamaged: If it is not one JSON object.
    """
    try:
        parsed = json.loads(content.decode("utf-8"), object_pairs_hook=_without_duplicates)
        if not isinstance(parsed, dict):
            raise ValueError("it is not a JSON object")
        _check(parsed)
    except RecursionError as error:
        raise _damaged(source, f"nested more than {MAX_DEPTH} levels deep", remedy) from error
    except UnicodeDecodeError as error:
        raise _damaged(source, f"byte {error.start} is not UTF-8", remedy) from error
    except ValueError as error:
        raise _damaged(source, shortened(error, 200), remedy) from error
    return parsed


def _damaged(source: str, reason: str, remedy: str) -> ArtifactDamaged:
    return ArtifactDamaged(f"{shortened(source, 300)} is damaged ({reason}); {remedy}")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    parsed: dict[str, Any] = {}
    for name, value in pairs:
        if name in parsed:
            raise ValueError(f"an object has {shortened(repr(name))} twice")
        parsed[name] = value
    return parsed


def _check(parsed: Any) -> None:
    """Refuse a parsed value that is nested too deeply, or has text that cannot be encoded."""
    level, depth = [parsed], 0
    while level:
        if depth > MAX_DEPTH:
            raise RecursionError
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below += value.keys()
                below += value.values()
            elif isinstance(value, list):
                below += value
            elif isinstance(value, str) and not _is_unicode(value):
                raise ValueError(f"{shortened(repr(value))} is not Unicode text")
        level, depth = below, depth + 1


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
