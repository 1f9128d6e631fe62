"""An image of one artifact, built by the engine, and what it serves."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import ArtifactDamaged, DeploymentFailed
from tempo_runtime.deploy.local.image_build import BuiltImage, build_image
from tests.containers.running import CONFINED, Served, created, served
from tests.helpers.command_line import run


@pytest.fixture(scope="module")
def tax(shop: Path) -> Path:
    """An artifact that calls nothing."""
    return shop.parent / "tax"


@pytest.fixture(scope="module")
def baked(engine: Any, server_image: str, tax: Path) -> Iterator[BuiltImage]:
    name = f"tempo-test-{uuid.uuid4().hex[:8]}:1"
    yield build_image(tax, name, server_image, {"team": "prices"})
    engine.images.remove(name, force=True)


def test_it_serves_its_artifact_by_itself(engine: Any, baked: BuiltImage) -> None:
    with served(engine, baked.name, None, "tax") as server:
        assert server.infer(2.0) == 3.0
        assert server.run("id", "-u").strip() == "8888"


def test_an_artifact_without_settings_serves_by_itself_too(
    engine: Any, server_image: str, tax: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "tax"
    shutil.copytree(tax, bare, ignore=shutil.ignore_patterns("model-settings.json"))
    name = build_image(bare, f"tempo-test-{uuid.uuid4().hex[:8]}:1", server_image).name
    try:
        with created(engine, name, ports={"8080/tcp": ("127.0.0.1", None)}, **CONFINED) as running:
            running.start()
            running.reload()
            port = running.ports["8080/tcp"][0]["HostPort"]
            server = Served("tax", running, f"http://127.0.0.1:{port}")
            server.wait_until_ready()
            assert server.infer(2.0) == 3.0
    finally:
        engine.images.remove(name, force=True)


def test_its_labels_say_what_is_in_it(engine: Any, baked: BuiltImage, server_image: str) -> None:
    labels = engine.images.get(baked.name).labels
    assert labels["org.opencontainers.image.title"] == "tax"
    assert labels["org.opencontainers.image.base.name"] == server_image
    assert len(labels["tempo-runtime.artifact"]) == 64
    assert labels["team"] == "prices"


def test_the_same_artifact_is_the_same_layers(
    engine: Any, baked: BuiltImage, server_image: str, tax: Path, tmp_path: Path
) -> None:
    again = tmp_path / "tax"
    shutil.copytree(tax, again)
    for path in again.rglob("*"):
        path.touch()
    name = f"tempo-test-{uuid.uuid4().hex[:8]}"
    code, printed, told = run("image", "build", again, "--tag", name, "--base", server_image)
    try:
        assert code == 0, told
        assert f"Built {name}" in printed
        layers = [engine.images.get(each).attrs["RootFS"]["Layers"] for each in (name, baked.name)]
        assert layers[0] == layers[1]
    finally:
        engine.images.remove(name, force=True)


def test_a_missing_base_is_reported(engine: Any, tax: Path) -> None:
    with pytest.raises(DeploymentFailed, match="has no image nothing:here"):
        build_image(tax, base="nothing:here")


def test_an_artifact_that_was_changed_is_refused(
    engine: Any, server_image: str, tax: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "tax"
    shutil.copytree(tax, changed)
    (changed / "pipeline.dill").write_bytes(b"other")
    with pytest.raises(ArtifactDamaged):
        build_image(changed, base=server_image)
