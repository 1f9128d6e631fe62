"""Deployments of tests, which must leave nothing behind."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tempo_runtime import LocalOptions
from tempo_runtime.deploy.local import engine
from tests.deploy.local.redeployed import Studio
from tests.helpers.remaining import left

MARK = "TEMPO_TEST_DEPLOYMENT"


@contextlib.contextmanager
def alone(home: Path) -> Iterator[Path]:
    """Record deployments in a folder, and find no others.

    The test must neither see nor end the machine's deployments or the containers of other tests.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(home))
        patch.delenv("DOCKER_HOST", raising=False)
        patch.setattr(engine, "_SOCKET", "/nowhere")
        yield home / "tempo-runtime/deployments"


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """Where deployments are written down, for this test only."""
    with alone(tmp_path / "state") as folder:
        yield folder


@pytest.fixture
def options(state: Path) -> Iterator[LocalOptions]:
    """Options of deployments whose processes are known; none is left when the test has ended."""
    mark = uuid.uuid4().hex
    yield LocalOptions(env={MARK: mark}, timeout=120)
    assert not left(MARK, mark)
    assert not state.exists() or not list(state.iterdir())


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """Pipelines to deploy."""
    (tmp_path / "studio").mkdir()
    return Studio(tmp_path / "studio")


def eventually(holds: Callable[[], bool], seconds: float) -> bool:
    """Waits until something holds; False if it does not within so many seconds."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
