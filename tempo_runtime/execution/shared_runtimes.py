"""One loaded runtime for all children of the process that are the same model."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakValueDictionary

from tempo_runtime.execution.runtimes import Runtime

if TYPE_CHECKING:
    from mlserver import ModelSettings

_Key: TypeAlias = tuple[str, str, bool, str, frozenset[tuple[str, int, int]]]


class Shared:
    """A loaded runtime, and how many children use it."""

    def __init__(self, key: _Key) -> None:
        self.key = key
        self.users = 1
        self.loading: Future[Runtime] = Future()

    @property
    def runtime(self) -> Runtime:
        """The runtime; waits while another thread loads it, and raises what that raised."""
        return self.loading.result()


_lock = threading.Lock()
# Weak: a notebook that trains a model again drops the old one, and closes nothing.
_loaded: WeakValueDictionary[_Key, Shared] = WeakValueDictionary()


def acquire(settings: ModelSettings, folder: str, fast: bool = False, code: str = "") -> Shared:
    """Load a runtime, unless one of the same settings and the same files is loaded.

    A file that has changed makes it another model: who has the old one keeps it.

    Args:
        settings: What to load; their name does not matter.
        folder: Its artifact.
        fast: See `Runtime`.
        code: Whose code it is unpickled with, if that matters.

    Raises:
        Exception: Whatever loading it raises.
    """
    parameters = settings.model_dump_json(exclude={"name"})
    files = frozenset(_files(folder, settings))
    key = (os.path.realpath(folder), parameters, fast, code, files)
    with _lock:
        shared = _loaded.get(key)
        if shared is not None:
            shared.users += 1
        else:
            mine = _loaded[key] = Shared(key)
    if shared is not None:
        shared.runtime  # noqa: B018 - raises if it cannot be loaded
        return shared
    try:
        mine.loading.set_result(Runtime(settings, fast))
    except BaseException as error:
        with _lock:
            _loaded.pop(key, None)
        mine.loading.set_exception(error)
        raise
    return mine


async def release(shared: Shared) -> None:
    """Unload a runtime that nobody else uses."""
    with _lock:
        shared.users -= 1
        if shared.users:
            return
        _loaded.pop(shared.key, None)
    await shared.runtime.unload()


def _files(folder: str, settings: ModelSettings) -> Iterator[tuple[str, int, int]]:
    """Yield what of the model's files changes when they are written."""
    assert settings.parameters is not None
    # The settings may name a place outside of the folder.
    for place in {os.path.abspath(folder), settings.parameters.uri}:
        walked = os.walk(place) if os.path.isdir(place) else [("", [], [place])]
        for parent, _, names in walked:
            for name in names:
                path = os.path.join(parent, name)
                if os.path.exists(path):
                    found = os.stat(path)
                    yield os.path.realpath(path), found.st_mtime_ns, found.st_size
