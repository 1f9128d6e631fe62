"""What rules are silent about: it is right, or nothing that a manifest says can tell."""

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


def test_an_artifact_of_kserve_is_at_no_remote_of_rclone() -> None:
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
def test_a_remote_without_slashes_is_looked_for_in_its_secret(
    uri: str, expected: list[str]
) -> None:
    text = SELDON.replace("_S3_TYPE: s3}", "_S3_TYPE: s3, RCLONE_CONFIG_MY_MINIO_TYPE: s3}")
    assert rules(text.replace("s3://models/shop", uri)) == expected


@pytest.mark.parametrize("requirement", ["mlserver", "python", "sklearn", "own"])
def test_parameters_of_what_is_no_pipeline_are_not_judged(requirement: str) -> None:
    assert model(requirement=requirement) == []


def test_parameters_of_a_pipeline_are_judged() -> None:
    assert model(requirement="tempo") == ["pipeline-settings"]
    (server,) = [
        each["spec"]["requirements"][0]
        for each in yaml.safe_load_all(manifest(models.explainer(), Seldon2Options()))
        if each["metadata"]["name"] == models.EXPLAINER
    ]
    assert model(requirement=server) == ["pipeline-settings"]


@pytest.mark.parametrize("value", ["$(SECONDS)", "$(A)0"])
def test_a_setting_that_kubernetes_puts_together_is_not_judged(value: str) -> None:
    text = SELDON.replace("MLSERVER_PARALLEL_WORKERS, value", "TEMPO_RUNTIME_TIMEOUT, value")
    assert rules(text.replace('value: "0"', f'value: "{value}"')) == []
    assert rules(text.replace('value: "0"', 'value: "soon"')) == ["pipeline-settings"]


def test_a_url_that_kubernetes_puts_together_is_not_judged() -> None:
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


def test_a_runtime_of_modelmesh_has_containers_of_its_own() -> None:
    text = KSERVE.replace("name: kserve-container", "name: mlserver")
    assert rules(text) == ["kserve-container-name"]
    assert rules(text.replace("  protocolVersions", "  multiModel: true\n  protocolVersions")) == []


def test_a_secret_that_sops_encrypted_has_a_field_of_sops() -> None:
    text = SELDON.replace("TWluaW8=", "'ENC[AES256_GCM,data:x,type:str]'")
    assert rules(text + "sop: {version: 3.9.0}\n") == ["field-unknown"]
    assert rules(text + "sops: {version: 3.9.0}\n") == []


def test_labels_that_are_looked_for_are_a_user_s_own() -> None:
    spread = "topologySpreadConstraints: [{labelSelector: {matchLabels: {Runtime: a}}}]"
    assert rules(SELDON2.replace("  podSpec:\n", f"  podSpec:\n    {spread}\n")) == []


def test_a_runtime_that_two_manifests_hold_is_said_twice_and_equal() -> None:
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
def test_rclone_has_variables_that_are_of_no_remote(name: str, expected: list[str]) -> None:
    assert rules(SELDON.replace("RCLONE_CONFIG_S3_PROVIDER", name)) == expected


VALUES = "name: values\nparameters: {colour: blue}\n"


def test_values_of_helm_are_no_settings_of_a_model() -> None:
    assert rules(f"{SELDON2}---\n{VALUES}") == []


@pytest.mark.parametrize("file", ["model-settings.json", "artifacts/shop/model-settings.json"])
def test_settings_of_a_model_are_known_by_the_name_of_their_file(file: str) -> None:
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
def test_a_number_is_what_mlserver_takes(name: str, value: str, expected: list[str]) -> None:
    good = 'MLSERVER_PARALLEL_WORKERS, value: "0"'
    assert rules(SELDON.replace(good, f'{name}, value: "{value}"')) == expected


def test_a_json_patch_is_not_empty() -> None:
    assert rules("- {op: remove, path: /spec/replicas}\n") == []


# What `manifest` writes there is no part of the repository.
K8S = sorted(path for path in (ROOT / "k8s").rglob("*.yaml") if path.name != "tempo.yaml")


@pytest.mark.parametrize("path", K8S, ids=lambda path: path.name)
def test_nothing_is_said_of_the_files_of_the_repository(path: Path) -> None:
    assert lint_files([path]) == []
