"""The mission's cells "Production Option 1" and "Production Option 2 (Gitops)", on a real cluster."""

from __future__ import annotations

import importlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import (
    Model,
    ModelFramework,
    RemoteModel,
    deploy_remote,
    manifest,
    save,
    upload,
)
from tempo_runtime.deploy.kubernetes.deploy import get_client, wait
from tests.cluster.conftest import Space
from tests.helpers.income import EXAMPLE, ROOT, Income, essence

# Of Seldon Core 2, for models of scikit-learn.
MLSERVER = {
    "apiVersion": "mlops.seldon.io/v1alpha1",
    "kind": "Server",
    "metadata": {"name": "mlserver"},
    "spec": {"serverConfig": "mlserver"},
}
# The server image with alibi in it: make image IMAGE_EXTRAS=explain
IMAGE = os.environ.get("TEMPO_CLUSTER_EXPLAIN_IMAGE")
OWN = {"models": {"income-explainer": {"image": IMAGE}}}

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.slow,
    pytest.mark.skipif(not IMAGE, reason="TEMPO_CLUSTER_EXPLAIN_IMAGE names no image with alibi"),
]


@pytest.fixture
def trained(platform: str, request: pytest.FixtureRequest) -> Income:
    """The trained example; by its name, because pytest would train before it looks for a cluster."""
    income: Income = request.getfixturevalue("income")
    return income


@pytest.fixture
def explainer(space: Space, trained: Income, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The explainer, uploaded with the model that it calls."""
    monkeypatch.setenv("INCOME_ARTIFACTS", str(trained.folder))
    monkeypatch.syspath_prepend(str(EXAMPLE))
    sklearn_model = Model(
        name="income-sklearn",
        platform=ModelFramework.SKLearn,
        local_folder=str(trained.model),
        uri="s3://tempo/income/model",  # not the one for all, whose columns are others
    )
    found = importlib.import_module("src.tempo").create_explainer(sklearn_model)
    save(found, str(trained.explainer), environment=None)
    upload(sklearn_model)
    upload(found)
    if space.platform == "seldon2":
        space.kubectl("apply", "-f", "-", text=json.dumps(MLSERVER))
    return found


def options_of(space: Space) -> Any:
    # Models of Seldon Core 2 share a Server, and so its image.
    return space.options(**({"image": IMAGE} if space.platform == "seldon2" else OWN))


def explained(remote: RemoteModel, income: Income) -> Any:
    asked = {"payload": income.rows[0:1], "parameters": {"threshold": 0.95}}
    return json.loads(remote.predict(**asked))["data"]


def test_option_1_deploys_from_python(space: Space, explainer: Any, trained: Income) -> None:
    remote = deploy_remote(explainer, options_of(space))
    found = explained(remote, trained)
    assert essence(found) == essence(trained.alone(0, 0.95))
    remote.undeploy()


def test_option_2_deploys_what_kustomize_makes_of_the_manifest(
    space: Space, explainer: Any, trained: Income, tmp_path: Path
) -> None:
    options, folder = options_of(space), tmp_path / "k8s"
    if space.platform == "seldon":
        shutil.copytree(ROOT / "k8s", folder)
    else:  # the patches in k8s/ are for SeldonDeployments
        folder.mkdir()
        (folder / "kustomization.yaml").write_text("resources: [tempo.yaml]\n")
    (folder / "tempo.yaml").write_text(manifest(explainer, options=options))
    text = space.kubectl("kustomize", str(folder))
    space.kubectl("apply", "-f", "-", text=text)
    wait("income-explainer", options)
    remote = get_client("income-explainer", options)
    found = explained(remote, trained)
    assert essence(found) == essence(trained.alone(0, 0.95))
    if space.platform == "seldon2":  # its Server drains for as long as it has models
        space.kubectl("delete", "models.mlops.seldon.io", "--all")
    space.kubectl("delete", "-f", "-", text=text)
