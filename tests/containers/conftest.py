"""A container engine, and the images that tests run on it: `make image` builds them."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import DeploymentFailed, __version__
from tempo_runtime.deploy.local.engine import connected
from tests.helpers.nested_pipeline import saved_shop


@pytest.fixture(scope="session")
def engine() -> Iterator[Any]:
    """The engine at DOCKER_HOST, or this machine's own."""
    pytest.importorskip("docker", reason="docker is not installed")
    with contextlib.ExitStack() as stack:
        try:
            client = stack.enter_context(connected())
        except DeploymentFailed as error:
            pytest.skip(f'{error} (eval "$(scripts/engine.sh)" starts one)')
        yield client


def _built(engine: Any, variant: str) -> str:
    import docker

    name = f"tempo-runtime-server:{__version__}{variant}"
    pending = os.environ.get("TEMPO_TEST_IMAGES_PENDING")  # a file, while images are being built
    while pending and os.path.exists(pending):
        time.sleep(1)
    try:
        engine.images.get(name)
    except docker.errors.ImageNotFound:
        pytest.skip(f"the image {name} is not built (`make image`)")
    return name


@pytest.fixture(scope="session")
def server_image(engine: Any) -> str:
    """Name of the server image."""
    return _built(engine, "")


@pytest.fixture(scope="session")
def explain_image(engine: Any) -> str:
    """Name of the one with alibi."""
    return _built(engine, "-explain")


@pytest.fixture
def network(engine: Any) -> Iterator[str]:
    """A network whose containers find each other by name."""
    made = engine.networks.create(f"tempo-test-{uuid.uuid4().hex[:8]}", driver="bridge")
    yield made.name
    made.remove()


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop's artifact, beside those of its children `prices` and `tax`."""
    return saved_shop(tmp_path_factory.mktemp("shop"))
