"""Deployments of containers, which must leave nothing behind."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import DockerOptions
from tempo_runtime.deploy.local.engine import listed
from tempo_runtime.deploy.local.labels import PREFIX
from tests.containers.running import readable
from tests.deploy.local.redeployed import Studio

collect_ignore_glob = [] if sys.version_info[:2] == (3, 11) else ["test_*.py"]  # as the image's


def left(engine: Any, name: str) -> list[str]:
    """Containers and networks of a deployment."""
    labelled = {"label": f"{PREFIX}name={name}"}
    containers = listed(engine, labelled)
    networks = engine.networks.list(filters=labelled)
    return [each.name for each in (*containers, *networks)]


@pytest.fixture(scope="module")
def named(engine: Any, server_image: str) -> Iterator[Callable[..., DockerOptions]]:
    """Makes options of a deployment, each with a name of its own; none is left in the end."""
    names = []

    def options(**values: Any) -> DockerOptions:
        names.append(f"test-{uuid.uuid4().hex[:8]}")
        return DockerOptions(name=names[-1], image=server_image, timeout=120, **values)

    yield options
    assert [left(engine, name) for name in names] == [[] for _ in names]


@pytest.fixture
def options(
    engine: Any,
    named: Callable[..., DockerOptions],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[DockerOptions]:
    """Options of one deployment, of which nothing is left when the test has ended."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    found = named()
    yield found
    assert found.name is not None
    assert left(engine, found.name) == []


class Readable(Studio):
    """Pipelines whose files the user of a container can read."""

    def plus(self, more: float) -> Any:
        found = super().plus(more)
        readable(self.folder)
        return found

    def late(self, calls: bool = True) -> Any:
        found = super().late(calls)
        readable(self.folder)
        return found

    def alone(self, answer: str = "first", fails: bool = False) -> Any:
        found = super().alone(answer, fails)
        readable(self.folder)
        return found


@pytest.fixture
def studio(tmp_path: Path) -> Readable:
    """Pipelines to deploy."""
    (tmp_path / "studio").mkdir()
    return Readable(tmp_path / "studio")
