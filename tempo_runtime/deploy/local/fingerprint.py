"""Fingerprint of everything a server is built from. If it changes, the server is replaced."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tempo_runtime._util import atomic_files
from tempo_runtime.servers import repository
from tempo_runtime.servers.repository import Served


def fingerprint(served: Served, environment: Mapping[str, str]) -> str:
    """Return the fingerprint of a server, which is the same for the same artifact and settings.

    An artifact's files enter it by the digests in tempo.json, other models' files by size and time. The
    models in its process are included.
    """
    uri = str(repository.parameters_of(served.settings)["uri"])
    places = dict.fromkeys((uri, *served.inside, *repository.code(served)))
    content = {place: _content(place) for place in places}
    made_of = [served.settings, content, sorted(environment.items()), sys.executable]
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def _content(place: str) -> object:
    description = os.path.join(place, atomic_files.DESCRIPTION)
    if os.path.isfile(description):
        return Path(description).read_text()
    known = ((path, _status(path)) for path in sorted(_files(place)))
    return [(path, status.st_size, status.st_mtime_ns) for path, status in known]


def _status(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except FileNotFoundError:  # a broken link, such as an editor's lock
        return os.lstat(path)


def _files(place: str) -> Iterator[str]:
    if os.path.isfile(place):
        yield place
    for folder, _, names in os.walk(place):
        yield from (os.path.join(folder, name) for name in names)
