"""A state in Redis.

The values of a namespace have the keys `tempo:NAMESPACE:KEY`, with `%` and `:` in the namespace escaped
as in URLs. The ids that `incr` remembers have keys that begin with `tempo-once:`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tempo_runtime._util.extras import command
from tempo_runtime._util.printable import printable
from tempo_runtime.errors import SettingsError, StateError, StateUnavailable
from tempo_runtime.request import context
from tempo_runtime.request.breaker import LONGEST_PAUSE, Breaker
from tempo_runtime.request.breaker import State as BreakerState
from tempo_runtime.request.timing import Elapsed, within
from tempo_runtime.settings import ENV_PREFIX, StateSettings
from tempo_runtime.state.values import Number, beyond_range, not_a_number, same

if TYPE_CHECKING:
    from redis.asyncio import Connection, ConnectionPool

logger = logging.getLogger("mlserver")  # MLServer shows this logger's information
_CONNECTIONS = 64
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.25  # seconds between attempts
_CHECK_INTERVAL = 1.0  # seconds between two checks of readiness
# A call ends a little before its request, so that the answer can name the state.
_MARGIN = 0.1  # seconds
_MARGIN_RATIO = 0.1

_NO_CLUSTER = (
    "a state needs a Redis that is not in cluster mode (one server, or one with replicas): set "
    f"{ENV_PREFIX}STATE__URL to such a Redis"
)

# Integers are counted by Redis, with 64 bits, since Lua has only doubles. A sum of doubles is written
# with enough digits to give the same number again.
_INCR = """
local function is_number(text) return string.match(text, '^-?%d+%.?%d*[eE]?[-+]?%d*$') end
local function is_integer(text) return string.match(text, '^-?%d+$') end
if KEYS[2] then
  local known = redis.call('GET', KEYS[2])
  if known then return {'ok', known} end
end
local before, by = redis.call('GET', KEYS[1]), ARGV[1]
if before and not is_number(before) then return {'not a number', before} end
local total
if is_integer(before or '0') and is_integer(by) then
  local reply = redis.pcall('INCRBY', KEYS[1], by)
  if type(reply) == 'table' and reply.err then
    local is_beyond = string.find(reply.err, 'overflow') or string.find(reply.err, 'out of range')
    return is_beyond and {'beyond', reply.err} or reply
  end
  total = redis.call('GET', KEYS[1])
else
  local sum = tonumber(before or '0') + tonumber(by)
  if sum ~= sum or sum == math.huge or sum == -math.huge then return {'beyond', ''} end
  for digits = 15, 17 do
    total = string.format('%.' .. digits .. 'g', sum)
    if tonumber(total) == sum then break end
  end
  if is_integer(total) then total = total .. '.0' end
  redis.call('SET', KEYS[1], total, 'KEEPTTL')
