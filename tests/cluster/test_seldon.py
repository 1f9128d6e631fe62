"""Seldon Core v1 on a real cluster, as k8s/kind/test.sh makes one: from a manifest to an answer."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tempo_runtime import (
    PipelineModels,
    SeldonCoreOptions,
    create_minio_rclone,
    manifest,
    model,
    pipeline,
    save,
    upload,
)
from tempo_runtime.deploy.addresses import seldon_ingress

INGRESS = os.environ.get("TEMPO_CLUSTER_INGRESS", "")
NAMESPACE = os.environ.get("TEMPO_CLUSTER_NAMESPACE", "production")
SECRET = os.environ.get("TEMPO_CLUSTER_SECRET", "minio-secret")
OPTIONS = SeldonCoreOptions(remote_options={"namespace": NAMESPACE, "authSecretName": SECRET})

pytestmark = [
    pytest.mark.skipif(not INGRESS, reason="no cluster: k8s/kind/test.sh makes one"),
    pytest.mark.timeout(1200),
    pytest.mark.slow,
]


@model("cluster-double", uri="s3://tempo/cluster-double")
def double(x: np.ndarray) -> np.ndarray:
    return x * 2


@pipeline("cluster-parent", uri="s3://tempo/cluster-parent", models=PipelineModels(double=double))
def parent(x: np.ndarray) -> np.ndarray:
    return parent.models.double(x) + 1


def kubectl(*arguments: str, text: str | None = None) -> str:
    command = ["kubectl", "--namespace", NAMESPACE, *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[None]:
    """The pipeline and its child, available."""
    assert shutil.which("kubectl")
    create_minio_rclone(str(tmp_path / "rclone.conf"))
    for each in (double, parent):
        upload(save(each, str(tmp_path / each.get_tempo().details.name)))
    objects = manifest(parent, OPTIONS)
    try:
        kubectl("apply", "-f", "-", text=objects)
        for name in ("cluster-double", "cluster-parent"):
            available = "--for=jsonpath={.status.state}=Available"
            kubectl("wait", available, "--timeout=10m", f"seldondeployment/{name}")
        yield
    finally:
        kubectl("delete", "--ignore-not-found", "-f", "-", text=objects)


@pytest.mark.parametrize("options", [{}, {"min_available": 1, "spread": True}], ids=str)
def test_the_cluster_s_own_check_takes_the_objects(options: dict[str, Any]) -> None:
    remote = {"namespace": NAMESPACE, "authSecretName": SECRET, **options}
    text = manifest(parent, SeldonCoreOptions(remote_options=remote))
    kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", text=text)


@pytest.mark.usefixtures("deployed")
def test_a_pipeline_answers_and_calls_its_child() -> None:
    where = seldon_ingress("cluster-parent", NAMESPACE, INGRESS)
    url = f"{where.url}{where.path}"
    until_routed(url)
    rows = {"name": "x", "datatype": "FP64", "shape": [2], "data": [1.0, 2.0]}
    answer = httpx.post(f"{url}/infer", json={"inputs": [rows]}, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["data"] == [3.0, 5.0]


def until_routed(url: str) -> None:
    """Waits for the ingress, which learns of what is available a moment later."""
    deadline = time.monotonic() + 120
    while httpx.get(f"{url}/ready", timeout=10).status_code != 200:
        assert time.monotonic() < deadline, f"{url} is not routed"
        time.sleep(0.5)
