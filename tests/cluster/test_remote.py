"""From Python to a real cluster, on each platform that it has: deployed, called, found again, removed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tempo_runtime import (
    KServeOptions,
    Seldon2Options,
    SeldonCoreOptions,
    create_minio_rclone,
    deploy_remote,
    save,
    upload,
)
from tempo_runtime.deploy.cluster.deploying import get_client, list_models
from tests.cluster.test_seldon import INGRESS, NAMESPACE, SECRET, double, parent

NAMES = {"cluster-parent", "cluster-double"}
# Keys for downloads are a service account's on KServe.
ACCOUNT = os.environ.get("TEMPO_CLUSTER_SERVICE_ACCOUNT", "")
IMAGE = os.environ.get("TEMPO_CLUSTER_IMAGE")
PLATFORMS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "seldon": (
        SeldonCoreOptions,
        "seldondeployments.machinelearning.seldon.io",
        {"authSecretName": SECRET, "ingress": INGRESS or None},
    ),
    "seldon2": (Seldon2Options, "models.mlops.seldon.io", {"authSecretName": SECRET}),
    "kserve": (
        KServeOptions,
        "inferenceservices.serving.kserve.io",
        {"serviceAccountName": ACCOUNT or None},
    ),
}

pytestmark = [pytest.mark.timeout(1200), pytest.mark.slow]


def options_of(platform: str) -> Any:
    """Options of a platform. Skips the test where the cluster has it not."""
    kind, resource, own = PLATFORMS[platform]
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not here")
    asked = ["kubectl", "--request-timeout=10s", "get", "crd", resource]
    found = subprocess.run(asked, capture_output=True, text=True, check=False)
    if found.returncode != 0:
        pytest.skip(f"no cluster with {resource}: {found.stderr.strip().splitlines()[-1:]}")
    return kind(remote_options={"namespace": NAMESPACE, "image": IMAGE, **own})


@pytest.mark.parametrize("platform", PLATFORMS)
def test_it_is_deployed_called_found_again_and_removed(platform: str, tmp_path: Path) -> None:
    options = options_of(platform)
    create_minio_rclone(str(tmp_path / "rclone.conf"))
    for each in (double, parent):
        upload(save(each, str(tmp_path / each.get_tempo().details.name)))
    x = np.array([1.0, 2.0])
    with deploy_remote(parent, options=options) as remote:
        np.testing.assert_array_equal(remote.predict(x=x), [3.0, 5.0])
        assert {details.name for details in list_models(options)} >= NAMES
        again = get_client("cluster-parent", options)
        np.testing.assert_array_equal(again.predict(x=x), [3.0, 5.0])
    assert not {details.name for details in list_models(options)} & NAMES
