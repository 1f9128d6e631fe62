"""What went wrong, in one line that names whose code it was."""

from __future__ import annotations

import os
import traceback

from tempo_runtime.errors import TempoError

DEBUG = "TEMPO_RUNTIME_DEBUG"  # a variable that asks for tracebacks
_OURS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")


def one_line(error: Exception) -> str:
    """Describe an error for people.

    Args:
        error: One of this package's errors, which say all there is to say; or any other, of which the
            last line of the author's code is named.
    """
    if isinstance(error, TempoError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    from tempo_runtime import ownership

    frames = traceback.extract_tb(error.__traceback__)
    authors = [
        frame
        for frame in frames
        if not frame.filename.startswith((_OURS, "<"))
        and not ownership.is_installed(frame.filename)
    ]
    if authors:
        return f"{type(error).__name__}: {error} at {authors[-1].filename}:{authors[-1].lineno}"
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return (
        f"unexpected {type(error).__name__}: {error}{place}; this is a fault of tempo-runtime: set "
        f"{DEBUG}=1 to see the traceback, and report it"
    )
