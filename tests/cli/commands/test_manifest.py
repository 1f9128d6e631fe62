"""`tempo-runtime manifest`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tempo_runtime import KServeOptions, SeldonCoreOptions, manifest, save
from tests.deploy.kubernetes.manifests import models
from tests.helpers.command_line import run

explainer = models.explainer()
TARGET = "tests.cli.commands.test_manifest:explainer"


@pytest.fixture
def artifact(tmp_path: Path) -> str:
    return save(models.explainer(), str(tmp_path / "explainer"))


def written(*arguments: object) -> list[dict[str, Any]]:
    code, printed, told = run("manifest", *arguments)
    assert code == 0, told
    return list(yaml.safe_load_all(printed))


def test_the_command_writes_the_same_as_the_function(artifact: str) -> None:
    chosen = SeldonCoreOptions(
        remote_options={"namespace": "production", "authSecretName": "minio-secret"}
    )
    options = ("--namespace", "production", "--secret", "minio-secret")
    for target, model in ((artifact, artifact), (TARGET, explainer)):
        assert run("manifest", target, *options)[:2] == (0, manifest(model, chosen))


def test_an_artifact_without_its_digest_gives_its_pipelines_manifest(artifact: str) -> None:
    unpinned = SeldonCoreOptions(remote_options={"pin_artifact": False})
    expected = manifest(explainer, unpinned)
    assert run("manifest", artifact, "--set", "pin_artifact=false")[:2] == (0, expected)


@pytest.mark.parametrize(
    ("platform", "kind"),
    [
        ((), "SeldonDeployment"),
        (("--platform", "seldon"), "SeldonDeployment"),
        (("--platform", "seldon2"), "Model"),
        (("--platform", "kserve"), "InferenceService"),
    ],
)
def test_it_is_for_the_platform_that_is_asked_for(platform: tuple[str, ...], kind: str) -> None:
    assert written(TARGET, *platform)[0]["kind"] == kind


def test_other_options_are_set_as_json_or_text() -> None:
    own = 'models={"income-sklearn": {"image": "own:2"}}'
    explained, classifier = written(
        TARGET, "--image", "tempo:1", "--set", "replicas=2", "--set", own, "--set", "protocol=v2"
    )
    assert explained["spec"]["protocol"] == "v2"
    [predictor] = explained["spec"]["predictors"]
    assert predictor["replicas"] == 2
    assert predictor["componentSpecs"][0]["spec"]["containers"][0]["image"] == "tempo:1"
    [predictor] = classifier["spec"]["predictors"]
    assert predictor["componentSpecs"][0]["spec"]["containers"][0]["image"] == "own:2"


def test_options_of_a_file_are_those_of_python_and_the_command_line_takes_precedence(
    tmp_path: Path,
) -> None:
    file = tmp_path / "production.yaml"
    file.write_text("platform: kserve\nnamespace: production\nimage: tempo:1\n")
    chosen = KServeOptions(remote_options={"namespace": "trial", "image": "tempo:1"})
    expected = manifest(explainer, chosen)
    assert run("manifest", TARGET, "-f", file, "-n", "trial")[:2] == (0, expected)
    code, printed, told = run("manifest", TARGET, "-f", file, "--platform", "seldon", "-o", file)
    assert (code, printed) == (0, "")
    code, _, told = run("manifest", TARGET, "-f", file)
    assert code == 1
    assert told.startswith(f"Error: {file} must be one YAML document")


def test_it_goes_to_a_file(tmp_path: Path) -> None:
    file = tmp_path / "tempo.yaml"
    code, printed, told = run("manifest", TARGET, "-o", file)
    assert (code, printed) == (0, "")
    assert told.startswith("`tempo-runtime lint` reports: ")
    assert "resources-missing" in told
    assert file.read_text() == manifest(explainer)
    assert told.splitlines()[-1] == f"Apply it:  kubectl apply -f {file}"


def test_its_last_line_gives_the_file_to_kubectl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text('#!/bin/sh\n[ "$1 $2" = "apply -f" ] && cat "$3"\n')
    kubectl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    told = run("manifest", TARGET, "-o", tmp_path / "my tempo.yaml")[2]
    line = told.splitlines()[-1].partition("  ")[2]
    assert subprocess.check_output(line, shell=True, text=True) == manifest(explainer)


@pytest.mark.parametrize(
    ("arguments", "expected", "told"),
    [
        (("nowhere",), 2, "'nowhere' is neither a folder nor MODULE:NAME, such as shop:Shop"),
        ((TARGET, "--set", "replicas"), 2, "--set takes KEY=VALUE"),
        ((TARGET, "--set", "models={"), 2, "models: its value is not valid JSON"),
        ((TARGET, "--set", f"a={'[' * 100_000}"), 2, "a: its value is not valid JSON"),
        (
            (TARGET, "--set", "models.prices.replicas=2"),
            2,
            """nested values are JSON, as in --set 'models={"prices": {"replicas": ...}}'""",
        ),
        ((TARGET, "--set", "platform=kserve"), 2, "--set platform: use --platform instead"),
        ((TARGET, "--set", "env_from=one"), 1, "--set env_from: Input should be a list"),
        ((TARGET, "--set", "labels=[]"), 1, "--set labels: Input should be keys with values"),
        ((TARGET, "--image", ""), 1, "--image: String should have at least 1 character"),
        ((TARGET, "--set", "uri="), 1, "--set uri: String should have at least 1 character"),
        ((TARGET, "--diff", "-o", "x.yaml"), 2, "leave out --diff or --output"),
        (
            (TARGET, "--secret", "a", "--set", "authSecretName=b"),
            2,
            "--secret and --set authSecretName are both given",
        ),
        (
            (TARGET, "--secret", "a", "--set", "auth_secret_name=b"),
            2,
            "--secret and --set auth_secret_name are both given",
        ),
        (
            (TARGET, "-n", "a", "--set", "namespace=b"),
            2,
            "--namespace and --set namespace are both",
        ),
        ((TARGET, "--platform", "nomad"), 2, "'nomad' is not one of"),
        (
            (TARGET, "--set", "replica=2"),
            1,
            "--set replica: there is no such option; did you mean 'replicas'?",
        ),
        ((TARGET, "--platform", "kserve", "--secret", "s"), 1, "set service_account_name"),
        (("tests.helpers.pipelines:SyncParent",), 1, "sync-parent has no uri"),
        (("tests.helpers.pipelines:Order",), 1, "is neither a pipeline, nor a Model"),
        ((TARGET, "-o", "/nowhere/x.yaml"), 1, "/nowhere/x.yaml cannot be written: No such file"),
    ],
)
def test_invalid_options_are_reported(arguments: tuple[str, ...], expected: int, told: str) -> None:
    code, printed, said = run("manifest", *arguments)
    assert (code, printed) == (expected, "")
    assert told in said
    assert "Traceback" not in said
    assert expected == 2 or said.count("\n") == 1


def test_an_empty_folder_is_reported(tmp_path: Path) -> None:
    code, _, said = run("manifest", tmp_path)
    assert (code, said.count("\n")) == (1, 1)
