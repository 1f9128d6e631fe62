"""Keys from a secret of a Kubernetes cluster."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import pytest
import yaml

from tempo_runtime import StorageError, download, upload
from tests.deploy.kubernetes.manifests.crds import ROOT
from tests.helpers.artifacts import answer, contents
from tests.storage.cluster import CONFIG, Cluster
from tests.storage.conftest import Save
from tests.storage.s3 import KEYS, S3

SECRET = "/api/v1/namespaces/production/secrets/minio-secret"


def secret(**settings: str) -> dict[str, object]:
    data = {name: base64.b64encode(value.encode()).decode() for name, value in settings.items()}
    return {"kind": "Secret", "data": data}


@pytest.fixture
def known(cluster: Cluster, server: S3) -> Cluster:
    """A cluster that has the secret, of the names that Seldon's storage initializer reads."""
    cluster.answers[SECRET] = secret(
        RCLONE_CONFIG_S3_TYPE="s3",
        RCLONE_CONFIG_S3_PROVIDER="Minio",
        RCLONE_CONFIG_S3_ACCESS_KEY_ID=KEYS[0],
        RCLONE_CONFIG_S3_SECRET_ACCESS_KEY=KEYS[1],
        RCLONE_CONFIG_S3_ENDPOINT=server.endpoint,
        PATH="/nowhere",
    )
    return cluster


@pytest.mark.parametrize("named", ["minio-secret", "production/minio-secret"])
def test_the_settings_of_a_secret_are_used_for_one_transfer_only(
    named: str, known: Cluster, server: S3, save: Save, tmp_path: Path
) -> None:
    folder, uri = save("here"), f"s3://tempo/secrets/{named}"
    upload(folder, uri=uri, secret=named)
    assert answer(server.folder(uri)) == "here"
    download(uri, str(tmp_path / "got"), secret=named)
    assert contents(tmp_path / "got") == contents(folder)
    assert not any(KEYS[1].encode() in each for each in contents(server.folder(uri)).values())


def test_a_secret_in_the_form_of_seldon_core_2_is_read_as_well(
    cluster: Cluster, server: S3, save: Save, tmp_path: Path
) -> None:
    [example] = yaml.safe_load_all((ROOT / "k8s/rbac/secret-seldon2.yaml").read_text())
    remote = yaml.safe_load(example["stringData"]["s3"])
    keys = dict(zip(("access_key_id", "secret_access_key"), KEYS, strict=True))
    remote["parameters"] |= {"endpoint": server.endpoint, "env_auth": False, **keys}
    for text in (yaml.safe_dump(remote), json.dumps(remote)):
        cluster.answers[SECRET] = secret(s3=text)
        upload(save("here"), uri="s3://tempo/core2", secret="minio-secret")
    assert answer(server.folder("s3://tempo/core2")) == "here"


@pytest.mark.parametrize("text", ["hush", "name: s3", "[", "type: s3\nparameters: 1\nname: s3"])
def test_a_key_that_is_not_a_remote_of_rclone_is_refused_and_not_shown(
    cluster: Cluster, save: Save, text: str
) -> None:
    cluster.answers[SECRET] = secret(s3=text)
    with pytest.raises(StorageError, match="or one key with rclone's name, type and") as refused:
        upload(save("here"), uri="s3://tempo/x", secret="minio-secret")
    assert "hush" not in str(refused.value)


def test_a_refused_key_of_a_secret_is_not_shown(known: Cluster, save: Save) -> None:
    known.answers[SECRET]["data"]["RCLONE_CONFIG_S3_ACCESS_KEY_ID"] = "aHVzaA=="  # type: ignore[index]
    with pytest.raises(StorageError, match="InvalidAccessKeyId") as refused:
        upload(save("here"), uri="s3://tempo/x", secret="minio-secret")
    cause = refused.value.__cause__
    assert not any(key in f"{refused.value} {cause!r}" for key in ("hush", *KEYS))


REFUSED = {
    404: "it does not exist in that namespace; correct the name, or create it",
    403: r"the cluster refuses it \(403 Forbidden\); ask for the right to read it",
    500: "the cluster answers 500 Internal Server Error; try again",
}


@pytest.mark.parametrize("status", REFUSED)
def test_a_secret_that_cannot_be_read_is_reported(
    status: int, cluster: Cluster, save: Save
) -> None:
    cluster.answers[SECRET] = status
    with pytest.raises(StorageError, match=f"the secret 'minio-secret' .* {REFUSED[status]}"):
        upload(save("here"), uri="s3://tempo/x", secret="minio-secret")


def test_a_secret_without_rclones_settings_is_reported(cluster: Cluster, save: Save) -> None:
    cluster.answers[SECRET] = secret(AWS_ACCESS_KEY_ID="x")
    with pytest.raises(StorageError, match=r"'minio-secret' in .* has no RCLONE_CONFIG_"):
        upload(save("here"), uri="s3://tempo/x", secret="minio-secret")


CONFIGS = {
    "": "no cluster is configured here .*set KUBECONFIG",
    "a: [": "the kubeconfig is not valid YAML; correct KUBECONFIG",
    CONFIG.format(
        host="127.0.0.1", port=1
    ): "the cluster at http://127.0.0.1:1 does not answer; corr",
}


@pytest.mark.parametrize("content", CONFIGS, ids=["none", "not YAML", "no server"])
def test_a_machine_without_a_cluster_is_reported(
    content: str, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("kubernetes", reason="the package kubernetes is not installed")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    if content:
        (tmp_path / "config").write_text(content)
    with pytest.raises(StorageError, match=f"the secret 'minio-secret' .*{CONFIGS[content]}"):
        upload(save("here"), uri="s3://tempo/x", secret="minio-secret")


def test_a_machine_without_the_client_is_reported(
    save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(StorageError, match=r"pip install 'tempo_runtime\[k8s\]'"):
        upload(save("here"), uri="s3://tempo/x", secret="minio-secret")
