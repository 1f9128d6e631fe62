"""The folder k8s: what it has no other test of."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tempo_runtime import __version__
from tests.deploy.kubernetes.manifests.crds import ROOT

K8S = ROOT / "k8s"
IMAGE = {"image": "tempo-runtime-server", "defaultImageVersion": __version__}


def objects(path: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((K8S / path).read_text()))


@pytest.mark.parametrize("path", sorted(str(each.relative_to(K8S)) for each in K8S.rglob("*.yaml")))
def test_each_file_is_yaml(path: str) -> None:
    assert all(objects(path))


def test_the_secret_of_the_example_holds_no_keys() -> None:
    [secret] = objects("rbac/secret.yaml")
    assert secret["metadata"]["name"] == "minio-secret"
    for name, value in secret["stringData"].items():
        assert isinstance(value, str)
        assert name.startswith("RCLONE_CONFIG_S3_")
        assert (value == "REPLACE-ME") == ("KEY" in name)


def test_the_secret_for_seldon_core_2_has_one_key_with_a_remote_and_no_keys_of_it() -> None:
    """As scheduler/pkg/agent/rclone/rclone.go (RcloneConfigCreate) takes it: parameters are text."""
    [secret] = objects("rbac/secret-seldon2.yaml")
    [text] = secret["stringData"].values()
    remote = yaml.safe_load(text)
    assert (remote["name"], remote["type"]) == ("s3", "s3")
    for name, value in remote["parameters"].items():
        assert isinstance(value, str)
        assert (value == "REPLACE-ME") == ("key" in name)


def test_the_secret_for_kserve_is_its_service_account_s_and_holds_no_keys() -> None:
    secret, account = objects("rbac/secret-kserve.yaml")
    assert account["secrets"] == [{"name": secret["metadata"]["name"]}]
    assert set(secret["stringData"].values()) == {"REPLACE-ME"}
    assert "serving.kserve.io/s3-endpoint" in secret["metadata"]["annotations"]


def test_the_role_lets_read_what_tempo_0_5_reads_and_no_more() -> None:
    account, role, binding = objects("rbac/tempo-pipeline.yaml")
    assert account["metadata"]["name"] == "tempo-pipeline"
    [rule] = role["rules"]
    assert rule["verbs"] == ["get"]
    assert {each.partition("/")[0] for each in rule["resources"]} == {"seldondeployments"}
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "tempo-pipeline"}]


def test_rbac_goes_to_the_namespace_that_it_is_applied_to() -> None:
    for path in (K8S / "rbac").glob("*.yaml"):
        assert all("namespace" not in each["metadata"] for each in objects(path))


def test_tempo_server_runs_the_image_of_this_version() -> None:
    [values] = objects("seldon-config/values.yaml")
    protocols = values["predictor_servers"]["TEMPO_SERVER"]["protocols"]
    assert protocols == {"v2": IMAGE, "kfserving": IMAGE}


def test_seldon_s_config_is_patched_and_keeps_all_else() -> None:
    if shutil.which("jq") is None:
        pytest.skip("there is no jq here")
    theirs = {"image": "seldonio/mlserver", "defaultImageVersion": "1.3.5-slim"}
    servers = {
        "SKLEARN_SERVER": {"protocols": {"v2": theirs}},
        "TEMPO_SERVER": {"protocols": {"v2": theirs}},
    }
    config = {"data": {"credentials": "{}", "predictor_servers": json.dumps(servers)}}
    named = ["--arg", "image", IMAGE["image"], "--arg", "version", __version__]
    done = subprocess.run(
        ["jq", *named, "-f", str(K8S / "seldon-config" / "tempo-server.jq")],
        input=json.dumps(config),
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)["data"]
    assert found["credentials"] == "{}"
    assert json.loads(found["predictor_servers"]) == {
        "SKLEARN_SERVER": {"protocols": {"v2": theirs}},
        "TEMPO_SERVER": {"protocols": {"v2": IMAGE, "kfserving": IMAGE}},
    }


def test_the_script_of_the_cluster_is_clean() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("there is no shellcheck here")
    subprocess.run(["shellcheck", str(K8S / "kind" / "test.sh")], check=True)


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Runs the script of the cluster beside tools that only write down how they were called."""
    log = tmp_path / "log"
    (tmp_path / "bin").mkdir()
    for tool in ("docker", "kind", "kubectl", "helm", "python"):
        path = tmp_path / "bin" / tool
        own = (
            'if [ "$1 $2" = "get clusters" ]; then echo "$CLUSTERS"; fi\n' if tool == "kind" else ""
        )
        environment = "image=$TEMPO_CLUSTER_IMAGE ingress=$TEMPO_CLUSTER_INGRESS"
        told = f'echo "{tool} $* {environment}" >> {log}\n'
        path.write_text(f"#!/bin/sh\n{told}{own}")
        path.chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    common = {"PATH": path, "PYTHON": "python", "TEMPO_CLUSTER_IMAGE": "", "CLUSTERS": ""}
    common["TEMPO_CLUSTER_INGRESS"] = ""

    def run(**environ: str) -> tuple[int, str]:
        command = [str(K8S / "kind" / "test.sh")]
        log.write_text("")
        code = subprocess.run(command, env={**common, **environ}, check=False).returncode
        return code, log.read_text()

    return run


