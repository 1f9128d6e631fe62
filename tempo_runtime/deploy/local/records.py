"""What runs here as processes, written down: for whoever asks about it, and for whoever ends it."""

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
    """Return what processes are numbered by: the host, and in a container its own numbers."""
    with contextlib.suppress(OSError):  # not on Linux
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


@dataclass(frozen=True)
class Process:
    """A process of this machine.

    Attributes:
        pid: Its number, which another process may have once it has ended.
        started: When it started, as the system counts it; None where that is not known.
    """

    pid: int
    started: int | None = None

    @classmethod
    def of(cls, pid: int) -> Process:
        """Return the process that has a number now."""
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
        process: Its process, the first of its session.
        folder: What it serves, and its log.
        host: What it listens at.
        http: Its port for HTTP.
        grpc: Its port for gRPC.
        metrics: Its port for metrics.
        fingerprint: What it was made from: another one, and it is to be replaced.
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
        folder: Where this is written, and all of it is.
        owner: The process it ends with; None where it stays until it is undeployed.
        created: When it was first deployed, in ISO 8601.
        transport: How its models are called: `http` or `grpc`.
        servers: Its servers, the one that people call first.
        leaving: Servers that others have replaced, and that may still answer.
        machine: Where it runs. Others may see its folder, as on a home that they share, and can neither
            ask nor end its processes.
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
    def there(self) -> bool:
        """Whether the record still exists, and nobody has begun to undeploy it."""
        marked = Path(self.folder, _UNDEPLOYING).exists()
        return not marked and Path(self.folder, _RECORD).exists()

    def announce_removal(self) -> None:
        """Record that `undeploy` has begun, for a deployment that starts servers meanwhile."""
        with contextlib.suppress(OSError):  # a full disk; the folder may be gone already
            Path(self.folder, _UNDEPLOYING).touch()

    def withdraw_removal(self) -> None:
        """Forget an earlier `undeploy` that did not get to the end."""
        Path(self.folder, _UNDEPLOYING).unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete its folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def home() -> Path:
    """Folder of all records: `$XDG_STATE_HOME/tempo-runtime`, by default in `~/.local/state`."""
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(base, "tempo-runtime", "deployments")


@contextlib.contextmanager
def alone(name: str) -> Iterator[None]:
    """Has nobody else deploy that name for the length of the block; waits while somebody does.

    Raises:
        DeploymentFailed: If the folder of all records cannot be written.
    """
    check_name(name)
    with _writing():
        lock = open(_made_home().parent / "lock", "a")  # noqa: SIM115
    with lock:
        # One byte for each name: nothing is left to remove when this process is killed.
        fcntl.lockf(lock, fcntl.LOCK_EX, 1, zlib.crc32(name.encode()))
        yield


def create(name: str, owner: Process, transport: str) -> Record:
    """Return a record of a deployment that has no server yet, in a folder of its own.

    Raises:
        DeploymentFailed: If the folder of all records cannot be written.
    """
    check_name(name)
    with _writing():
        folder = tempfile.mkdtemp(prefix=f"{name}-", dir=_made_home())
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    record = Record(name, folder, owner, now, transport)
    try:
        record.write()
    except BaseException:
        record.remove()
        raise
    return record


def _made_home() -> Path:
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


def found() -> Iterator[Record]:
    """Return this user's records on this machine, the oldest first.

    Raises:
        DeploymentFailed: If the folder of all records belongs to another user, or is a link.
    """
    records = []
    with _writing():
        if home().exists():
            _made_home()
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
    """When a process started, in ticks since the machine did; None if it has ended, or not on Linux."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name before it, in parentheses, may have any character.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    state, started = fields[0], fields[19]
    return None if state == b"Z" else int(started)
