"""Say how an extra of this package is installed, from where the package itself came."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any
from urllib.parse import unquote, urlsplit

_NAME = "tempo_runtime"


def command(extra: str) -> str:
    """Return the shell command that installs an extra.

    Args:
        extra: Its name, such as `docker`.

    Example:
        >>> "[docker]" in command("docker")
        True
    """
    return _command(extra, _origin())


def _command(extra: str, origin: dict[str, Any]) -> str:
    url = str(origin.get("url", ""))
    if "dir_info" in origin and url.startswith("file:"):
        editable = "-e " if origin["dir_info"].get("editable") else ""
        return f"pip install {editable}'{unquote(urlsplit(url).path)}[{extra}]'"
    if url.startswith("file:"):  # a wheel or an sdist, which no index may have
        return f"pip install '{_NAME}[{extra}] @ {url}'"
    return f"pip install '{_NAME}[{extra}]'"


def _origin() -> dict[str, Any]:
    """Read where pip installed the package from; an index says nothing.

    https://packaging.python.org/en/latest/specifications/direct-url/
    """
    try:
        origin = json.loads(distribution(_NAME).read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return {}
    return origin if isinstance(origin, dict) else {}
