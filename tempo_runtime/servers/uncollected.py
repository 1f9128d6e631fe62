"""Keep the garbage collector away from MLServer and its dependencies."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def imports() -> Iterator[None]:
    """Import modules in the block; the garbage collector searches them neither then nor later.

    MLServer and its dependencies are 250,000 objects, almost none of them garbage. Python would search
    them while it imports them, now and then while requests wait, and several times when it ends.
    """
    searches = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if searches:
            gc.enable()
