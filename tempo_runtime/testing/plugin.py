"""Fixtures for pytest: `pytest_plugins = ["tempo_runtime.testing.plugin"]` in your conftest.py."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from tempo_runtime.testing.fakes import FakeModel
from tempo_runtime.testing.server import Server, serve


class Serve(Protocol):
    """The type of the fixture `tempo_serve`."""

    def __call__(
        self,
        *targets: Any,
        settings: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> Server:
        """Serve pipelines and folders with a real MLServer, until the test ends.

        Args:
            targets: Folders, as for `serve`, and pipelines, which are saved first.
            settings: See `serve`.
            env: See `serve`.
            timeout: See `serve`.

        Raises:
            ServerFailed: If the server ends, or a model is not ready in time.
        """
        ...


class MakeFakeModel(Protocol):
    """The type of the fixture `fake_model`."""

    def __call__(self, name: str, answer: Any = ..., **options: Any) -> FakeModel:
        """Start a `FakeModel` with these arguments; it is closed when the test ends."""
        ...


@pytest.fixture
def tempo_serve(tmp_path: Path) -> Iterator[Serve]:
    """Serve pipelines and folders with a real MLServer: see `Serve`."""
    with ExitStack() as stack:

        def start(*targets: Any, **options: Any) -> Server:
            folders = [_folder(target, tmp_path) for target in targets]
            return stack.enter_context(serve(*folders, **options))

        yield start


@pytest.fixture
def fake_model() -> Iterator[MakeFakeModel]:
    """Start fake models: see `FakeModel`."""
    with ExitStack() as stack:

        def start(name: str, answer: Any = ..., **options: Any) -> FakeModel:
            return stack.enter_context(FakeModel(name, answer, **options))

        yield start


def _folder(target: Any, root: Path) -> str:
    if isinstance(target, str | os.PathLike):
        return os.fspath(target)
    from tempo_runtime.artifact.store import save
    from tempo_runtime.authoring.decorators import describe

    return save(target, str(root / describe(target).details.name))
