"""The folder k8s: what it has no other test of."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from tempo_runtime import __version__
from tests.deploy.manifests.crds import ROOT

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


def test_the_role_lets_read_what_tempo_0_5_reads_and_no_more() -> None:
    account, role, binding = objects("rbac/tempo-pipeline.yaml")
    assert account["metadata"]["name"] == "tempo-pipeline"
    [rule] = role["rules"]
    assert rule["verbs"] == ["get"]
    assert {each.partition("/")[0] for each in rule["resources"]} == {"seldondeployments"}
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "tempo-pipeline"}]


def test_rbac_goes_to_the_namespace_that_it_is_applied_to() -> None:
    for path in ("rbac/secret.yaml", "rbac/tempo-pipeline.yaml"):
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
