"""Where in the author's own code an exception came from.

Its last frame is often a library's: of pandas for a column that is missing, of alibi for a predictor that
raises. The author needs the last line that is theirs.
"""

from __future__ import annotations

import functools
import os
import traceback
from collections.abc import Iterator
from types import FrameType, TracebackType

from tempo_runtime import importing, ownership

_OURS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")
# Code that was typed, and is in no file.
_TYPED = ("<ipython-input-", "<stdin>", "<python-input-", "<string>")


def author_line(error: BaseException) -> str | None:
    """Return `FILE:LINE` of the author's code that an exception came through last; None if it did not.

    Args:
        error: What was raised. If a library raised it from another exception, that one's place counts.
    """
    found = None
    for each in _chain(error):
        lines = list(_frames(each.__traceback__))
        own = [place for place, is_author in lines if is_author]
        if own:
            found = own[-1]
        if lines and lines[-1][1]:  # raised by the author's code itself
            break
    return found


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen = set[int]()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__


def _frames(trace: TracebackType | None) -> Iterator[tuple[str, bool]]:
    for frame, line in traceback.walk_tb(trace):
        yield f"{frame.f_code.co_filename}:{line}", _is_author(frame)


def _is_author(frame: FrameType) -> bool:
    written, module = frame.f_code.co_filename, frame.f_globals.get("__file__")
    if written.startswith("<"):  # made by a library (a dataclass's constructor), or typed
        return module is None and written.startswith(_TYPED)
    if importing.brought(frame):
        return True
    # A frame of compiled code names a source file that was never installed.
    return not _is_librarys(str(module or written))


@functools.lru_cache(maxsize=4096)
def _is_librarys(file: str) -> bool:
    return os.path.abspath(file).startswith(_OURS) or ownership.is_installed(file)
