"""Save pipelines again when their author's files change, and swap them into the server that runs.

The files are imported in a new process each time, so that no module is left over from before. The
server loads the new artifact beside the old one, which answers until then: MLServer's own reload.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tempo_runtime._util.atomic_files import DESCRIPTION
from tempo_runtime._util.http_request import request
from tempo_runtime.artifact import freshness
from tempo_runtime.errors import TempoError
from tempo_runtime.runtime import reload_problem
from tempo_runtime.servers import repository
from tempo_runtime.servers.repository import Served
from tempo_runtime.servers.run import Running

_POLL = 0.2  # seconds between two looks at the files
_SAVE = "from tempo_runtime.cli import main; main()"


class _NotReloaded(Exception):
    """Why the server keeps what it had."""


class Reloader:
    """Watches the files of pipelines, from before their server starts until it ends.

    Args:
        pipelines: The pipelines by their MODULE:NAME.
        gather: Finds the models to serve in the artifacts' folders.
        timeout: Seconds that a model may take to load.
        tell: Reports to the person at the terminal; also whether it is an error.
    """

    def __init__(
        self,
        pipelines: Mapping[str, Any],
        gather: Callable[[], Mapping[str, Served]],
        timeout: float,
        tell: Callable[[str, bool], None],
    ) -> None:
        self._names = list(pipelines)
        self._gather = gather
        self._timeout = timeout
        self._tell = tell
        self._sources = {file for one in pipelines.values() for file in freshness.sources(one)}
        self._files = _look(self._sources)
        self._served = {name: _content(model) for name, model in gather().items()}

    def watch(self, running: Running) -> None:
        """Reload after each change, until the server ends."""
        process = running.server.process
        while process.poll() is None:
            try:
                process.wait(_POLL)
            except subprocess.TimeoutExpired:
                self._look(running)

    def _look(self, running: Running) -> None:
        files = _look(self._sources)
        if files == self._files:
            return
        while files != (settled := _look(self._sources)):  # an editor may write several files
            files = settled
            time.sleep(_POLL / 2)
        names = sorted(
            path for path in {*files, *self._files} if files.get(path) != self._files.get(path)
        )
        self._files = files
        started = time.monotonic()
        try:
            self._refresh()
            self._files = {**_look(self._sources), **files}  # it may import further files now
            reloaded = self._swap(running)
        except (_NotReloaded, TempoError, OSError) as error:
            reload_problem.write(running.root, str(error))
            self._tell(f"{error}\nThe server keeps the version that it has.", True)
            return
        reload_problem.clear(running.root)
        if reloaded:
            changed = ", ".join(min(path, os.path.relpath(path), key=len) for path in names)
            seconds = time.monotonic() - started
            self._tell(
                f"{changed} changed: reloaded {', '.join(reloaded)} in {seconds:.1f} s", False
            )

    def _refresh(self) -> None:
        """Save, in a new process, each pipeline that has changed, and note its files."""
        for name in self._names:
            saved = subprocess.run(  # noqa: S603
                [sys.executable, "-B", "-c", _SAVE, "save", name, "--refresh", "--json"],
                capture_output=True,
                text=True,
                check=False,
            )
            if saved.returncode:
                raise _NotReloaded(saved.stderr.strip() or f"{name} was not saved")
            # The author's module may print something when it is imported.
            self._sources |= set(json.loads(saved.stdout.splitlines()[-1])["sources"])

    def _swap(self, running: Running) -> list[str]:
        """Load the models whose artifacts have changed, and return their names."""
        models = self._gather()
        if models.keys() != self._served.keys():
            raise _NotReloaded(
                f"the server would have the models {', '.join(models)} instead of "
                f"{', '.join(self._served)}: restart it"
            )
        content = {name: _content(model) for name, model in models.items()}
        changed = [name for name in models if content[name] != self._served[name]]
        for name in reversed(changed):  # the models that a pipeline calls come after it
            repository.rewrite(running.root, models[name])
            self._load(running, name)
            self._served[name] = content[name]
        return changed

    def _load(self, running: Running, name: str) -> None:
        url = f"{running.server.url}/v2/repository/models/{name}/load"
        try:
            answer = request(url, self._timeout, body=b"")
        except OSError as error:
            raise _NotReloaded(f"{name} was not loaded: {error}") from error
        if answer.status != 200:
            raise _NotReloaded(f"{name} was not loaded: {_error(answer.body)}")


def _look(sources: Iterable[str]) -> dict[str, Any]:
    """Return the state of files, and of the Python files beside them, which they may come to import."""
    files = set(sources)
    for folder in {os.path.dirname(path) for path in sources}:
        files.update(map(str, Path(folder).glob("*.py")))
    states = {}
    for path in files:
        try:
            stat = os.stat(path)
        except OSError:
            continue
        states[path] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    return states


def _content(model: Served) -> str:
    """Return a digest of a model's settings, and of the descriptions of its artifacts."""
    digest = hashlib.sha256(json.dumps(model.settings, sort_keys=True).encode())
    for folder in (model.place, *model.inside):
        try:
            digest.update(Path(folder, DESCRIPTION).read_bytes())
        except OSError:  # a model that is not an artifact
            continue
    return digest.hexdigest()


def _error(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")