def test_a_cluster_that_was_there_is_not_deleted(script: Callable[..., tuple[int, str]]) -> None:
    code, called = script(CLUSTERS="other\ntempo-runtime")
    assert code == 1
    assert "kind delete" not in called
    assert "kind create" not in called


def test_a_cluster_that_was_made_is_deleted(script: Callable[..., tuple[int, str]]) -> None:
    code, called = script(CLUSTERS="tempo-runtime-other")
    assert code == 0
    assert called.count("kind delete cluster --name tempo-runtime") == 1
    assert "kind delete" not in script(KEEP="1")[1]


CHARTS = {
    "seldon": ["base", "istiod", "gateway", "seldon-core-operator"],
    "kserve": [
        "cert-manager",
        "oci://ghcr.io/kserve/charts/kserve-crd",
        "oci://ghcr.io/kserve/charts/kserve-resources",
        "oci://ghcr.io/kserve/charts/kserve-runtime-configs",
    ],
    "seldon2": ["seldon-core-v2-crds", "seldon-core-v2-setup"],
}


@pytest.mark.parametrize("platforms", ["", "kserve", "seldon2", "seldon kserve seldon2"])
def test_the_platforms_that_are_asked_for_are_installed_in_pinned_versions(
    script: Callable[..., tuple[int, str]], platforms: str
) -> None:
    code, called = script(PLATFORMS=platforms)
    installed = [line.split() for line in called.splitlines() if line.startswith("helm upgrade")]
    wanted = platforms.split() or ["seldon"]
    assert [words[4] for words in installed] == [each for one in wanted for each in CHARTS[one]]
    assert all(words[5] == "--version" for words in installed)
    [tests] = [line for line in called.splitlines() if "-m pytest -q tests/cluster" in line]
    assert tests.endswith(f"ingress={'http://localhost:8004' if 'seldon' in wanted else ''}")
    assert code == 0


def test_a_platform_that_is_not_known_is_refused_before_a_cluster_is_made(
    script: Callable[..., tuple[int, str]],
) -> None:
    assert script(PLATFORMS="seldon knative") == (1, "")


@pytest.mark.parametrize(
    ("image", "repository", "version"),
    [
        ("", "tempo-runtime-server", __version__),
        ("registry:5000/own:2", "registry:5000/own", "2"),
        ("registry:5000/own", "registry:5000/own", "latest"),
    ],
)
def test_the_image_is_loaded_named_to_seldon_and_to_the_tests(
    script: Callable[..., tuple[int, str]], image: str, repository: str, version: str
) -> None:
    _, called = script(IMAGE=image)
    assert f"kind load docker-image {repository}:{version} " in called
    for protocol in ("v2", "kfserving"):
        server = f"predictor_servers.TEMPO_SERVER.protocols.{protocol}"
        assert f"{server}.image={repository},{server}.defaultImageVersion={version}" in called
    assert f"python -m pytest -q tests/cluster image={repository}:{version}" in called
