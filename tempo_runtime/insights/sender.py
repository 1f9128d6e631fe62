"""Send events to a sink, in a thread with a loop, so that no request waits for the sink."""

from __future__ import annotations

import asyncio
import atexit
import logging
import random
import threading
import time
import uuid
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import cache

import aiohttp

from tempo_runtime.clients.connections import Connections
from tempo_runtime.insights.events import BATCH, Event, Writer
from tempo_runtime.insights.queue import SHUTDOWN, EventQueue
from tempo_runtime.request.timing import Elapsed, within
from tempo_runtime.settings import InsightsSettings, TlsSettings

REFUSED = "refused"
UNWRITABLE = "unwritable"
_BATCH_BYTES = 2**20  # of the values in one batch
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds between attempts
_AT_ONCE = 50  # events that are written before other threads may go on
_LATER = (408, 425, 429)  # statuses below 500 with which the same events may succeed later
_EXCERPT = 200
logger = logging.getLogger(__name__)

_senders: weakref.WeakSet[Sender] = weakref.WeakSet()


@cache
def _register() -> None:
    # MLServer does not unload its models when it ends. At this moment of Python's end, unlike in
    # `atexit`, names of hosts can still be looked up.
    getattr(threading, "_register_atexit", atexit.register)(_close_all)


def _close_at_exit(sender: Sender) -> None:
    _senders.add(sender)
    _register()


def _close_all() -> None:
    senders = list(_senders)
    for sender in senders:
        sender.begin_close()
    for sender in senders:
        sender.close()


