"""A Redis that is away, that may have applied a change, or that needs TLS."""

from __future__ import annotations

import asyncio
import math
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from tempo_runtime import DeadlineExceeded, State, StateError, StateUnavailable
from tempo_runtime._util.ports import HOST, free_ports
from tempo_runtime.request import context
from tempo_runtime.request.breaker import Breaker
from tempo_runtime.request.breaker import State as BreakerState
from tempo_runtime.request.portal import background
from tempo_runtime.settings import StateSettings, TlsSettings
from tempo_runtime.state.connect import connect
from tempo_runtime.state.redis import RedisStore
from tests.helpers.redis_server import RedisServer, needs_redis
from tests.helpers.waiting import wait_until

StateAt = Callable[..., State]


@pytest.fixture
def state_at() -> Iterator[StateAt]:
    """Return a function that connects a state, which is closed afterwards."""
    with ExitStack() as stack:

        def make(url: str, **options: Any) -> State:
            settings = StateSettings(**{"url": url, "timeout": 0.5, **options})
            state = connect("bandit", "2", settings, background(), is_async=False)
            stack.callback(lambda: background().run(state.close()))
            return state

        yield make


@pytest.fixture
def closing() -> Iterator[tuple[str, list[bytes]]]:
    """A server that closes each connection after a command; its URL, and the commands it has read."""
    read: list[bytes] = []
    with socket.create_server((HOST, 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, suppress(OSError):
                    while True:
                        commands = connection.recv(4096)
                        hellos, modes = commands.count(b"CLIENT"), commands.count(b"CLUSTER")
                        connection.sendall(hellos * b"+OK\r\n")
                        connection.sendall(modes * b"-ERR cluster support disabled\r\n")
                        if not hellos and not modes:
                            break
                    read.append(commands)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"redis://{HOST}:{server.getsockname()[1]}", read
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def send(server: RedisServer, command: str) -> None:
    """Send a command as another program does."""
    with socket.create_connection((HOST, server.port)) as connection:
        connection.sendall(f"{command}\r\n".encode())
        assert connection.recv(64)[:1] in b"+:"


CHANGES: dict[str, Callable[[State], Any]] = {
    "incr('key')": lambda state: state.incr("key"),
    "set('key')": lambda state: state.set("key", 1),
    "delete('key')": lambda state: state.delete("key"),
    "compare_and_set('key')": lambda state: state.compare_and_set("key", 1, 2),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_may_have_been_applied_is_not_sent_again(
    change: str, closing: tuple[str, list[bytes]], state_at: StateAt
) -> None:
    url, read = closing
    with pytest.raises(StateUnavailable) as error:
        CHANGES[change](state_at(url, password=None))
    assert f"it is not known whether {change} was applied" in str(error.value)
    assert error.value.maybe_applied
    assert sum(b"tempo:bandit/2:key" in command for command in read) <= 1


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_was_never_sent_is_known_not_to_be_applied(
    change: str, state_at: StateAt
) -> None:
    (port,) = free_ports(1)
    with pytest.raises(StateUnavailable, match="is not available") as error:
        CHANGES[change](state_at(f"redis://{HOST}:{port}", timeout=0.2))
    assert not error.value.maybe_applied
    assert "not known" not in str(error.value)


def test_a_read_and_an_identified_count_are_sent_again(
    closing: tuple[str, list[bytes]], state_at: StateAt
) -> None:
    url, read = closing
    for call in (lambda s: s.get("key"), lambda s: s.incr("key", once="id")):
        read.clear()
        with pytest.raises(StateUnavailable) as error:
            call(state_at(url))
        assert not error.value.maybe_applied
        assert len(read) > 1


def silent_server() -> socket.socket:
    """Return a server that accepts connections and never answers."""
    return socket.create_server((HOST, 0))


def breaker(state: State) -> Breaker:
    store = state._store
    assert isinstance(store, RedisStore)
    return store._breaker


def test_while_redis_is_away_only_one_call_at_a_time_waits_for_it(state_at: StateAt) -> None:
    with silent_server() as silent:
        state = state_at(f"redis://{HOST}:{silent.getsockname()[1]}", timeout=0.05)
        for _ in range(3):
            with pytest.raises(StateUnavailable, match="did not answer within"):
                state.get("key")
        breaker(state)._next_probe = math.inf  # no call may try again
        state._store._settings = StateSettings(url="redis://nowhere", timeout=3600)  # type: ignore[attr-defined]
        with pytest.raises(StateUnavailable, match="found by earlier calls") as error:
            state.incr("key")  # does not wait for an hour
        assert not error.value.maybe_applied
        assert REGISTRY.get_sample_value("tempo_state_breaker_state", {"pipeline": "bandit"}) == 2


def test_requests_without_time_do_not_count_as_failures_of_redis(state_at: StateAt) -> None:
    with silent_server() as silent:
        state = state_at(f"redis://{HOST}:{silent.getsockname()[1]}", timeout=60)
        for _ in range(4):
            with context.serving(0.05, {}), pytest.raises(StateUnavailable, match="did not answer"):
                state.get("key")
        assert breaker(state).failures == 0


@needs_redis
def test_calls_reach_a_redis_that_is_back(tmp_path: Path, state_at: StateAt) -> None:
    server = RedisServer(tmp_path)
    state = state_at(server.url, timeout=0.05, ready=True)
    wait_until(lambda: not state.is_away)
    server.kill()
    while breaker(state).state is not BreakerState.OPEN:
        with pytest.raises(StateUnavailable):
            state.get("key")
    assert state.is_away
    server.start()
    try:

        def answers() -> bool:
            with suppress(StateUnavailable):
                return state.get("key", "none") == "none"
            return False

        wait_until(answers)
        assert breaker(state).state is BreakerState.CLOSED
        wait_until(lambda: not state.is_away)
    finally:
        server.kill()


@needs_redis
@pytest.mark.parametrize("call", [lambda state: state.get("key"), lambda state: state.incr("key")])
def test_a_node_of_a_redis_cluster_is_refused(
    call: Callable[[State], Any], tmp_path: Path, state_at: StateAt
) -> None:
    server = RedisServer(tmp_path, "--cluster-enabled", "yes")
    try:
        with pytest.raises(StateError) as error:
            call(state_at(server.url))
    finally:
        server.kill()
    assert "it is a node of a Redis Cluster" in str(error.value)
    assert "TEMPO_RUNTIME_STATE__URL" in str(error.value)
    assert not isinstance(error.value, StateUnavailable)


def test_a_call_ends_before_the_deadline_of_its_request(state_at: StateAt) -> None:
    with socket.create_server((HOST, 0)) as silent:
        state = state_at(f"redis://{HOST}:{silent.getsockname()[1]}", timeout=60)
        with context.serving(0.3, {}) as request, pytest.raises(StateUnavailable) as error:
            state.get("key")
        assert "did not answer within" in str(error.value)
        request.remaining()  # or it raises


def test_a_request_without_time_does_not_call_redis(state_at: StateAt) -> None:
    state = state_at(f"redis://{HOST}:1")
    with context.serving(1e-9, {}), pytest.raises(DeadlineExceeded):
        state.get("key")


@needs_redis
def test_a_call_waits_for_a_redis_that_starts_in_time(tmp_path: Path, state_at: StateAt) -> None:
    (port,) = free_ports(1)
    state = state_at(f"redis://{HOST}:{port}", timeout=60)
    answer: list[Any] = []
    thread = threading.Thread(target=lambda: answer.append(state.incr("key")))
    thread.start()
    server = RedisServer(tmp_path, port=port)
    thread.join()
    server.kill()
    assert answer == [1]


@needs_redis
def test_a_value_that_another_program_wrote_is_refused(
    redis_server: RedisServer, state_at: StateAt
) -> None:
    send(redis_server, "SET tempo:bandit/2:foreign not-json")
    state = state_at(redis_server.url, timeout=60)
    with pytest.raises(StateError, match="the value of 'foreign' was not written by tempo_runtime"):
        state.get("foreign")


@needs_redis
def test_a_value_that_another_program_wrote_is_not_the_expected_one(
    redis_server: RedisServer, state_at: StateAt
) -> None:
    send(redis_server, "SET tempo:bandit/2:other not-json")
    assert state_at(redis_server.url, timeout=60).compare_and_set("other", 1, 2) is False


NO_RIGHTS = "ACL SETUSER reader on >s3cret +@all -set -incrby ~*"
A_LIST = "RPUSH tempo:bandit/2:key 1"
NO_MEMORY = "CONFIG SET maxmemory 1"


@needs_redis
@pytest.mark.parametrize(
    ("command", "calls", "remedy"),
    [
        (NO_RIGHTS, ("set", "incr"), "let its user run GET, SET, INCRBY"),
        (A_LIST, ("get", "incr"), "another program uses this key; set another .*STATE__NAMESPACE"),
        (NO_MEMORY, ("set", "incr"), "raise the maxmemory of that Redis"),
    ],
)
def test_a_refused_command_is_an_error_that_a_client_does_not_send_again(
    tmp_path: Path, state_at: StateAt, command: str, calls: tuple[str, ...], remedy: str
) -> None:
    server = RedisServer(tmp_path)
    send(server, command)
    user = {"username": "reader", "password": "s3cret"} if command == NO_RIGHTS else {}
    state = state_at(server.url, timeout=60, **user)
    try:
        for name in calls:
            with pytest.raises(StateError, match=f"refused a command: .*; {remedy}") as error:
                getattr(state, name)("key", 1)
            assert not error.value.retryable
    finally:
        server.kill()


@needs_redis
def test_a_replica_that_takes_no_changes_is_not_available(
    tmp_path: Path, state_at: StateAt
) -> None:
    server = RedisServer(tmp_path, "--replicaof", f"{HOST} 1")
    try:
        with pytest.raises(StateUnavailable, match="read only replica") as error:
            state_at(server.url, timeout=60).incr("key")
        assert not error.value.maybe_applied
    finally:
        server.kill()


@needs_redis
def test_calls_of_many_tasks_share_the_connections(
    redis_server: RedisServer, state_at: StateAt
) -> None:
    state = state_at(redis_server.url, timeout=60, namespace="tasks")

    async def count() -> list[int]:
        return await asyncio.gather(*(state.aio.incr("n") for _ in range(300)))

    assert sorted(asyncio.run(count())) == list(range(1, 301))


@needs_redis
def test_a_cancelled_call_leaves_no_answer_for_the_next_one(
    redis_server: RedisServer, state_at: StateAt
) -> None:
    state = state_at(redis_server.url, timeout=60, namespace="cancelled")
    state.set("a", "a")
    state.set("b", "b")

    async def cancel_many() -> list[Any]:
        for _ in range(50):
            task = asyncio.create_task(state.aio.get("a"))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return [await state.aio.get("b") for _ in range(50)]

    assert asyncio.run(cancel_many()) == ["b"] * 50


@needs_redis
def test_tls_needs_the_authority_that_signed(tmp_path: Path, state_at: StateAt) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=redis", "-addext", f"subjectAltName=IP:{HOST}"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    arguments = ["--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    arguments += ["--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no"]
    server = RedisServer(tmp_path, *arguments, plain=False)
    try:
        trusting = state_at(server.url, timeout=60, tls=TlsSettings(ca=str(certificate)))
        assert trusting.incr("key") == 1
        with pytest.raises(StateUnavailable, match=r"(?i)certificate"):
            state_at(server.url).get("key")
    finally:
        server.kill()
