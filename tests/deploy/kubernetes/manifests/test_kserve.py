"""KServe: what each option makes of InferenceServices and a ServingRuntime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import KServeOptions, ModelFramework, SettingsError, __version__, save
from tests.deploy.kubernetes.manifests import models


def deployed(model: Any = None, **remote: Any) -> dict[str, dict[str, Any]]:
    """Objects by `KIND/NAME`."""
    return models.by_name(
        models.documents(model or models.explainer(), KServeOptions(remote_options=remote))
    )


def predictor(name: str = models.EXPLAINER, model: Any = None, **remote: Any) -> dict[str, Any]:
    return dict(deployed(model, **remote)[f"InferenceService/{name}"]["spec"]["predictor"])


def addresses(model: Any = None, **remote: Any) -> Any:
    text = models.variables(predictor(model=model, **remote)["model"])["TEMPO_RUNTIME_MODELS"]
    return json.loads(text)["sklearn"]


def test_pipelines_have_a_runtime_of_our_own_and_models_that_of_mlserver() -> None:
    found = deployed()
    assert list(found) == [
        "InferenceService/income-explainer",
        "InferenceService/income-sklearn",
        "ServingRuntime/tempo-runtime",
    ]
    assert predictor()["model"]["runtime"] == "tempo-runtime"
    assert predictor()["model"]["modelFormat"] == {"name": "tempo"}
    assert predictor(models.CLASSIFIER)["model"]["runtime"] == "kserve-mlserver"
    assert predictor(models.CLASSIFIER)["model"]["modelFormat"] == {"name": "sklearn"}
    [container] = found["ServingRuntime/tempo-runtime"]["spec"]["containers"]
    assert container["image"] == f"tempo-runtime-server:{__version__}"
    implementation = models.variables(container)["MLSERVER_MODEL_IMPLEMENTATION"]
    assert implementation == "tempo_runtime.TempoPipelineRuntime"


def test_a_runtime_of_the_cluster_is_named() -> None:
    assert "ServingRuntime/tempo-runtime" not in deployed(runtime="own")
    assert predictor(runtime="own")["model"]["runtime"] == "own"


def test_a_model_alone_needs_no_runtime_of_ours() -> None:
    assert list(deployed(models.classifier())) == ["InferenceService/income-sklearn"]


HOST = "income-sklearn-predictor.production.svc.cluster.local"


@pytest.mark.parametrize(
    ("remote", "url"),
    [
        ({}, f"http://{HOST}"),
        ({"headless": True}, f"http://{HOST}:8080"),
        ({"knative": True}, "http://income-sklearn.production.svc.cluster.local"),
    ],
    ids=str,
)
def test_the_address_of_a_child_is_in_its_pipeline(remote: Any, url: str) -> None:
    assert addresses(namespace="production", **remote) == {
        "transport": "http",
        "model": "income-sklearn",
        "url": url,
    }


@pytest.fixture
def by_grpc(tmp_path: Path) -> str:
    """The explainer, calling its child over gRPC."""
    path = save(models.explainer(folder=tmp_path))
    file = Path(path, "model-settings.json")
    settings = json.loads(file.read_text())
    settings["parameters"]["extra"] = {"transport": "grpc"}
    file.write_text(json.dumps(settings))
    return path


def test_a_child_that_is_called_over_grpc_has_a_port_for_it(by_grpc: str) -> None:
    assert addresses(by_grpc)["url"] == (
        "grpc://income-sklearn-predictor.default.svc.cluster.local:9000"
    )
    ports = predictor(models.CLASSIFIER, by_grpc)["model"]["ports"]
    assert [each["containerPort"] for each in ports] == [8080, 9000]
    assert "ports" not in predictor(models.CLASSIFIER)["model"]


def test_knative_has_no_port_for_grpc(by_grpc: str) -> None:
    with pytest.raises(
        SettingsError, match="income-sklearn: a service of Knative has only a port for HTTP"
    ):
        deployed(by_grpc, knative=True)
    [container] = deployed(knative=True)["ServingRuntime/tempo-runtime"]["spec"]["containers"]
    assert [each["containerPort"] for each in container["ports"]] == [8080]


@pytest.mark.parametrize(
    ("version", "modes", "autoscaler"),
    [
        (None, ("Standard", "Knative"), "none"),
        ("v0.16.0-rc1", ("Standard", "Knative"), "none"),
        ("0.15.2", ("RawDeployment", "Serverless"), "none"),
        ("0.15.0", ("RawDeployment", "Serverless"), None),
    ],
)
def test_the_annotations_are_those_that_the_version_knows(
    version: str | None, modes: tuple[str, str], autoscaler: str | None
) -> None:
    for knative, mode in zip((False, True), modes, strict=True):
        made = deployed(knative=knative, kserve_version=version)
        annotations = made["InferenceService/income-explainer"]["metadata"]["annotations"]
        assert annotations["serving.kserve.io/deploymentMode"] == mode
        expected = None if knative else autoscaler
        assert annotations.get("serving.kserve.io/autoscalerClass") == expected


@pytest.mark.parametrize("version", [0.2, "0.15", "latest"])
def test_a_version_is_stated_in_full(version: Any) -> None:
    with pytest.raises(SettingsError, match="kserve_version: "):
        deployed(kserve_version=version)


@pytest.mark.parametrize(
    ("stated", "stored"),
    [
        ("0.5", "500m"),
        (".5", "500m"),
        ("1000m", "1"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("0.1Ki", "102400m"),
        ("1500M", "1500M"),
        ("1e3", "1e3"),
        ("1.5e3", "1500"),
        ("1.5e1", "1.5e1"),
        ("1.", "1."),
        (0.25, "250m"),
        (1000, "1k"),
        ("0m", "0"),
    ],
)
def test_quantities_are_written_as_kubernetes_stores_them(stated: Any, stored: str) -> None:
    found = predictor(resources={"requests": {"memory": stated}})
    assert found["model"]["resources"]["requests"]["memory"] == stored


def test_fields_that_go_omits_from_json_are_omitted() -> None:
    found = predictor(
        env={"EMPTY": ""},
        tolerations=[{"key": "gpu", "value": ""}],
        liveness={"initialDelaySeconds": 0},
    )
    assert {"name": "EMPTY"} in found["model"]["env"]
    assert found["tolerations"] == [{"key": "gpu"}]
    assert "initialDelaySeconds" not in found["model"]["livenessProbe"]


def test_a_model_is_downloaded_and_has_a_readiness_probe() -> None:
    found = predictor(timeout=30)
    assert found["model"]["storageUri"] == "s3://tempo/income-explainer"
    assert found["timeout"] == 30
    assert found["model"]["readinessProbe"]["httpGet"] == {
        "path": "/v2/models/income-explainer/ready",
        "port": 8080,
    }
    assert found["model"]["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"


def test_a_number_of_pods_is_both_bounds() -> None:
    found = predictor(replicas=3)
    assert (found["minReplicas"], found["maxReplicas"]) == (3, 3)
    assert "scaleMetric" not in found


def test_with_bounds_the_autoscaler_is_kserve_s_own_choice() -> None:
    made = deployed(maxReplicas=5)["InferenceService/income-explainer"]["metadata"]
    assert "serving.kserve.io/autoscalerClass" not in made["annotations"]


def test_bounds_are_an_autoscaler_s() -> None:
    found = predictor(maxReplicas=5, target_cpu=60)
    assert (found["minReplicas"], found["maxReplicas"]) == (1, 5)
    assert (found["scaleMetric"], found["scaleTarget"]) == ("cpu", 60)


def test_knative_scales_by_what_it_always_does() -> None:
    found = predictor(maxReplicas=5, knative=True)
    assert found["maxReplicas"] == 5
    assert "scaleMetric" not in found


def test_a_service_account_is_each_pod_s() -> None:
    assert "serviceAccountName" not in predictor()
    for name in (models.EXPLAINER, models.CLASSIFIER):
        assert predictor(name, serviceAccountName="s3")["serviceAccountName"] == "s3"


def test_options_of_pods_go_to_the_predictor() -> None:
    taint = {"key": "gpu", "operator": "Exists"}
    found = predictor(
        image="registry/tempo:1",
        env={"A": "1"},
        env_from=["database"],
        resources={"limits": {"nvidia.com/gpu": 1}},
        node_selector={"gpu": "a100"},
        tolerations=[taint],
        image_pull_secrets=["registry"],
        spread=True,
    )
    assert found["model"]["image"] == "registry/tempo:1"
    assert models.variables(found["model"])["A"] == "1"
    assert found["model"]["envFrom"] == [{"secretRef": {"name": "database"}}]
    assert found["model"]["resources"] == {"limits": {"nvidia.com/gpu": "1"}}
    assert found["nodeSelector"] == {"gpu": "a100"}
    assert found["tolerations"] == [taint]
    assert found["imagePullSecrets"] == [{"name": "registry"}]
    [spread] = found["topologySpreadConstraints"]
    labels = {"serving.kserve.io/inferenceservice": "income-explainer"}
    assert spread["labelSelector"] == {"matchLabels": labels}
    assert found["securityContext"]["runAsNonRoot"]
    assert not found["model"]["securityContext"]["allowPrivilegeEscalation"]


def test_of_a_pod_of_knative_it_is_the_container_that_is_not_root() -> None:
    for name in (models.EXPLAINER, models.CLASSIFIER):
        found = predictor(name, knative=True)
        assert "securityContext" not in found
        assert found["model"]["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 8888,
            "seccompProfile": {"type": "RuntimeDefault"},
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }


def test_pods_that_a_drained_node_leaves_are_a_budget() -> None:
    found = deployed(models={"income-explainer": {"min_available": 2}})
    assert found["PodDisruptionBudget/income-explainer"]["spec"] == {
        "minAvailable": 2,
        "selector": {"matchLabels": {"serving.kserve.io/inferenceservice": "income-explainer"}},
    }
    assert "PodDisruptionBudget/income-sklearn" not in found


@pytest.mark.parametrize(
    ("model", "remote", "told"),
    [
        (None, {"authSecretName": "s"}, "auth_secret_name: .* set service_account_name"),
        (None, {"progress_deadline": 1}, "progress_deadline: KServe has no such option"),
        (None, {"replicas": 0}, "income-explainer: replicas is 0, which KServe reads as no limit"),
        (None, {"knative": True, "target_cpu": 1}, "target_cpu: Knative scales by requests"),
        (None, {"knative": True, "min_available": 1}, "min_available: Knative"),
        (
            None,
            {"knative": True, "headless": True},
            "headless: a service of Knative has an address",
        ),
        (models.explainer("m" * 54), {}, "up to 53 characters"),
        (models.explainer("3d"), {}, "3d: .* begin with a letter"),
        (
            models.classifier(platform=ModelFramework.HuggingFace),
            {},
            "income-sklearn: KServe has no MLServer runtime for 'huggingface'",
        ),
    ],
)
def test_options_that_kserve_lacks_are_reported_on_one_line(
    model: Any, remote: Any, told: str
) -> None:
    with pytest.raises(SettingsError, match=told) as error:
        deployed(model, **remote)
    assert "\n" not in str(error.value)


def test_a_logger_is_the_predictors_of_each_model_or_of_one() -> None:
    logger = {"url": "http://broker.logging/events", "mode": "all"}
    assert predictor(logger=logger)["logger"] == logger
    one = {models.CLASSIFIER: {"logger": {"url": logger["url"]}}}
    assert "logger" not in predictor(models=one)
    assert predictor(models.CLASSIFIER, models=one)["logger"] == logger
