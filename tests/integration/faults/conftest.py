"""A served pipeline, and its children: fakes, real servers, and addresses without a server."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import save
from tempo_runtime.authoring.decorators import describe
from tempo_runtime.testing import Server, serve
from tests.helpers import pipelines
from tests.helpers.byte_faults import FaultyModel
from tests.integration.faults import inside
from tests.integration.faults.asker import Asker, X


@pytest.fixture(scope="session")
def own_fake() -> Iterator[FaultyModel]:
    with FaultyModel("iris", X * 2, grpc=True) as fake:
        yield fake


@pytest.fixture
def fake(own_fake: FaultyModel) -> Iterator[FaultyModel]:
    """A fake child that is well before each test, and after it."""
    own_fake.clear()
    yield own_fake
    own_fake.answer = X * 2
    own_fake.clear()
    own_fake.start()


@pytest.fixture(scope="session")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that the model `gated` of the real child loads with."""
    path = tmp_path_factory.mktemp("gate") / "open"
    path.touch()
    return path


@pytest.fixture(scope="session")
def child(tmp_path_factory: pytest.TempPathFactory, gate: Path) -> Iterator[Server]:
    """A real child: a process of its own."""
    root = tmp_path_factory.mktemp("child")
    for target in (pipelines.double, pipelines.waiter, inside.Gated):
        save(target, str(root / describe(target).details.name))
    with serve(root, env={inside.GATE: str(gate)}) as child:
        yield child


@pytest.fixture(scope="session")
def blackhole() -> Iterator[int]:
    """A port where connections are neither taken nor refused."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        while True:  # until its queue is full
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0.3)
            try:
                waiting.connect(listening.getsockname())
            except TimeoutError:
                break
        yield listening.getsockname()[1]


@pytest.fixture(scope="session")
def served(
    own_fake: FaultyModel,
    child: Server,
    blackhole: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Asker]:
    urls = {"http": own_fake.url, "grpc": own_fake.grpc_url}
    real = {"http": child.url, "grpc": f"grpc://{child.grpc}"}
    children: dict[str, dict[str, Any]] = {
        "typed": {"url": own_fake.url},
        "read_timeout": {"url": own_fake.url, "read_timeout": 0.3},
    }
    for kind, url in urls.items():
        scheme = url.partition(":")[0]
        children |= {
            kind: {"url": url},
            f"timeout_{kind}": {"url": url, "timeout": 0.3},
            f"once_{kind}": {"url": url, "retries": 0},
            f"nowhere_{kind}": {"url": f"{scheme}://nowhere.invalid:80"},
            f"blackhole_{kind}": {
                "url": f"{scheme}://127.0.0.1:{blackhole}",
                "connect_timeout": 0.3,
            },
        }
        children[f"impatient_{kind}"] = {**children[f"blackhole_{kind}"], "unavailable_timeout": 0}
        for name in ("double", "waiter", "gated"):
            children[f"{name}_{kind}"] = {
                "url": real[kind],
                "model": name,
                "unavailable_timeout": 60,
            }
    http, grpc = ([urls[kind], real[kind]] for kind in ("http", "grpc"))
    with asked(tmp_path_factory.mktemp("asking"), children, http, grpc) as asker:
        yield asker


@contextmanager
def asked(
    folder: Path, children: dict[str, dict[str, Any]], http: list[str], grpc: list[str]
) -> Iterator[Asker]:
    """Serves the asking pipelines with these children, whose servers have these addresses."""
    for target in (*inside.asking(list(children)), inside.census):
        save(target, str(folder / describe(target).details.name))
    with (
        serve(folder, env={"TEMPO_RUNTIME_MODELS": json.dumps(children)}) as server,
        closing(Asker(server, http, grpc)) as asker,
    ):
        yield asker
        asker.check_nothing_is_left(idle=0)


@pytest.fixture
def asker(served: Asker) -> Iterator[Asker]:
    """Asks, and sees to it that a test leaves nothing behind in the server."""
    yield served
    served.check_nothing_is_left(idle=4)


@pytest.fixture(params=["ask", "ask-async"], ids=["sync", "async"])
def pipeline(request: pytest.FixtureRequest) -> str:
    """The name of each of the two pipelines."""
    return str(request.param)
