"""Manifests without findings: they are right, or a manifest alone cannot show a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tempo_runtime import Seldon2Options, manifest
from tempo_runtime._util.yaml_document import SETTINGS
from tempo_runtime._util.yaml_reading import read
from tempo_runtime.lint import lint, lint_files
from tests.deploy.kubernetes.manifests import models
from tests.deploy.kubernetes.manifests.crds import ROOT
from tests.lint.manifests import KSERVE, SELDON, SELDON2

MODEL = """\
apiVersion: mlops.seldon.io/v1alpha1
kind: Model
metadata: {name: iris}
spec:
  storageUri: STORAGE
  requirements: [REQUIREMENT]
  parameters: [{name: timeout, value: 30s}]
"""


def rules(text: str) -> list[str]:
    return [each.rule for each in lint(text)]


def model(storage: str = "s3://models/iris", requirement: str = "sklearn") -> list[str]:
    return rules(MODEL.replace("STORAGE", storage).replace("REQUIREMENT", requirement))


def test_a_model_of_core_2_may_be_at_a_path_of_its_server() -> None:
    assert model(storage="/var/models/iris") == []
    assert model(storage="iris") == ["uri-scheme"]


@pytest.mark.parametrize(
    "uri", ["minio:models/shop", "my-minio:models", "s3:models", "gs://models"]
)
def test_an_artifact_of_seldon_may_be_at_a_remote_of_rclone(uri: str) -> None:
    assert model(storage=uri) == []
    assert rules(SELDON.replace("gs://models/price", uri)) == []


def test_an_artifact_of_kserve_is_not_at_a_remote_of_rclone() -> None:
    assert rules(KSERVE.replace("s3://models/shop", "minio:models/shop")) == ["uri-scheme"]


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3:models/shop", []),
        ("other:models/shop", ["secret-remote"]),
        ("my-minio:models/shop", []),
        ("my-other:models/shop", ["secret-remote"]),
    ],
)
def test_a_remote_without_slashes_must_be_in_its_secret(uri: str, expected: list[str]) -> None:
    text = SELDON.replace("_S3_TYPE: s3}", "_S3_TYPE: s3, RCLONE_CONFIG_MY_MINIO_TYPE: s3}")
    assert rules(text.replace("s3://models/shop", uri)) == expected


@pytest.mark.parametrize("requirement", ["mlserver", "python", "sklearn", "own"])
def test_parameters_of_other_models_are_not_checked(requirement: str) -> None:
    assert model(requirement=requirement) == []


def test_parameters_of_a_pipeline_are_checked() -> None:
    assert model(requirement="tempo") == ["pipeline-settings"]
    (server,) = [
        each["spec"]["requirements"][0]
        for each in yaml.safe_load_all(manifest(models.explainer(), Seldon2Options()))
        if each["metadata"]["name"] == models.EXPLAINER
    ]
    assert model(requirement=server) == ["pipeline-settings"]


@pytest.mark.parametrize("value", ["$(SECONDS)", "$(A)0"])
def test_a_setting_that_kubernetes_expands_is_not_checked(value: str) -> None:
    text = SELDON.replace("MLSERVER_PARALLEL_WORKERS, value", "TEMPO_RUNTIME_TIMEOUT, value")
    assert rules(text.replace('value: "0"', f'value: "{value}"')) == []
    assert rules(text.replace('value: "0"', 'value: "soon"')) == ["pipeline-settings"]


def test_a_url_that_kubernetes_expands_is_not_checked() -> None:
    assert rules(SELDON.replace("http://price-default:9000", "http://price:$(PORT)")) == []


@pytest.mark.parametrize(
    ("image", "expected"), [("own/s3-fetcher:1", []), ("own/rclone:1", ["secret-remote"])]
)
def test_a_secret_of_another_initializer_has_its_own_settings(
    image: str, expected: list[str]
) -> None:
    text = SELDON.replace(
        "      envSecret", f"      storageInitializerImage: {image}\n      envSecret"
    )
    assert rules(text.replace("s3://models/shop", "minio://models/shop")) == expected


def test_a_runtime_of_modelmesh_names_its_containers_freely() -> None:
    text = KSERVE.replace("name: kserve-container", "name: mlserver")
    assert rules(text) == ["kserve-container-name"]
    assert rules(text.replace("  protocolVersions", "  multiModel: true\n  protocolVersions")) == []


def test_a_secret_that_sops_encrypted_has_a_field_of_sops() -> None:
    text = SELDON.replace("TWluaW8=", "'ENC[AES256_GCM,data:x,type:str]'")
    assert rules(text + "sop: {version: 3.9.0}\n") == ["field-unknown"]
    assert rules(text + "sops: {version: 3.9.0}\n") == []


def test_labels_in_selectors_are_free() -> None:
    spread = "topologySpreadConstraints: [{labelSelector: {matchLabels: {Runtime: a}}}]"
    assert rules(SELDON2.replace("  podSpec:\n", f"  podSpec:\n    {spread}\n")) == []


def test_two_manifests_may_contain_the_same_runtime() -> None:
    runtime = KSERVE.partition("---\n")[0]
    assert rules(f"{KSERVE}---\n{runtime}") == []
    assert rules(f"{KSERVE}---\n{runtime.replace('v2', 'v1, v2')}") == ["name-twice"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("RCLONE_CONFIG", []),
        ("RCLONE_CONFIG_DIR", []),
        ("RCLONE_CONFIG_PASS", []),
        ("RCLONE_CONFIG_S3", ["secret-rclone-key"]),
        ("RCLONE_CONFIG_MY-S3_TYPE", ["secret-rclone-key"]),
    ],
)
def test_rclone_has_variables_without_a_remote(name: str, expected: list[str]) -> None:
    assert rules(SELDON.replace("RCLONE_CONFIG_S3_PROVIDER", name)) == expected


VALUES = "name: values\nparameters: {colour: blue}\n"


def test_values_of_helm_are_not_settings_of_a_model() -> None:
    assert rules(f"{SELDON2}---\n{VALUES}") == []


@pytest.mark.parametrize("file", ["model-settings.json", "artifacts/shop/model-settings.json"])
def test_settings_of_a_model_are_recognized_by_their_file_name(file: str) -> None:
    (document,), _ = read('{"name": "shop"}', file)
    assert document.kind == SETTINGS


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("MLSERVER_GRPC_MAX_MESSAGE_LENGTH", "-1", []),
        ("MLSERVER_GRPC_MAX_MESSAGE_LENGTH", "2147483647", []),
        ("MLSERVER_GRPC_MAX_MESSAGE_LENGTH", "4MB", ["mlserver-number"]),
        ("MLSERVER_MAX_GRPC_MESSAGE_LENGTH", "4MB", []),
        ("MLSERVER_PARALLEL_WORKERS", "-1", ["mlserver-number"]),
    ],
)
def test_numbers_are_those_that_mlserver_accepts(
    name: str, value: str, expected: list[str]
) -> None:
    good = 'MLSERVER_PARALLEL_WORKERS, value: "0"'
    assert rules(SELDON.replace(good, f'{name}, value: "{value}"')) == expected


def test_a_json_patch_is_not_empty() -> None:
    assert rules("- {op: remove, path: /spec/replicas}\n") == []


# The file that `manifest` writes there does not belong to the repository.
K8S = sorted(path for path in (ROOT / "k8s").rglob("*.yaml") if path.name != "tempo.yaml")


@pytest.mark.parametrize("path", K8S, ids=lambda path: path.name)
def test_the_files_in_the_repository_have_no_findings(path: Path) -> None:
    assert lint_files([path]) == []
