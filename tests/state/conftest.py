"""A Redis, and a state in each store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count

import pytest

from tempo_runtime import State
from tempo_runtime.request.portal import background
from tempo_runtime.settings import StateSettings
from tempo_runtime.state.connect import connect
from tests.helpers.redis_server import EXECUTABLE, RedisServer

NewState = Callable[[], State]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if EXECUTABLE is None:
        pytest.skip("redis-server is not installed (Debian's package redis-server)")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture(params=["memory", "redis"])
def new_state(request: pytest.FixtureRequest) -> Iterator[NewState]:
    """Return a function that makes an empty state."""
    url = request.getfixturevalue("redis_server").url if request.param == "redis" else None
    namespaces, portal = count(), background()
    with ExitStack() as stack:

        def make() -> State:
            settings = StateSettings(url=url, namespace=f"test/{next(namespaces)}/{id(namespaces)}")
            state = connect("bandit", "", settings, portal, is_async=False)
            stack.callback(lambda: portal.run(state.close()))
            return state

        yield make


@pytest.fixture
def state(new_state: NewState) -> State:
    return new_state()