class Sender:
    """Sends the events of one pipeline; its thread starts at once.

    Args:
        pipeline: Name of the pipeline.
        settings: Where and how.
        queue: The events.
        data_of: Returns the data of an event as JSON; called in the thread of the sender.
        decided: Called with each event when the sink has it, or with the reason why it will not get it.

    Raises:
        SettingsError: If the file of certificates cannot be used.
    """

    def __init__(
        self,
        pipeline: str,
        settings: InsightsSettings,
        queue: EventQueue,
        data_of: Callable[[Event], bytes],
        decided: Callable[[Event, str | None], None],
    ) -> None:
        assert settings.sink is not None
        self._pipeline = pipeline
        self._settings = settings
        self._sink = settings.sink
        self._queue = queue
        self._data_of = data_of
        self._decided = decided
        source = settings.source or f"urn:tempo-runtime:pipeline:{pipeline}"
        self._writer = Writer(settings.type_prefix, source, uuid.uuid4().hex)
        self._headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
        if settings.token is not None:
            self._headers["authorization"] = f"Bearer {settings.token.get_secret_value()}"
        self._headers["content-type"] = BATCH
        # A full batch; also half of a queue that is smaller, so that nothing is dropped meanwhile.
        self._batch = max(1, min(settings.max_batch, settings.max_events // 2))
        self._batch_bytes = min(_BATCH_BYTES, settings.max_bytes // 2)
        self._awaited: int | None = None  # number of events that the thread waits for
        self._end: float | None = None  # of the time for the last events
        self._failing_since: float | None = None
        self._refused: int | None = None
        self._lost_at_end = 0
        self._loop = asyncio.new_event_loop()
        self._wakeup, self._closing, self._is_done = (asyncio.Event() for _ in range(3))
        try:
            self._connections = Connections.of(self._loop, TlsSettings(ca=settings.ca))
        except BaseException:
            self._loop.close()
            raise
        self._thread = threading.Thread(
            target=self._run_thread, name=f"tempo-insights-{pipeline}", daemon=True
        )
        self._thread.start()
        _close_at_exit(self)

    def wake(self) -> None:
        """Let the sender look at the queue; cheap if it does so already, or waits for more events."""
        awaited = self._awaited
        if awaited is not None and self._has(awaited):
            self._awaited = None
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._wakeup.set)

    def close(self) -> None:
        """Send what waits within `flush_timeout`, and end; safe to call twice. It blocks."""
        self.begin_close()
        self._thread.join(self._settings.flush_timeout + 1)

    def begin_close(self) -> None:
        """Start to end; `close` waits for it."""
        self._queue.close()
        with suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(self._begin_end)

    def _begin_end(self) -> None:
        if self._end is None:
            self._end = time.monotonic() + self._settings.flush_timeout
            # An attempt that is under way may have more time than that.
            self._loop.call_later(self._settings.flush_timeout, self._is_done.set)
        self._closing.set()
        self._wakeup.set()

    # -- in the thread of the sender ---------------------------------------------------------------

    def _run_thread(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._run())
        except Exception:
            logger.exception("the request logs of pipeline %r have ended", self._pipeline)
        finally:
            self._queue.close()
            self._lose_the_rest()
            self._loop.close()

    async def _run(self) -> None:
        try:
            while not (self._closing.is_set() and not len(self._queue)):
                await self._wait_for(1, None)
                if not self._settings.audit:
                    await self._wait_for(self._batch, self._settings.max_delay)
                # Few events that came while others were sent wait for more, like the first ones.
                while len(self._queue) and not self._is_over():
                    events = self._queue.take(self._settings.max_batch, _BATCH_BYTES)
                    await self._send(events)
                    if not self._has(self._batch):
                        break
                if self._is_over():
                    break
                self._queue.measure()
        finally:
            await self._connections.close()

    async def _wait_for(self, count: int, seconds: float | None) -> None:
        """Wait until a number of events are in the queue, or a batch by their size, or the end begins."""
        self._awaited = count
        if not self._has(count) and not self._closing.is_set():
            with suppress(Elapsed):
                await within(seconds, self._wakeup.wait())
        self._awaited = None
        self._wakeup.clear()

    def _has(self, count: int) -> bool:
        return len(self._queue) >= count or self._queue.bytes >= self._batch_bytes

    async def _pause(self, seconds: float) -> None:
        """Wait; when the sender is about to end, do not."""
        if seconds > 0 and not self._closing.is_set():
            with suppress(Elapsed):
                await within(seconds, self._closing.wait())

    def _is_over(self) -> bool:
        return self._end is not None and time.monotonic() >= self._end

    async def _send(self, events: list[Event]) -> None:
        events, body = await self._written(events)
        if not events:
            return
        pause = _FIRST_PAUSE
        while True:
            status, reason = await self._attempt(body)
            if status is not None and 200 <= status < 300:
                self._succeeded()
                self._queue.sent(events)
                outcome = None
                break
            if status is not None and status < 500 and status not in _LATER:
                self._log_refusal(status, reason)
                outcome = REFUSED
                self._queue.lost(events, outcome)
                break
            self._log_failure(reason)
            self._queue.measure()
            if self._is_over():
                outcome = SHUTDOWN
                self._queue.lost(events, outcome)
                self._lost_at_end += len(events)
                break
            # When the sender is about to end, there is no time for long pauses.
            if self._closing.is_set():
                await asyncio.sleep(_FIRST_PAUSE)
            else:
                await self._pause(pause * random.uniform(0.5, 1))  # noqa: S311 - not a secret
            pause = min(2 * pause, _LONGEST_PAUSE)
        for event in events:
            self._decided(event, outcome)

    async def _written(self, events: list[Event]) -> tuple[list[Event], bytes]:
        """Return the events that can be written, and the body with them."""
        written, parts = [], []
        for number, event in enumerate(events):
            if number % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
            try:
                part = self._writer.write(event, self._data_of(event))
            except Exception:
                logger.exception("an event of pipeline %r cannot be written", self._pipeline)
                self._queue.lost([event], UNWRITABLE)
                self._decided(event, UNWRITABLE)
            else:
                written.append(event)
                parts.append(part)
        return written, b"[%b]" % b",".join(parts)

    async def _attempt(self, body: bytes) -> tuple[int | None, str]:
        """Post a batch; return the status, if there was an answer, and what went wrong."""
        seconds = self._settings.timeout
        post = asyncio.ensure_future(self._post(body))
        post.add_done_callback(lambda _: self._is_done.set())
        self._is_done.clear()
        with suppress(Elapsed):
            await within(seconds, self._is_done.wait())
        if not post.done():
            post.cancel()
            await asyncio.wait({post})
            return None, f"it did not answer within {seconds:g} s"
        try:
            return post.result()
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return None, f"{type(error).__name__}: {error}"

    async def _post(self, body: bytes) -> tuple[int, str]:
        session = self._connections.pooled
        async with session.post(
            self._sink, data=body, headers=self._headers, allow_redirects=False
        ) as answer:
            if answer.status < 300:
                await answer.read()
                return answer.status, ""
            text = (await answer.content.read(_EXCERPT)).decode(errors="replace")
            location = answer.headers.get("location")
            where = f", a redirect to {location}" if location else ""
            return answer.status, f"it answered {answer.status}{where}: {text!r:.{_EXCERPT}}"

    def _lose_the_rest(self) -> None:
        rest = self._queue.take(len(self._queue), 2**62)
        self._queue.lost(rest, SHUTDOWN)
        self._lost_at_end += len(rest)
        if self._lost_at_end:
            logger.warning(
                "%d events of the request logs of pipeline %r are lost: the server ends, and the sink %s "
                "did not take them within `flush_timeout`",
                *(self._lost_at_end, self._pipeline, self._sink),
            )
        for event in rest:
            self._decided(event, SHUTDOWN)

    def _succeeded(self) -> None:
        self._refused = None
        if self._failing_since is not None:
            logger.warning(
                "the sink %s takes the request logs of pipeline %r again, after %.1f s; %d events were "
                "dropped so far",
                *(self._sink, self._pipeline, time.monotonic() - self._failing_since),
                self._queue.dropped,
            )
            self._failing_since = None

    def _log_failure(self, reason: str) -> None:
        if self._failing_since is None:
            self._failing_since = time.monotonic()
            logger.warning(
                "the sink %s does not take the request logs of pipeline %r (%s); they are sent again "
                "later, and up to %d events or %d bytes wait",
                *(self._sink, self._pipeline, reason),
                *(self._settings.max_events, self._settings.max_bytes),
            )

    def _log_refusal(self, status: int, reason: str) -> None:
        if status != self._refused:
            self._refused = status
            logger.warning(
                "the sink %s refuses the request logs of pipeline %r (%s), so they are dropped; correct "
                "the URL, or the token in the environment",
                *(self._sink, self._pipeline, reason),
            )
