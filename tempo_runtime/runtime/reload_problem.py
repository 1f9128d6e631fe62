"""Why a server has not the models that their author has just written: `serve --reload` tells it.

The text is a file in the server's working directory, so that nothing needs to call the server.
"""

from __future__ import annotations

import os
from pathlib import Path

from tempo_runtime._util import atomic_files

_FILE = ".reload-problem"


def write(folder: str | os.PathLike[str], text: str) -> None:
    """Tell the server in a folder why its models were not reloaded."""
    atomic_files.write(os.fspath(folder), _FILE, text.encode())


def clear(folder: str | os.PathLike[str]) -> None:
    """Tell the server in a folder that its models are those that their author has written."""
    Path(folder, _FILE).unlink(missing_ok=True)


def read() -> str | None:
    """Return why the models of this server were not reloaded; None if they were."""
    try:
        return Path(_FILE).read_text(errors="replace")
    except OSError:
        return None
