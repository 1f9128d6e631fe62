"""Say how this package or an extra of it is installed, from where the package itself came."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any
from urllib.parse import unquote, urlsplit

_NAME = "tempo_runtime"


def command(extra: str | None = None) -> str:
    """Return the shell command that installs an extra, or the package itself.

    Args:
        extra: Name of the extra, such as `docker`; None for the package without one.

    Example:
        >>> "[docker]" in command("docker")
        True
    """
    return _command(extra, _origin())


def _command(extra: str | None, origin: dict[str, Any]) -> str:
    url = str(origin.get("url", ""))
    extras = "" if extra is None else f"[{extra}]"
    if "dir_info" in origin and url.startswith("file:"):
        editable = "-e " if origin["dir_info"].get("editable") else ""
        return f"pip install {editable}'{unquote(urlsplit(url).path)}{extras}'"
    if "vcs_info" in origin:
        system, commit = (origin["vcs_info"].get(name) for name in ("vcs", "commit_id"))
        url = f"{system}+{url}@{commit}"
    if url:  # also of a wheel or an sdist: perhaps no index has the package
        return f"pip install '{_NAME}{extras} @ {url}'"
    return f"pip install '{_NAME}{extras}'"


def _origin() -> dict[str, Any]:
    """Read where pip installed the package from; an index says nothing.

    https://packaging.python.org/en/latest/specifications/direct-url/
    """
    try:
        origin = json.loads(distribution(_NAME).read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return {}
    return origin if isinstance(origin, dict) else {}
