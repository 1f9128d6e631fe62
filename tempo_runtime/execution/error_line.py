"""Describe an error in one line that names the code to correct."""

from __future__ import annotations

import traceback

from tempo_runtime.errors import TempoError

DEBUG = "TEMPO_RUNTIME_DEBUG"  # environment variable that asks for tracebacks


def one_line(error: Exception) -> str:
    """Describe an error for people.

    Args:
        error: An error of this package, whose text is complete; or any other exception, for which the
            description contains the last line of the author's code.
    """
    if isinstance(error, TempoError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    from tempo_runtime.execution import blame

    if (line := blame.author_line(error)) is not None:
        return f"{blame.named(error)} at {line}"
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return (
        f"unexpected {blame.named(error)}{place}; this is a bug in tempo-runtime: set "
        f"{DEBUG}=1 to see the traceback, and report it"
    )
