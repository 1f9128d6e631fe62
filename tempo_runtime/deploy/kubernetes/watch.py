"""Watch collections of a cluster instead of polling them."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

from tempo_runtime.deploy.kubernetes.api_errors import ApiError, Resource
from tempo_runtime.deploy.kubernetes.connection import ApiConnection, Deadline, Unreachable, hang_up
from tempo_runtime.deploy.kubernetes.session import Api
from tempo_runtime.errors import DeploymentFailed

_GONE = 410
_DELAY = 0.2
_JOINED = 5.0
_LONGEST_LINE = 8 * 2**20


class Watch:
    """A collection that a thread keeps up to date with the cluster.

    Args:
        connection: The connection to the cluster.
        deadline: When watching ends at the latest.
        resource: Kind of the objects.
        namespace: Their namespace.
        selector: Query that selects objects.
        news: Receives None whenever something has changed.
    """

    def __init__(
        self,
        connection: ApiConnection,
        deadline: Deadline,
        resource: Resource,
        namespace: str,
        selector: Mapping[str, str],
        news: queue.SimpleQueue[None],
    ) -> None:
        self._stopped = threading.Event()
        self._api = Api(connection, deadline, self._stopped)
        self._collection = (resource, namespace, selector)
        self._news = news
        self._lock = threading.Lock()
        self._items: dict[str, dict[str, Any]] = {}
        self._error: DeploymentFailed | None = None
        self._response: Any = None
        self._version = ""
        self._thread = threading.Thread(target=self._follow, name="tempo-watch", daemon=True)

    def start(self) -> None:
        """List the collection, and watch it from then on.

        Raises:
            DeploymentFailed: If it may not be listed.
        """
        self._list()
        self._thread.start()

    def items(self) -> list[dict[str, Any]]:
        """Return the current objects.

        Raises:
            DeploymentFailed: If they can no longer be watched.
        """
        with self._lock:
            if self._error is not None:
                raise self._error
            return list(self._items.values())

    def stop(self) -> None:
        """Stop the watch."""
        self._stopped.set()
        with self._lock:
            response = self._response
        if response is not None:
            hang_up(response)

    def join(self, seconds: float) -> None:
        """Wait until its thread has ended."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _follow(self) -> None:
        delay = _DELAY
        try:
            while not self._stopped.is_set():
                try:
                    for change in self._changes():
                        self._take(change)
                        delay = _DELAY
                    self._stopped.wait(
                        _DELAY
                    )  # so as not to overload an API that ends each watch at once
                except (ApiError, Unreachable) as error:
                    code = getattr(error, "code", 0)
                    if code == _GONE:
                        self._list()  # the API no longer knows what has happened since
                        self._stopped.wait(_DELAY)
                    elif code and code < 500:
                        raise
                    else:
                        self._api.pause(error, delay)
                        delay = min(2 * delay, 5.0)
        except DeploymentFailed as error:
            self._fail(error)
        except Exception as error:  # otherwise it would go unnoticed, and everyone would wait
            resource = self._collection[0]
            self._fail(
                DeploymentFailed(
                    f"the watch of {resource.rule} returned unreadable data ({type(error).__name__}); "
                    "is this the URL of a Kubernetes API?"
                )
            )

    def _fail(self, error: DeploymentFailed) -> None:
        if not self._stopped.is_set():
            with self._lock:
                self._error = error
            self._news.put(None)

    def _list(self) -> None:
        items, version = self._api.list(*self._collection)
        with self._lock:
            self._items = {_key(item): item for item in items}
            self._version = version
        self._news.put(None)

    def _changes(self) -> Iterator[dict[str, Any]]:
        response = self._api.watch(*self._collection, self._version)
        with self._lock:
            self._response = response
        try:
            # It may have been stopped before the response could be hung up.
            if not self._stopped.is_set():
                yield from _lines(response, self._api.connection)
        finally:
            with self._lock:
                self._response = None
            with contextlib.suppress(Exception):
                response.close()

    def _take(self, change: dict[str, Any]) -> None:
        kind, item = change.get("type"), change.get("object") or {}
        if kind == "ERROR":
            code = int(item.get("code") or 500)
            raise ApiError(f"the watch ended: {item.get('message', code)}", code)
        metadata = item.get("metadata") or {}
        with self._lock:
            self._version = str(metadata.get("resourceVersion") or self._version)
            if kind == "DELETED":
                self._items.pop(_key(item), None)
            elif kind in ("ADDED", "MODIFIED"):
                self._items[_key(item)] = item
        if kind != "BOOKMARK":
            self._news.put(None)


class WatchGroup:
    """Watches of several collections that end together.

    Args:
        connection: The connection to the cluster.
        deadline: When watching ends at the latest.
        namespace: Namespace of all of them.
    """

    def __init__(self, connection: ApiConnection, deadline: Deadline, namespace: str) -> None:
        self._common = (connection, deadline)
        self._deadline = deadline
        self._namespace = namespace
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._watches: list[Watch] = []

    def watch(self, resource: Resource, selector: Mapping[str, str]) -> Watch:
        """Watch the selected objects of a kind.

        Raises:
            DeploymentFailed: If it may not be listed.
        """
        watch = Watch(*self._common, resource, self._namespace, selector, self._news)
        watch.start()
        self._watches.append(watch)
        return watch

    def wait(self, seconds: float) -> bool:
        """Wait until something has changed; return False if nothing did in this many seconds."""
        try:
            self._news.get(timeout=max(0.0, min(seconds, self._deadline.left)))
            while not self._news.empty():
                self._news.get()
        except queue.Empty:
            return False
        return True

    def __enter__(self) -> WatchGroup:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for watch in self._watches:
            watch.stop()
        end = Deadline(_JOINED)
        for watch in self._watches:
            watch.join(end.left)


def _key(item: dict[str, Any]) -> str:
    metadata = item["metadata"]
    return str(metadata.get("uid") or metadata.get("name"))


def _lines(response: Any, connection: ApiConnection) -> Iterator[dict[str, Any]]:
    """Yield the changes in a response, until the API ends it.

    Raises:
        Unreachable: If the connection is lost.
    """
    import urllib3

    rest = b""
    try:
        for chunk in response.stream():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in filter(None, lines):
                yield json.loads(line)
            if len(rest) > _LONGEST_LINE:
                raise ValueError("a line does not end")
    except (urllib3.exceptions.HTTPError, ValueError, AttributeError) as error:
        raise connection.unreachable(error) from error
