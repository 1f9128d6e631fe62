"""A real cluster: the platforms that it has, and a namespace of its own for each test.

It is that of kubectl's current context; k8s/kind/test.sh makes one, and sets what is read here.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import KServeOptions, Seldon2Options, SeldonCoreOptions, create_minio_rclone
from tempo_runtime.deploy.manifests import RemotePlatform

# Through the API where none is named.
INGRESS = os.environ.get("TEMPO_CLUSTER_INGRESS") or None
# Of pipelines; by default what Seldon Core's config names, and of KServe what is written.
IMAGE = os.environ.get("TEMPO_CLUSTER_IMAGE") or None
# Where the Secret with the keys to MinIO is copied from.
NAMESPACE = os.environ.get("TEMPO_CLUSTER_NAMESPACE", "production")
SECRET = os.environ.get("TEMPO_CLUSTER_SECRET", "minio-secret")
_ACCOUNT = "tempo-test"
_RESOURCES = {
    "seldon": "seldondeployments.machinelearning.seldon.io",
    "seldon2": "models.mlops.seldon.io",
    "kserve": "inferenceservices.serving.kserve.io",
}


@dataclass(frozen=True)
class Space:
    """A namespace of a cluster.

    Attributes:
        name: Its name.
        platform: What deploys there.
    """

    name: str
    platform: str

    def options(self, **more: Any) -> RemotePlatform:
        """Options of the platform in this namespace."""
        remote = {"namespace": self.name, "image": IMAGE, **more}
        if self.platform == "seldon":
            return SeldonCoreOptions(
                remote_options={**remote, "authSecretName": SECRET, "ingress": INGRESS}
            )
        if self.platform == "seldon2":
            return Seldon2Options(remote_options={**remote, "authSecretName": SECRET})
        return KServeOptions(remote_options={**remote, "serviceAccountName": _ACCOUNT})

    async def kubectl(self, *arguments: str, text: str = "") -> str:
        """What kubectl prints."""
        return await kubectl("--namespace", self.name, *arguments, text=text)


async def kubectl(*arguments: str, text: str = "") -> str:
    """What kubectl prints; the test fails if it does."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), asyncio.subprocess.PIPE)
    process = await asyncio.create_subprocess_exec("kubectl", *arguments, **pipes)
    printed, error = await process.communicate(text.encode())
    assert process.returncode == 0, error.decode()
    return printed.decode()


@pytest.fixture(params=_RESOURCES)
def platform(request: pytest.FixtureRequest) -> str:
    """Each platform that the cluster has."""
    name: str = request.param
    if shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl here")
    asked = ["kubectl", "--request-timeout=10s", "get", "crd", _RESOURCES[name]]
    found = subprocess.run(asked, capture_output=True, text=True, check=False)
    if found.returncode != 0:
        why = (found.stderr.strip().splitlines() or ["kubectl fails"])[-1]
        pytest.skip(f"no cluster with {_RESOURCES[name]}: {why}")
    return name


@pytest.fixture
async def space(platform: str, tmp_path: Path) -> AsyncIterator[Space]:
    """A namespace with the keys to MinIO, which this process has as well."""
    create_minio_rclone(str(tmp_path / "rclone.conf"))
    found = Space(f"tempo-test-{uuid.uuid4().hex[:8]}", platform)
    await kubectl("create", "namespace", found.name)
    try:
        secret = json.loads(await kubectl("-n", NAMESPACE, "get", "secret", SECRET, "-o", "json"))
        for item in _prepared(secret["data"], platform):
            await found.kubectl("apply", "-f", "-", text=json.dumps(item))
        yield found
    finally:
        await kubectl("delete", "namespace", found.name, "--timeout=5m")


def _prepared(data: dict[str, str], platform: str) -> list[dict[str, Any]]:
    """What a platform needs in a namespace before anything is deployed there."""
    core = {"apiVersion": "v1"}
    secret = {**core, "kind": "Secret", "metadata": {"name": SECRET}, "data": data}
    if platform == "seldon2":  # its scheduler and gateway are those of a namespace
        runtime = {"apiVersion": "mlops.seldon.io/v1alpha1", "kind": "SeldonRuntime"}
        return [
            secret,
            {**runtime, "metadata": {"name": "seldon"}, "spec": {"seldonConfig": "default"}},
        ]
    if platform == "kserve":  # its keys are a service account's, by AWS's names
        endpoint = base64.b64decode(data["RCLONE_CONFIG_S3_ENDPOINT"]).decode()
        scheme, _, host = endpoint.partition("://")
        own = "serving.kserve.io"
        told = {
            f"{own}/s3-endpoint": host,
            f"{own}/s3-usehttps": "1" if scheme == "https" else "0",
        }
        secret["metadata"] = {"name": SECRET, "annotations": told}
        keys = ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")
        secret["data"] = {f"AWS_{key}": data[f"RCLONE_CONFIG_S3_{key}"] for key in keys}
        account = {"metadata": {"name": _ACCOUNT}, "secrets": [{"name": SECRET}]}
        return [secret, {**core, "kind": "ServiceAccount", **account}]
    return [secret]
