"""The server image serves what Seldon Core's operator would have it serve, with what a pod may do."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tempo_runtime import __version__
from tests.containers.running import CONFINED, Served, created, printed, readable, served
from tests.helpers.packed_environment import Project

pytestmark = pytest.mark.slow
SBOM = "/usr/share/sbom/tempo-runtime.cdx.json"
_INSTALLED = """
import importlib.metadata, json, re
print(json.dumps({
    re.sub("[-_.]+", "-", found.name).lower(): found.version
    for found in importlib.metadata.distributions()
}))
"""


@pytest.fixture(scope="module")
def tax(engine: Any, server_image: str, shop: Path) -> Iterator[Served]:
    """An artifact that `save` wrote."""
    with served(engine, server_image, shop.parent / "tax", "tax") as running:
        yield running


def test_it_serves_an_artifact(tax: Served) -> None:
    assert tax.infer(4.0) == 6.0


def test_it_is_not_root_and_cannot_write_but_where_it_must(tax: Served) -> None:
    assert tax.run("id", "-u").strip() == "8888"
    assert tax.container.exec_run(["touch", "/usr/x"]).exit_code != 0
    assert tax.container.exec_run(["touch", "/mnt/models/x"]).exit_code != 0


def test_by_the_operator_s_class_it_serves_an_artifact_without_settings(
    engine: Any, server_image: str, shop: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "tax"
    shutil.copytree(shop.parent / "tax", folder)
    (folder / "model-settings.json").unlink()
    with served(engine, server_image, folder, "renamed") as running:
        assert running.infer(4.0) == 6.0


def test_it_serves_a_folder_with_a_model_of_scikit_learn(
    engine: Any, server_image: str, shop: Path
) -> None:
    folder = shop.parent / "prices"
    with served(engine, server_image, folder, "prices", "mlserver_sklearn.SKLearnModel") as running:
        assert running.infer(predict=np.array([[1.0, 1.0]])) == pytest.approx(6.0)


def test_containers_call_each_other_by_name(
    engine: Any, server_image: str, shop: Path, network: str
) -> None:
    folder = shop.parent
    children = {
        "TEMPO_RUNTIME_MODELS__PRICES__URL": "http://prices:9000",
        "TEMPO_RUNTIME_MODELS__TAX__URL": "grpc://tax:9500",
    }
    sklearn = "mlserver_sklearn.SKLearnModel"
    with (
        served(engine, server_image, folder / "prices", "prices", sklearn, network=network),
        served(engine, server_image, folder / "tax", "tax", network=network),
        served(engine, server_image, shop, "shop", env=children, network=network) as running,
    ):
        assert running.infer(np.array([[1.0, 1.0]]), discount=2.0) == pytest.approx(6.0)


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the image's Python is 3.11")
def test_it_serves_in_the_environment_that_an_artifact_brings(
    engine: Any, server_image: str, project: Project
) -> None:
    with served(engine, server_image, project.artifact, "painter") as running:
        answer = running.infer("tempo")
    assert len(answer["word"].splitlines()) > 3
    assert answer["prefix"].startswith("/opt/mlserver/environment.")
    assert {answer["package"], answer["mlserver"], answer["numpy"]} == {answer["prefix"]}


def test_an_environment_that_is_not_the_saved_one_does_not_run(
    engine: Any, server_image: str, shop: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "tax"
    shutil.copytree(shop.parent / "tax", folder)
    (folder / "environment.tar.gz").write_bytes(b"anyone's")
    mounted = {str(readable(folder)): {"bind": "/mnt/models", "mode": "ro"}}
    with created(engine, server_image, volumes=mounted, **CONFINED) as container:
        container.start()
        assert container.wait(timeout=60)["StatusCode"] == 1
        said = container.logs().decode().strip()
    assert said.startswith("tempo-serve: /mnt/models has an environment.tar.gz that its tempo.json")
    assert "\n" not in said


def test_it_stops_when_it_is_told_to(engine: Any, server_image: str, shop: Path) -> None:
    with served(engine, server_image, shop.parent / "tax", "tax") as running:
        running.container.stop(timeout=60)
        running.container.reload()
        state = running.container.attrs["State"]
        assert state["Status"] == "exited"
        assert state["ExitCode"] == 0, running.log()


def test_ready_asks_for_the_model_it_serves(tax: Served) -> None:
    assert tax.run("tempo-ready") == ""


def test_ready_says_what_is_not(tax: Served) -> None:
    status, output = printed(tax.container, "tempo-ready", "other")
    assert status == 1
    assert "/v2/models/other/ready" in output
    assert len(output.splitlines()) == 1


def test_its_list_of_packages_is_what_is_installed(tax: Served) -> None:
    listed = json.loads(tax.run("cat", SBOM))
    components = {found["name"].lower(): found["version"] for found in listed["components"]}
    normal = {name.replace("_", "-").replace(".", "-"): v for name, v in components.items()}
    assert normal == json.loads(tax.run("python", "-c", _INSTALLED))
    assert normal["tempo-runtime"] == __version__
    assert {"mlserver", "mlserver-sklearn", "dill"} <= normal.keys()


def test_its_labels_say_what_it_is(engine: Any, server_image: str) -> None:
    labels = engine.images.get(server_image).labels
    assert labels["org.opencontainers.image.title"] == "tempo-runtime-server"
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert "org.opencontainers.image.revision" in labels


def test_nothing_in_it_can_be_changed_by_whom_it_runs_as(tax: Served) -> None:
    found = tax.run("find", "/opt/venv", "/usr/local/bin", "-perm", "-002", "!", "-type", "l")
    assert found == ""


def test_its_locks_have_the_versions_of_mlserver_that_the_package_wants(tax: Served) -> None:
    from packaging.requirements import Requirement

    installed = json.loads(tax.run("python", "-c", _INSTALLED))
    asked = "import importlib.metadata as m, json; print(json.dumps(m.requires('tempo_runtime')))"
    for line in json.loads(tax.run("python", "-c", asked)):
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate({"extra": "sklearn"}):
            name = wanted.name.replace("_", "-")
            assert installed[name] in wanted.specifier, line
