"""What rules are silent about: it is right, or nothing that a manifest says can tell."""

from __future__ import annotations

import pytest
import yaml

from tempo_runtime import Seldon2Options, manifest
from tempo_runtime.deploy.lint import lint
from tests.deploy.lint.manifests import KSERVE, SELDON, SELDON2
from tests.deploy.manifests import models

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


def test_a_secret_that_sops_encrypted_is_no_base64_yet() -> None:
    text = SELDON.replace("TWluaW8=", "'ENC[AES256_GCM,data:x,type:str]'")
    assert rules(text) == ["secret-data"]
    assert rules(text + "sops: {version: 3.9.0}\n") == []


def test_labels_that_are_looked_for_are_a_user_s_own() -> None:
    spread = "topologySpreadConstraints: [{labelSelector: {matchLabels: {Runtime: a}}}]"
    assert rules(SELDON2.replace("  podSpec:\n", f"  podSpec:\n    {spread}\n")) == []


def test_a_runtime_that_two_manifests_hold_is_said_twice_and_equal() -> None:
    runtime = KSERVE.partition("---\n")[0]
    assert rules(f"{KSERVE}---\n{runtime}") == []
    assert rules(f"{KSERVE}---\n{runtime.replace('v2', 'v1, v2')}") == ["name-twice"]
