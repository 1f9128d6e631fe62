"""Records of the deployments of processes on this machine, for all processes of the user."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tempo_runtime._util import private_folders
from tempo_runtime.authoring.details import check_name
from tempo_runtime.errors import DeploymentFailed

_RECORD = "deployment.json"
_UNDEPLOYING = "undeploying"
_FORMAT = 1


def _machine() -> str:
    """Return the scope of process ids: the host, and its PID namespace."""
    with contextlib.suppress(OSError):  # not on Linux
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


@dataclass(frozen=True)
class Process:
    """A process of this machine.

    Attributes:
        pid: Its id, which another process may get once it has ended.
        started: When it started, in the system's units; None if that is unknown.
    """

    pid: int
    started: int | None = None

    @classmethod
    def of(cls, pid: int) -> Process:
        """Return the process that has an id now."""
        return cls(pid, _started(pid))

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return _started(self.pid) == self.started


@dataclass(frozen=True)
class ServerRecord:
    """A server of one model.

    Attributes:
        model: Name of the model.
        process: Its process, which leads its session.
        folder: The folder that it serves, which also has its log.
        host: The address it listens on.
        http: Its port for HTTP.
        grpc: Its port for gRPC.
        metrics: Its port for metrics.
        fingerprint: Fingerprint of everything it is built from. If it changes, the server is replaced.
    """

    model: str
    process: Process
    folder: str
    host: str
    http: int
    grpc: int
    metrics: int
    fingerprint: str


@dataclass(frozen=True)
class Record:
    """A deployment.

    Attributes:
        name: Its name.
        folder: The folder of the record and of all servers.
        owner: The process it ends with; None if it stays until it is undeployed.
        created: When it was first deployed, in ISO 8601.
        transport: How the pipeline is called: `http` or `grpc`.
        servers: Its servers, that of the main model first.
        leaving: Replaced servers, which may still answer.
        machine: The machine it runs on. Other machines may see its folder, for example on a shared home
            directory, but cannot reach its processes.
    """

    name: str
    folder: str
    owner: Process | None = None
    created: str = ""
    transport: str = "http"
    servers: tuple[ServerRecord, ...] = ()
    leaving: tuple[ServerRecord, ...] = ()
    machine: str = field(default_factory=_machine)

    def write(self) -> None:
        """Write the record atomically.

        Raises:
            DeploymentFailed: If it cannot be written; the previous record is still there.
        """
        text = json.dumps({"format": _FORMAT, **asdict(self)}, indent=2)
        place = Path(self.folder, _RECORD)
        aside = place.with_suffix(".next")
        with _writing():
            try:
                aside.write_text(text)
                aside.replace(place)
            except BaseException:  # usually a full disk: remove the unfinished file
                with contextlib.suppress(OSError):
                    aside.unlink()
                raise

    @property
    def exists(self) -> bool:
        """Whether the record still exists, and nobody has started to undeploy it."""
        marked = Path(self.folder, _UNDEPLOYING).exists()
        return not marked and Path(self.folder, _RECORD).exists()

    def announce_removal(self) -> None:
        """Record that `undeploy` has started, for a process that deploys at the same time."""
        with contextlib.suppress(OSError):  # a full disk, or the folder is already gone
            Path(self.folder, _UNDEPLOYING).touch()

    def withdraw_removal(self) -> None:
        """Forget an earlier `undeploy` that did not finish."""
        Path(self.folder, _UNDEPLOYING).unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete its folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def home() -> Path:
    """Return the folder of all records, in `$XDG_STATE_HOME` or by default in `~/.local/state`."""
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(base, "tempo-runtime", "deployments")


@contextlib.contextmanager
def exclusive(name: str) -> Iterator[None]:
    """Keep others from deploying a name until the block ends; wait if someone does so now.

    Raises:
        DeploymentFailed: If the folder of all records cannot be written.
    """
    check_name(name)
    with _writing():
        lock = open(_create_home().parent / "lock", "a")  # noqa: SIM115
    with lock:
        # Lock one byte for each name, so that nothing is left over if this process is killed.
        fcntl.lockf(lock, fcntl.LOCK_EX, 1, zlib.crc32(name.encode()))
        yield


def create(name: str, owner: Process, transport: str) -> Record:
    """Create the record of a deployment without servers, in a new folder.

    Raises:
        DeploymentFailed: If the folder of all records cannot be written.
    """
    check_name(name)
    with _writing():
        folder = tempfile.mkdtemp(prefix=f"{name}-", dir=_create_home())
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    record = Record(name, folder, owner, now, transport)
    try:
        record.write()
    except BaseException:
        record.remove()
        raise
    return record


def _create_home() -> Path:
    root = home()
    for folder in (root.parent, root):
        private_folders.made(folder)
    return root


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DeploymentFailed(
            f"{error.filename or home()}: {error.strerror}; make it usable, or set "
            "XDG_STATE_HOME to another folder"
        ) from error


def list_records() -> Iterator[Record]:
    """Yield this user's records on this machine, the oldest first.

    Raises:
        DeploymentFailed: If the folder of all records belongs to another user or is a link.
    """
    records = []
    with _writing():
        if home().exists():
            _create_home()
    for path in home().glob(f"*/{_RECORD}"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            records.append(read(path.parent))
    records = [record for record in records if record.machine == _machine()]
    yield from sorted(records, key=lambda record: (record.created, record.folder))


def read(folder: str | os.PathLike[str]) -> Record:
    """Read the record in a folder.

    Raises:
        OSError: If there is no record, or another user wrote it.
        ValueError: If it was not written by this version.
    """
    for path in (folder, Path(folder, _RECORD)):
        private_folders.check(path)
    content = json.loads(Path(folder, _RECORD).read_text())
    if content.pop("format") != _FORMAT:
        raise ValueError(f"{folder}: written by another version of tempo_runtime")
    record = Record(**content)
    return replace(
        record,
        folder=os.fspath(folder),
        owner=_process(record.owner),
        servers=tuple(map(_server, record.servers)),
        leaving=tuple(map(_server, record.leaving)),
    )


def _process(content: Any) -> Process | None:
    return None if content is None else Process(**content)


def _server(content: Any) -> ServerRecord:
    return ServerRecord(**{**content, "process": Process(**content["process"])})


def _started(pid: int) -> int | None:
    """Return when a process started, in ticks since boot; None if it has ended, or not on Linux."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The program's name before it, in parentheses, may contain any character.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    state, started = fields[0], fields[19]
    return None if state == b"Z" else int(started)