end
if KEYS[2] then redis.call('SET', KEYS[2], total, 'PX', ARGV[2]) end
return {'ok', total}
"""

# The arguments are the expected value and the new one, each after '1', or '0' for no value; and the
# milliseconds after which the new one expires, or '0'.
_COMPARE_AND_SET = """
local known = redis.call('GET', KEYS[1])
local is_expected = (ARGV[1] == '1' and known == ARGV[2]) or (ARGV[1] == '0' and not known)
if not is_expected then return {0, known} end
if ARGV[3] == '0' then redis.call('DEL', KEYS[1])
elseif ARGV[5] == '0' then redis.call('SET', KEYS[1], ARGV[4])
else redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5]) end
return {1}
"""


class RedisStore:
    """Keeps values in Redis; see `Store`. It is used on one event loop.

    Args:
        settings: The settings, which have a URL.
        namespace: Its namespace.
        watch_breaker: Called with the state of the circuit breaker when that changes.

    Attributes:
        watching: Runs `watch`, until the store is closed.

    Raises:
        SettingsError: If the client library is missing.
    """

    def __init__(
        self,
        settings: StateSettings,
        namespace: str,
        watch_breaker: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.is_away = settings.ready  # until the first check
        self.problem: str | None = None
        self._settings = settings
        self._place = f"the state at {settings.address}"
        escaped = quote(namespace, safe="/@+, ")
        self._prefix = f"tempo:{escaped}:"
        self._once_prefix = f"tempo-once:{escaped}:"
        self._pool = _pool(settings)
        self._mode = _Mode()
        self._breaker = Breaker()
        self._watch_breaker = watch_breaker
        self._failed_with = ""  # why the last call found Redis away
        self._turns = asyncio.Semaphore(_CONNECTIONS)
        self.watching: Future[None] | None = None

    async def get(self, key: str) -> bytes | None:
        """See `Store.get`."""
        found: bytes | None = await self._call("GET", self._prefix + key)
        return found

    async def set(self, key: str, content: bytes, expires: float | None) -> None:
        """See `Store.set`."""
        ends = [] if expires is None else ["PX", _milliseconds(expires)]
        await self._call("SET", self._prefix + key, content, *ends, once=f"set({key!r})")

    async def delete(self, key: str) -> bool:
        """See `Store.delete`."""
        return bool(await self._call("DEL", self._prefix + key, once=f"delete({key!r})"))

    async def incr(self, key: str, by: Number, once: str | None) -> bytes:
        """See `Store.incr`."""
        keys = [self._prefix + key]
        if once is not None:
            keys.append(f"{self._once_prefix}{quote(key, safe='')}:{once}")
        outcome, content = await self._call(
            "EVAL",
            _INCR,
            len(keys),
            *keys,
            repr(by),
            _milliseconds(self._settings.remember),
            once="" if once is not None else f"incr({key!r})",
        )
        if outcome == b"not a number":
            raise not_a_number(key, content)
        if outcome == b"beyond":
            raise beyond_range(key)
        total: bytes = content
        return total

    async def compare_and_set(
        self, key: str, expected: bytes | None, content: bytes | None, expires: float | None
    ) -> bool:
        """See `Store.compare_and_set`."""
        while True:
            swapped, *known = await self._call(
                "EVAL",
                _COMPARE_AND_SET,
                1,
                self._prefix + key,
                *_optional(expected),
                *_optional(content),
                0 if expires is None else _milliseconds(expires),
                once=f"compare_and_set({key!r})",
            )
            if swapped:
                return True
            if expected is None or not known or known[0] is None or not same(known[0], expected):
                return False
            expected = known[0]  # the same value in other bytes

    async def watch(self) -> None:
        """Check again and again whether Redis answers, until this is cancelled."""
        while True:
            was_away = self.is_away
            try:
                await self._call("PING", always=True)
                self.is_away = False
            except (StateUnavailable, StateError) as error:
                self.is_away, self.problem = True, str(error)
                if not was_away:
                    logger.error("not ready: %s", printable(str(error)))
            if was_away and not self.is_away:
                logger.info("%s answers", self._place)
            await asyncio.sleep(_CHECK_INTERVAL)

    async def close(self) -> None:
        """See `Store.close`."""
        if self.watching is not None:
            self.watching.cancel()
        await self._pool.disconnect()

    async def _call(self, *command: Any, once: str = "", always: bool = False) -> Any:
        """Send a command and return its reply, within the time of the request and of the settings.

        While Redis is away, one command at a time finds out whether it is back, and the others fail at
        once: each would only wait for its whole time.

        Args:
            command: The command.
            once: The call that must not be repeated if it may have been applied; empty for one that may.
            always: Whether to send it even if the circuit breaker is open.

        Raises:
            StateUnavailable: If Redis cannot be reached, does not answer in time, or does not take
                commands for now.
            StateError: If Redis refuses the command, and would refuse it again.
        """
        limit = self._limit()
        before = self._breaker.state
        if not self._breaker.admit() and not always:
            raise self._away(
                f"{self._failed_with} (found by earlier calls, for {self._breaker.down_for():.1f} s; "
                f"calls try again every {LONGEST_PAUSE:g} s)",
                "",
            )
        self._breaker_changed(before)
        attempts = _Attempts(self._pool, command, self._mode, may_repeat=not once)
        try:
            reply = await within(limit, self._in_turn(attempts))
        except Elapsed:
            reason = attempts.reason or f"Redis did not answer within {limit:.3g} s"
            # A request that had hardly any time left says nothing about Redis.
            is_down = bool(attempts.reason) or limit >= self._settings.timeout
        except _Refused as refusal:
            self._record(self._breaker.succeeded)
            raise StateError(
                f"{self._place} refused a command: {printable(refusal.reply)}; {refusal.remedy}"
            ) from None
        except _Failed as failure:
            reason, is_down = str(failure), failure.is_down
        except BaseException:
            self._record(self._breaker.abandoned)
            raise
        else:
            self._record(self._breaker.succeeded)
            return reply
        self._failed_with = reason
        self._record(self._breaker.failed if is_down else self._breaker.abandoned)
        raise self._away(reason, once if attempts.is_sent else "")

    def _record(self, outcome: Callable[[], None]) -> None:
        before = self._breaker.state
        outcome()
        self._breaker_changed(before)

    def _breaker_changed(self, before: BreakerState) -> None:
        state = self._breaker.state
        if state is before:
            return
        self._watch_breaker(state.value)
        if before is BreakerState.CLOSED:
            self.is_away = self._settings.ready
            logger.error(
                "%s is away, and calls fail at once until it is back: %s",
                self._place,
                printable(self._failed_with),
            )
        elif state is BreakerState.CLOSED:
            logger.info("%s is back", self._place)

    async def _in_turn(self, attempts: _Attempts) -> Any:
        async with self._turns:
            return await attempts.run()

    def _limit(self) -> float:
        left = context.current().remaining()
        if left is None:
            return self._settings.timeout
        return min(self._settings.timeout, left - min(_MARGIN, _MARGIN_RATIO * left))

    def _away(self, reason: str, maybe_applied: str) -> StateUnavailable:
        text = (
            f"{self._place} is not available: {printable(reason)}; start that Redis, or correct "
            f"{ENV_PREFIX}STATE__URL"
        )
        if maybe_applied:
            text += f"; it is not known whether {maybe_applied} was applied"
        error = StateUnavailable(text)
        error.maybe_applied = bool(maybe_applied)
        return error


class _Failed(Exception):
    """A command that is not sent again.

    Args:
        reason: Why.
        is_down: Whether Redis cannot be reached.
    """

    def __init__(self, reason: str, *, is_down: bool = False) -> None:
        super().__init__(reason)
        self.is_down = is_down


class _Refused(Exception):
    """A command that Redis would refuse again."""

    def __init__(self, reply: str, remedy: str) -> None:
        super().__init__(reply)
        self.reply = reply
        self.remedy = remedy


class _Mode:
    """Whether it is known that a Redis is not part of a Redis Cluster."""

    is_single = False


class _Attempts:
    """The attempts to send one command.

    Args:
        pool: The connections.
        command: The command.
        mode: What is known of the Redis.
        may_repeat: Whether it may be sent again, if Redis may have executed it.

    Attributes:
        is_sent: Whether Redis may have executed it.
        reason: Why the last attempt failed; empty before.
    """

    def __init__(
        self, pool: ConnectionPool, command: Sequence[Any], mode: _Mode, *, may_repeat: bool
    ) -> None:
        self._pool = pool
        self._command = command
        self._mode = mode
        self._may_repeat = may_repeat
        self.is_sent = False
        self.reason = ""

    async def run(self) -> Any:
        """Return the reply; try again until this is cancelled."""
        from redis import exceptions

        pause = _FIRST_PAUSE
        while True:
            try:
                return await self._attempt()
            except (exceptions.AuthenticationError, exceptions.AuthorizationError) as error:
                raise _Failed(
                    f"Redis refused the user or the password ({error}); set "
                    f"{ENV_PREFIX}STATE__PASSWORD, and STATE__USERNAME if it has users"
                ) from None
            except exceptions.BusyLoadingError as error:
                self.is_sent = False  # it refuses commands until it has read its data
                self.reason = f"Redis answered: {error}"
            except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as error:
                self.reason = f"{error}" or type(error).__name__
                if self.is_sent and not self._may_repeat:
                    raise _Failed(self.reason, is_down=True) from None
            except exceptions.ReadOnlyError as error:  # a replica, until it takes over
                self.is_sent = False
                raise _Failed(f"Redis answered: {error}") from None
            except exceptions.ResponseError as error:
                raise _Refused(f"{error}", _remedy(error)) from None
            except exceptions.RedisError as error:
                raise _Failed(f"{error}") from None
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - not a secret
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _attempt(self) -> Any:
        connection: Connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            if not self._mode.is_single:
                await self._refuse_cluster(connection)
            self.is_sent = True
            await connection.send_command(*self._command)
            return await connection.read_response()
        except BaseException as error:
            if not _is_reply(error):  # or the next command would read the reply to this one
                await connection.disconnect(nowait=True)
            raise
        finally:
            await self._pool.release(connection)

    async def _refuse_cluster(self, connection: Connection) -> None:
        """Refuse a node of a cluster before the first command: it has some of the keys only."""
        from redis import exceptions

        await connection.send_command("CLUSTER", "INFO")
        try:
            await connection.read_response()
        except exceptions.ResponseError:  # not in cluster mode, or its user may not ask
            self._mode.is_single = True
            return
        raise _Refused("it is a node of a Redis Cluster", _NO_CLUSTER)


def _remedy(error: Exception) -> str:
    from redis import exceptions

    text = str(error)
    if isinstance(error, _of_cluster()):
        return _NO_CLUSTER
    in_script = "executing the script" in text or "ACL failure" in text
    if isinstance(error, exceptions.NoPermissionError) or in_script:
        return "let its user run GET, SET, INCRBY, DEL, EVAL and PING, on tempo:* and tempo-once:*"
    if isinstance(error, exceptions.OutOfMemoryError):
        return "raise the maxmemory of that Redis, or let values expire"
    if "WRONGTYPE" in text:
        return f"another program uses this key; set another {ENV_PREFIX}STATE__NAMESPACE"
    return f"correct the settings of that Redis, or {ENV_PREFIX}STATE__URL"


def _of_cluster() -> tuple[type[Exception], ...]:
    from redis import exceptions as known

    return (
        known.AskError,  # and MovedError, which is derived from it
        known.ClusterCrossSlotError,
        known.ClusterDownError,
        known.TryAgainError,
    )


def _is_reply(error: BaseException) -> bool:
    from redis import exceptions

    return isinstance(error, exceptions.ResponseError | exceptions.BusyLoadingError)


def _pool(settings: StateSettings) -> ConnectionPool:
    try:
        from redis.asyncio import ConnectionPool
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError as error:
        raise SettingsError(
            f"a state in Redis needs the package redis; install it: {command('state')}"
        ) from error
    assert settings.url is not None
    url = settings.url.get_secret_value()
    given: dict[str, Any] = {}
    if settings.username is not None:
        given["username"] = settings.username
    if settings.password is not None:
        given["password"] = settings.password.get_secret_value()
    if url.startswith("rediss:"):
        tls = settings.tls
        given |= {
            "ssl_cert_reqs": "required" if tls.verify else "none",
            "ssl_check_hostname": tls.verify,
            "ssl_ca_certs": tls.ca,
            "ssl_certfile": tls.cert,
            "ssl_keyfile": tls.key,
        }
    # This module limits the time, and decides what is sent again.
    return ConnectionPool.from_url(
        url,
        protocol=2,
        socket_timeout=None,
        socket_connect_timeout=None,
        retry=Retry(NoBackoff(), 0),
        retry_on_error=[],
        **given,
    )


def _milliseconds(seconds: float) -> int:
    return max(1, round(1000 * seconds))


def _optional(content: bytes | None) -> tuple[str, bytes]:
    return ("0", b"") if content is None else ("1", content)
