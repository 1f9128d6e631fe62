"""Demands on an artifact are checked in its container, before MLServer starts there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tempo_runtime import DeploymentFailed, DockerOptions, deploy_local
from tempo_runtime.artifact.trust import EXPECTED_DIGEST, VERIFY_KEY
from tests.containers.running import CONFINED, created, readable
from tests.integrity.signed import ANSWER, Signed, hostile_module, hostile_pickle, make_signed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signed]:
    """A signed pipeline and its children; the key is demanded here."""
    folder = tmp_path_factory.mktemp("signed")
    made = make_signed(folder)
    readable(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VERIFY_KEY, made.public)
        yield made


def test_a_signed_pipeline_answers_from_containers_that_demand_what_was_checked(
    engine: Any, signed: Signed, named: Callable[..., DockerOptions]
) -> None:
    with deploy_local(str(signed.shop), named()) as remote:
        assert remote(np.array([[1.0, 2.0]])) == ANSWER
        for each in remote.status():
            container = engine.containers.get(each.place.removeprefix("container "))
            variables = dict(each.split("=", 1) for each in container.attrs["Config"]["Env"])
            assert VERIFY_KEY not in variables
            assert variables[EXPECTED_DIGEST].startswith("sha256:")


def test_an_image_that_checks_nothing_is_refused(
    engine: Any, signed: Signed, server_image: str, named: Callable[..., DockerOptions]
) -> None:
    with created(engine, server_image) as container:
        other = container.commit("tempo-test-other", changes='CMD ["mlserver", "start", "."]')
    try:
        options = named(images={"tax": "tempo-test-other"})
        with pytest.raises(DeploymentFailed, match="tax: its image does not start tempo-serve"):
            deploy_local(str(signed.shop), options)
    finally:
        engine.images.remove(other.id, force=True)


@pytest.mark.parametrize("attack", ["a module", "the model"])
def test_a_container_ends_before_what_is_not_demanded_runs(
    attack: str, engine: Any, server_image: str, signed: Signed, tmp_path: Path
) -> None:
    children = json.loads((signed.shop / "tempo.json").read_text())["children"]
    alias = "prices" if attack == "a module" else "tax"
    folder = tmp_path / alias
    shutil.copytree(signed.shop.parent / alias, folder)
    marker = Path("/tmp/attacked")
    if attack == "a module":
        (folder / "tempo_runtime.py").write_text(hostile_module(marker))
    else:
        (folder / "model.joblib").write_bytes(hostile_pickle(marker))
    environment = {
        EXPECTED_DIGEST: children[alias]["digest"],
        "MLSERVER_MODEL_IMPLEMENTATION": "mlserver_sklearn.SKLearnModel",
        "MLSERVER_MODEL_NAME": alias,
    }
    mounted = {str(readable(folder)): {"bind": "/mnt/models", "mode": "ro"}}
    options = {**CONFINED, "volumes": mounted, "environment": environment}
    with created(engine, server_image, working_dir="/mnt/models", **options) as container:
        container.start()
        assert container.wait(timeout=90)["StatusCode"] == 1
        said = container.logs().decode().strip()
    assert said.startswith("tempo-serve: /mnt/models")
    assert "\n" not in said
