"""A real cluster: the platforms that it has, and a namespace of its own for each of them.

It is that of kubectl's current context; k8s/kind/test.sh makes one, and sets what is read here.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tempo_runtime import KServeOptions, Seldon2Options, SeldonCoreOptions, create_minio_rclone
from tempo_runtime.deploy.kubernetes.manifests import RemotePlatform

# Through the API where none is named.
INGRESS = os.environ.get("TEMPO_CLUSTER_INGRESS") or None
# Of pipelines; by default what Seldon Core's config names, and of KServe what is written.
IMAGE = os.environ.get("TEMPO_CLUSTER_IMAGE") or None
# Where the Secret with the keys to MinIO is copied from.
NAMESPACE = os.environ.get("TEMPO_CLUSTER_NAMESPACE", "production")
SECRET = os.environ.get("TEMPO_CLUSTER_SECRET", "minio-secret")
# Of the cluster's KServe, if it is older than 0.16.
KSERVE_VERSION = os.environ.get("TEMPO_CLUSTER_KSERVE_VERSION") or None
_ACCOUNT = "tempo-test"
# The kinds of objects on each platform, in the order in which they must be deleted: a Model of Seldon
# Core 2 is held by a finalizer that its runtime removes, and a Server drains models while there are any.
_DEPLOYED = {
    "seldon": ["seldondeployments.machinelearning.seldon.io"],
    "seldon2": ["models.mlops.seldon.io", "servers.mlops.seldon.io"],
    "kserve": [
        "inferenceservices.serving.kserve.io",
        "servingruntimes.serving.kserve.io",
        "poddisruptionbudgets.policy",
    ],
}
_PREPARED = {"seldon": [], "seldon2": ["seldonruntimes.mlops.seldon.io"], "kserve": []}


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
        remote: dict[str, Any] = {"namespace": self.name, "image": IMAGE}
        if self.platform == "seldon":
            secret = {"authSecretName": SECRET, "ingress": INGRESS}
            return SeldonCoreOptions(remote_options={**remote, **secret, **more})
        if self.platform == "seldon2":
            return Seldon2Options(remote_options={**remote, "authSecretName": SECRET, **more})
        own = {"serviceAccountName": _ACCOUNT, "kserve_version": KSERVE_VERSION}
        return KServeOptions(remote_options={**remote, **own, **more})

    def kubectl(self, *arguments: str, text: str = "") -> str:
        """Return the output of kubectl."""
        return kubectl("--namespace", self.name, *arguments, text=text)

    def names(self, *kinds: str, selector: str = "") -> set[str]:
        """The objects of some kinds that are there, as `KIND/NAME`."""
        selected = ("--selector", selector) if selector else ()
        return set(self.kubectl("get", ",".join(kinds), *selected, "-o", "name").split())

    @property
    def deployed(self) -> list[str]:
        """The kinds of what is deployed here."""
        return _DEPLOYED[self.platform]

    def empty(self) -> None:
        """Remove everything that was deployed, by anyone."""
        _delete_all(self, _DEPLOYED[self.platform])


def kubectl(*arguments: str, text: str = "") -> str:
    """Return the output of kubectl; the test fails if kubectl does."""
    done = subprocess.run(
        ["kubectl", *arguments], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(params=_DEPLOYED, scope="module")
def platform(request: pytest.FixtureRequest) -> str:
    """Each platform that the cluster has."""
    name: str = request.param
    resource = _DEPLOYED[name][0]
    if shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl here")
    asked = ["kubectl", "--request-timeout=10s", "get", "crd", resource]
    found = subprocess.run(asked, capture_output=True, text=True, check=False)
    if found.returncode != 0:
        why = (found.stderr.strip().splitlines() or ["kubectl fails"])[-1]
        pytest.skip(f"no cluster with {resource}: {why}")
    return name


@pytest.fixture(scope="module")
def namespace(platform: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    """A namespace that the platform deploys to, with the keys to MinIO, which this process has as well.

    One for all tests of a module: Seldon Core 2 has a scheduler and a gateway in each.
    """
    create_minio_rclone(str(tmp_path_factory.mktemp("minio") / "rclone.conf"))
    found = Space(f"tempo-test-{uuid.uuid4().hex[:8]}", platform)
    kubectl("create", "namespace", found.name)
    try:
        secret = json.loads(kubectl("-n", NAMESPACE, "get", "secret", SECRET, "-o", "json"))
        settings = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
        for item in _prepared(settings, platform):
            found.kubectl("apply", "-f", "-", text=json.dumps(item))
        if platform == "seldon2":
            scheduler = "statefulset/seldon-scheduler"
            found.kubectl("wait", "--for=create", scheduler, "--timeout=5m")
            found.kubectl("rollout", "status", scheduler, "--timeout=10m")
            found.kubectl("wait", "--for=create", "service/seldon-mesh", "--timeout=5m")
        yield found
    finally:
        _delete_all(found, [*_DEPLOYED[platform], *_PREPARED[platform]])
        kubectl("delete", "namespace", found.name, "--timeout=5m")


@pytest.fixture
def space(namespace: Space) -> Iterator[Space]:
    """The namespace, empty again after the test."""
    yield namespace
    namespace.empty()


def _delete_all(space: Space, kinds: list[str]) -> None:
    """Deletes all of one kind, and waits until they are gone, before the next."""
    for kind in kinds:
        space.kubectl("delete", kind, "--all", "--timeout=5m")


def _prepared(settings: dict[str, str], platform: str) -> list[dict[str, Any]]:
    """Create the objects that a platform needs in a namespace before a deployment.

    Args:
        settings: rclone's, as in the Secret for Seldon Core v1.
        platform: The platform.
    """
    if platform == "seldon2":
        return _prepared_for_seldon2(settings)
    if platform == "kserve":  # its keys are a service account's, by AWS's names
        scheme, _, host = settings["RCLONE_CONFIG_S3_ENDPOINT"].partition("://")
        endpoint = {
            "serving.kserve.io/s3-endpoint": host,
            "serving.kserve.io/s3-usehttps": "1" if scheme == "https" else "0",
        }
        keys = ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")
        named = {f"AWS_{key}": settings[f"RCLONE_CONFIG_S3_{key}"] for key in keys}
        secret = _secret(SECRET, named, endpoint)
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": _ACCOUNT}}
        return [secret, {**account, "secrets": [{"name": SECRET}]}]
    return [_secret(SECRET, settings)]


def _prepared_for_seldon2(settings: dict[str, str]) -> list[dict[str, Any]]:
    """Its scheduler and gateway, which are those of a namespace, and Secrets in its own form.

    The scheduler's configuration names the Secret of Google's public bucket: see
    k8s/helm-charts/seldon-core-v2-runtime/templates/rclone-gs-public.yaml of Seldon Core 2.
    """
    prefix = "RCLONE_CONFIG_S3_"
    own = {key.removeprefix(prefix).lower(): value for key, value in settings.items()}
    kind = own.pop("type", "s3")
    minio = {"type": kind, "name": "s3", "parameters": own}
    public = {"type": "google cloud storage", "name": "gs", "parameters": {"anonymous": True}}
    # Needed by Core 2's own pipelines, and by Kafka with them.
    unused = (
        "hodometer",
        "seldon-dataflow-engine",
        "seldon-modelgateway",
        "seldon-pipelinegateway",
    )
    overrides = [{"name": name, "disable": True} for name in unused]
    runtime = {"apiVersion": "mlops.seldon.io/v1alpha1", "kind": "SeldonRuntime"}
    spec = {"seldonConfig": "default", "overrides": overrides}
    return [
        _secret(SECRET, {"s3": json.dumps(minio)}),
        _secret("seldon-rclone-gs-public", {"gs": json.dumps(public)}),
        {**runtime, "metadata": {"name": "seldon"}, "spec": spec},
    ]


def _secret(
    name: str, data: dict[str, str], annotations: dict[str, str] | None = None
) -> dict[str, Any]:
    metadata = {"name": name, "annotations": annotations or {}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}
