"""Read requirements files, as pip and uv do."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from tempo_runtime._util.credentials import redacted, with_credentials
from tempo_runtime.errors import EnvironmentFailed

_COMMENT = re.compile(r"(^|\s)#.*$")
_INCLUDED = re.compile(r"(?:-r|--requirement(?=[\s=]))[\s=]*(\S.*)")
# Options that choose where packages come from, and in which form. Other options belong to one
# requirement, or choose versions, which a lock fixes already.
_SOURCES = re.compile(
    r"-[if]|--((extra-)?index-url|pypi-url|find-links|no-index|trusted-host|(no|only)-binary)(?![\w-])"
)
_FIND_LINKS = re.compile(r"(-f\s*|--find-links[\s=]\s*)(\S+)")
# UTF-32 first: its mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read(path: str) -> str:
    """Return the text of a file: UTF-8, or the encoding of its byte order mark, as Windows writes it.

    Raises:
        EnvironmentFailed: If it is not text.
        OSError: If it cannot be read.
    """
    with open(path, "rb") as file:
        content = file.read()
    marked = (encoding for mark, encoding in _MARKS if content.startswith(mark))
    try:
        text = content.decode(next(marked, "utf-8"))
    except UnicodeDecodeError as error:
        raise EnvironmentFailed(f"{path} cannot be read: {error}; save it as UTF-8") from error
    return text.replace("\r\n", "\n")


def names(text: str, source: str) -> set[str]:
    """Return the normalized names of the packages, except those in included files.

    Args:
        text: The requirements.
        source: Where they are written, for messages.

    Raises:
        EnvironmentFailed: If pip would not accept a line, or the line names something that cannot travel.
    """
    found: set[str] = set()
    for number, line in _lines(text):
        if line.startswith(("-e", "--editable")):
            raise EnvironmentFailed(
                f"{source}, line {number}: an editable package stays on this machine; list it without "
                f"{line.split()[0]}"
            )
        if line.startswith("-"):
            continue
        try:
            requirement = Requirement(re.split(r"\s--hash", line)[0].strip())
        except InvalidRequirement as error:
            if os.sep in line.split()[0]:  # a path or a URL: pip knows its name
                continue
            why = redacted(f"{line!r} is not a requirement: {error}").split("\n")[0]
            raise EnvironmentFailed(f"{source}, line {number}: {why}") from None
        found.add(canonicalize_name(requirement.name))
    return found


def sources(text: str, folder: str) -> list[str]:
    """Return the lines that say where packages come from, also from included files.

    They are needed to install a lock. Credentials in them are kept.

    Args:
        text: The requirements.
        folder: The folder that paths in them are relative to.
    """
    return [
        _with_whole_path(line, place)
        for line, place in _every_line(text, folder)
        if _SOURCES.match(line)
    ]


def with_its_credentials(lock: str, text: str, folder: str) -> str:
    """Return a lock with the credentials that the requirements have for its URLs.

    Args:
        lock: A lock, without credentials.
        text: The requirements that it was made from.
        folder: The folder that paths in them are relative to.
    """
    for line, _ in _every_line(text, folder):
        for url in with_credentials(line):
            url = url.partition("#")[0]
            public = re.escape(redacted(url, ""))
            lock = url.join(re.split(rf"(?<=\s){public}(?=[\s#]|$)", lock))
    return lock


def _every_line(
    text: str, folder: str, seen: frozenset[str] = frozenset()
) -> Iterator[tuple[str, str]]:
    """Yield the lines of requirements and of files that they include, each with its folder."""
    for _, line in _lines(text):
        yield line, folder
        if included := _INCLUDED.match(line):
            path = os.path.realpath(os.path.join(folder, included[1]))
            if path not in seen and os.path.isfile(path):
                yield from _every_line(read(path), os.path.dirname(path), seen | {path})


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not empty, with their numbers; continued lines are joined."""
    begun, whole = 0, ""
    for number, line in enumerate([*text.splitlines(), ""], 1):
        begun = begun or number
        whole += line
        if whole.endswith("\\"):
            whole = f"{whole[:-1]} "
            continue
        if stripped := _COMMENT.sub("", whole).strip():
            yield begun, stripped
        begun, whole = 0, ""


def _with_whole_path(line: str, folder: str) -> str:
    """Return an option with its local folder of packages, if it has one, as an absolute path."""
    found = _FIND_LINKS.fullmatch(line)
    path = os.path.join(folder, found[2]) if found else ""
    return f"{found[1]}{os.path.abspath(path)}" if found and os.path.exists(path) else line
