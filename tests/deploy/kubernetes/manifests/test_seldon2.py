"""Seldon Core 2: what each option makes of Models and a Server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import ModelFramework, Seldon2Options, SettingsError, save
from tempo_runtime.deploy.kubernetes.manifests.seldon2 import for_older
from tests.deploy.kubernetes.manifests import models


def deployed(model: Any = None, **remote: Any) -> dict[str, dict[str, Any]]:
    """Specs by `KIND/NAME`."""
    found = models.documents(model or models.explainer(), Seldon2Options(remote_options=remote))
    return {name: each["spec"] for name, each in models.by_name(found).items()}


def explainer(**remote: Any) -> dict[str, Any]:
    return deployed(**remote)["Model/income-explainer"]


def server(**remote: Any) -> dict[str, Any]:
    return deployed(**remote)["Server/tempo-runtime"]


def container(**remote: Any) -> dict[str, Any]:
    [found] = server(**remote)["podSpec"]["containers"]
    return dict(found)


def test_a_pipeline_runs_on_a_server_that_can_run_it() -> None:
    found = deployed()
    assert list(found) == ["Model/income-explainer", "Model/income-sklearn", "Server/tempo-runtime"]
    assert found["Model/income-explainer"]["requirements"] == ["tempo-runtime"]
    assert found["Server/tempo-runtime"]["capabilities"] == ["tempo-runtime"]
    assert "extraCapabilities" not in found["Server/tempo-runtime"]
    assert found["Model/income-sklearn"]["requirements"] == ["sklearn"]


def test_the_volumes_of_the_server_go_with_it() -> None:
    policy = server()["statefulSetPersistentVolumeClaimRetentionPolicy"]
    assert policy == {"whenDeleted": "Delete"}


CLAIMS = "statefulSetPersistentVolumeClaimRetentionPolicy"


@pytest.mark.parametrize(
    ("refusal", "left"),
    [
        (f'strict decoding error: unknown field "spec.{CLAIMS}"', {"capabilities"}),
        (f".spec.{CLAIMS}: field not declared in schema", {"capabilities"}),
        (
            f'unknown field "spec.capabilities", unknown field "spec.{CLAIMS}"',
            {"extraCapabilities"},
        ),
        ('unknown field "spec.podSpec.capabilities"', None),
        ("spec.capabilities: Invalid value", None),
    ],
)
def test_an_older_version_gets_a_server_without_unknown_fields(
    refusal: str, left: set[str] | None
) -> None:
    [document] = [
        each
        for each in models.documents(models.explainer(), Seldon2Options())
        if each["kind"] == "Server"
    ]
    found = for_older(document, refusal)
    optional = {"capabilities", "extraCapabilities", CLAIMS}
    assert (None if found is None else optional & found["spec"].keys()) == left


def test_a_server_of_the_cluster_is_named() -> None:
    found = deployed(server="own")
    assert list(found) == ["Model/income-explainer", "Model/income-sklearn"]
    assert found["Model/income-explainer"]["server"] == "own"
    assert "requirements" not in found["Model/income-explainer"]


def test_a_model_alone_needs_no_server_of_ours() -> None:
    assert list(deployed(models.classifier())) == ["Model/income-sklearn"]


def test_capabilities_are_in_lower_case() -> None:
    found = deployed(models.classifier(platform=ModelFramework.ONNX))
    assert found["Model/income-sklearn"]["requirements"] == ["onnx"]


def addresses(model: Any = None, **remote: Any) -> Any:
    parameters = deployed(model, **remote)["Model/income-explainer"]["parameters"]
    [text] = [each["value"] for each in parameters if each["name"] == "models"]
    return json.loads(text)


def test_a_child_is_called_through_the_mesh_with_a_header() -> None:
    assert addresses(namespace="production", gateway="mesh") == {
        "sklearn": {
            "transport": "http",
            "model": "income-sklearn",
            "url": "http://mesh.production.svc.cluster.local",
            "headers": {"seldon-model": "income-sklearn"},
        }
    }
    assert "parameters" not in deployed()["Model/income-sklearn"]


def artifact(folder: Path, child: dict[str, Any]) -> str:
    path = save(models.explainer(folder=folder))
    file = Path(path, "model-settings.json")
    settings = json.loads(file.read_text())
    settings["parameters"]["extra"] = {"models": json.dumps({"sklearn": child})}
    file.write_text(json.dumps(settings))
    return path


def test_settings_of_the_artifact_go_along_for_the_parameter_takes_their_place(
    tmp_path: Path,
) -> None:
    found = addresses(artifact(tmp_path, {"timeout": 5, "model": "home", "transport": "grpc"}))
    assert found["sklearn"]["timeout"] == 5
    assert found["sklearn"]["model"] == "income-sklearn"
    assert found["sklearn"]["url"] == "grpc://seldon-mesh.default.svc.cluster.local:80"


def test_headers_of_the_artifact_are_not_written_where_all_can_read_them(tmp_path: Path) -> None:
    path = artifact(tmp_path, {"headers": {"authorization": "hunter2"}})
    with pytest.raises(SettingsError, match="TEMPO_RUNTIME_MODELS__SKLEARN__HEADERS") as error:
        deployed(path)
    assert "hunter2" not in str(error.value)


def test_the_secret_is_for_each_download() -> None:
    found = deployed(authSecretName="minio-secret")
    assert found["Model/income-explainer"]["secretName"] == "minio-secret"
    assert found["Model/income-sklearn"]["secretName"] == "minio-secret"


def test_memory_is_the_model_s() -> None:
    assert explainer(memory="1Gi")["memory"] == "1Gi"
    assert explainer(memory=1000)["memory"] == "1k"  # as Go writes it
    assert "memory" not in explainer()


def test_the_server_has_as_many_pods_as_a_pipeline_needs() -> None:
    found = deployed(models={"income-explainer": {"replicas": 3}})
    assert found["Model/income-explainer"]["replicas"] == 3
    assert found["Model/income-sklearn"]["replicas"] == 1
    assert found["Server/tempo-runtime"]["replicas"] == 3


def test_bounds_are_the_model_s_and_the_server_has_room_for_all() -> None:
    found = deployed(minReplicas=2, maxReplicas=5)
    model = found["Model/income-explainer"]
    assert (model["minReplicas"], model["maxReplicas"]) == (2, 5)
    assert "replicas" not in model
    assert found["Server/tempo-runtime"]["replicas"] == 5


def test_options_of_pods_go_to_the_server() -> None:
    taint = {"key": "gpu", "operator": "Exists"}
    remote = {
        "image": "registry/tempo:1",
        "env": {"B": "2", "A": "1"},
        "env_from": ["database"],
        "resources": {"limits": {"nvidia.com/gpu": 1}},
        "node_selector": {"gpu": "a100"},
        "tolerations": [taint],
        "image_pull_secrets": ["registry"],
        "spread": True,
        "page": True,
    }
    own = container(**remote)
    assert (own["name"], own["image"]) == ("mlserver", "registry/tempo:1")
    variables = {variable["name"]: variable["value"] for variable in own["env"]}
    assert variables == {"A": "1", "B": "2", "TEMPO_RUNTIME_PAGE": "true"}
    assert own["envFrom"] == [{"secretRef": {"name": "database"}}]
    assert own["resources"] == {"limits": {"nvidia.com/gpu": "1"}}
    pod = server(**remote)["podSpec"]
    assert pod["nodeSelector"] == {"gpu": "a100"}
    assert pod["tolerations"] == [taint]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    [spread] = pod["topologySpreadConstraints"]
    assert spread["labelSelector"] == {"matchLabels": {"seldon-server-name": "tempo-runtime"}}


def test_our_container_is_not_root_and_the_agent_s_is_left_alone() -> None:
    assert "securityContext" not in server()["podSpec"]
    context = container()["securityContext"]
    assert context["runAsNonRoot"]
    assert not context["allowPrivilegeEscalation"]


@pytest.mark.parametrize(
    ("model", "remote", "told"),
    [
        (None, {"target_cpu": 50}, "target_cpu: on Seldon Core 2 only a Server can have it"),
        (None, {"min_available": 1}, "min_available: on Seldon Core 2"),
        (None, {"progress_deadline": 1}, "progress_deadline: on Seldon Core 2"),
        (None, {"liveness": {}}, "liveness: on Seldon Core 2"),
        (None, {"serviceAccountName": "s"}, "service_account_name: on Seldon Core 2"),
        (None, {"server": "own", "image": "i"}, "image: no Server is deployed here"),
        (
            None,
            {"logger": {"url": "http://logs"}},
            "logger: Seldon Core 2 has no logger .*`insights`",
        ),
        (None, {"server": "own", "run_as_user": None}, "run_as_user: no Server is deployed here"),
        (models.classifier(), {"env": {"A": "1"}}, "env: no Server is deployed here"),
        (
            None,
            {"models": {"income-sklearn": {"image": "i", "spread": True}}},
            "income-sklearn: image, spread cannot be set for one model",
        ),
    ],
)
def test_an_option_that_would_have_no_effect_is_refused(model: Any, remote: Any, told: str) -> None:
    with pytest.raises(SettingsError, match=told) as error:
        deployed(model, **remote)
    assert "\n" not in str(error.value)
