"""Load each model only once in a process, however many children use it."""

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

_Key: TypeAlias = tuple[str, str, bool | None, str, frozenset[tuple[str, int, int]]]


class Shared:
    """A loaded runtime, and the number of children that use it."""

    def __init__(self, key: _Key) -> None:
        self.key = key
        self.users = 1
        self.loading: Future[Runtime] = Future()

    @property
    def runtime(self) -> Runtime:
        """The runtime, once the thread that loads it has finished; raises if loading it failed."""
        return self.loading.result()


_lock = threading.Lock()
# Weak references, because a notebook that trains a model again drops the old one without closing it.
_loaded: WeakValueDictionary[_Key, Shared] = WeakValueDictionary()


def acquire(
    settings: ModelSettings, folder: str, fast: bool | None = None, code: str = ""
) -> Shared:
    """Load a runtime, unless one with the same settings and the same files is already loaded.

    A changed file makes it another model; children that use the old one keep it.

    Args:
        settings: Settings of the model; their name does not matter.
        folder: The model's artifact.
        fast: See `Runtime`.
        code: Name of the pipeline whose code unpickles the model, if any.

    Raises:
        Exception: Any exception while loading it.
    """
    parameters = settings.model_dump_json(exclude={"name"})
    files = frozenset(_files(folder, settings))
    key = (os.path.realpath(folder), parameters, fast, code, files)
    with _lock:
        shared = _loaded.get(key)
        if shared is not None:
            shared.users += 1
        else:
            created = _loaded[key] = Shared(key)
    if shared is not None:
        shared.runtime  # noqa: B018 - raises if loading failed
        return shared
    try:
        created.loading.set_result(Runtime(settings, fast))
    except BaseException as error:
        with _lock:
            _loaded.pop(key, None)
        created.loading.set_exception(error)
        raise
    return created


async def release(shared: Shared) -> None:
    """Unload a runtime when its last user releases it."""
    with _lock:
        shared.users -= 1
        if shared.users:
            return
        _loaded.pop(shared.key, None)
    await shared.runtime.unload()


def _files(folder: str, settings: ModelSettings) -> Iterator[tuple[str, int, int]]:
    """Yield the path, modification time and size of each of the model's files."""
    assert settings.parameters is not None
    # The settings may name a place outside of the folder.
    for place in {os.path.abspath(folder), settings.parameters.uri}:
        walked = os.walk(place) if os.path.isdir(place) else [("", [], [place])]
        for parent, _, names in walked:
            for name in names:
                path = os.path.join(parent, name)
                if os.path.exists(path):
                    status = os.stat(path)
                    yield os.path.realpath(path), status.st_mtime_ns, status.st_size
