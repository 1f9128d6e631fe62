"""Seldon Core v1: what each option makes of a SeldonDeployment."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from tempo_runtime import ModelFramework, SeldonCoreOptions, SettingsError, manifest
from tests.deploy.kubernetes.manifests import models
from tests.deploy.kubernetes.manifests.crds import faults

WHERE = "http://income-sklearn-default.production.svc.cluster.local:9000"


def both(**remote: Any) -> list[dict[str, Any]]:
    """The SeldonDeployments of the explainer and of what it calls."""
    return models.documents(models.explainer(), SeldonCoreOptions(remote_options=remote))


def explainer(**remote: Any) -> dict[str, Any]:
    return predictor(both(**remote)[0])


def predictor(deployment: dict[str, Any]) -> dict[str, Any]:
    return dict(deployment["spec"]["predictors"][0])


def component(deployment: dict[str, Any]) -> dict[str, Any]:
    [found] = predictor(deployment)["componentSpecs"]
    return dict(found)


def container(deployment: dict[str, Any]) -> dict[str, Any]:
    [found] = component(deployment)["spec"]["containers"]
    return dict(found)


def test_the_container_has_the_name_of_the_graph_s_node() -> None:
    for each in both():
        assert container(each)["name"] == predictor(each)["graph"]["name"]


def test_the_address_of_a_child_is_in_its_pipeline() -> None:
    deployment, child = both(namespace="production")
    text = models.variables(container(deployment))["TEMPO_RUNTIME_MODELS"]
    assert json.loads(text) == {
        "sklearn": {"transport": "http", "model": "income-sklearn", "url": WHERE}
    }
    assert "env" not in container(child)


def test_a_pipeline_has_a_page_only_if_an_option_asks_for_it() -> None:
    def page(deployment: dict[str, Any]) -> list[str]:
        variables = container(deployment).get("env", [])
        return [one["value"] for one in variables if one["name"] == "TEMPO_RUNTIME_PAGE"]

    assert [page(each) for each in both()] == [[], []]
    assert [page(each) for each in both(page=True)] == [["true"], []]


def test_settings_in_env_are_over_the_addresses() -> None:
    env = {"TEMPO_RUNTIME_MODELS": '{"sklearn": {"timeout": 5, "url": "http://own"}}'}
    deployment, _ = both(env=env)
    text = models.variables(container(deployment))["TEMPO_RUNTIME_MODELS"]
    own = {"transport": "http", "model": "income-sklearn", "timeout": 5, "url": "http://own"}
    assert json.loads(text) == {"sklearn": own}


def test_settings_in_env_that_are_not_json_are_reported() -> None:
    with pytest.raises(SettingsError, match=r"env\.TEMPO_RUNTIME_MODELS: not JSON"):
        both(env={"TEMPO_RUNTIME_MODELS": "{sklearn"})


def test_with_the_engine_calls_go_to_its_port() -> None:
    found = explainer(add_svc_orchestrator=True)
    assert "seldon.io/no-engine" not in found["annotations"]
    text = models.variables(found["componentSpecs"][0]["spec"]["containers"][0])
    assert ":8000" in text["TEMPO_RUNTIME_MODELS"]


def test_a_name_that_is_too_long_for_a_service_gets_one_that_is_known() -> None:
    name = "m" * 63
    hashed = "seldon-" + hashlib.md5(f"{name}-default".encode()).hexdigest()
    pipeline = models.explainer(models={"m": models.classifier(name)})
    deployment, child = models.documents(pipeline)
    assert predictor(child)["annotations"]["seldon.io/svc-name"] == hashed
    assert predictor(child)["graph"]["name"] == container(child)["name"] == name
    text = models.variables(container(deployment))["TEMPO_RUNTIME_MODELS"]
    assert json.loads(text)["m"]["url"] == f"http://{hashed}.default.svc.cluster.local:9000"
    assert "seldon.io/svc-name" not in predictor(deployment)["annotations"]


@pytest.mark.parametrize("protocol", ["kfserving", "v2"])
def test_the_protocol_is_the_requested_one(protocol: str) -> None:
    assert {each["spec"]["protocol"] for each in both(protocol=protocol)} == {protocol}


def test_the_secret_is_for_each_download() -> None:
    for each in both(authSecretName="minio-secret"):
        assert predictor(each)["graph"]["envSecretRefName"] == "minio-secret"


def test_a_service_account_is_the_pipeline_s_and_only_if_it_is_named() -> None:
    assert ["serviceAccountName" in predictor(each)["graph"] for each in both()] == [False, False]
    deployment, child = both(serviceAccountName="tempo-pipeline")
    assert predictor(deployment)["graph"]["serviceAccountName"] == "tempo-pipeline"
    assert "serviceAccountName" not in predictor(child)["graph"]


def test_a_number_of_pods_is_the_predictor_s() -> None:
    assert [predictor(each)["replicas"] for each in both(replicas=3)] == [3, 3]


def test_bounds_are_an_autoscaler_s_and_the_number_is_left_to_it() -> None:
    deployment, _ = both(minReplicas=2, maxReplicas=5, target_cpu=60)
    assert "replicas" not in predictor(deployment)
    target = {"type": "Utilization", "averageUtilization": 60}
    assert component(deployment)["hpaSpec"] == {
        "minReplicas": 2,
        "maxReplicas": 5,
        "metricsv2": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
    }


def test_resources_and_gpus_are_the_container_s() -> None:
    asked = {"requests": {"cpu": "500m"}, "limits": {"nvidia.com/gpu": 1}}
    deployment, _ = both(resources=asked)
    assert container(deployment)["resources"] == {
        "requests": {"cpu": "500m"},
        "limits": {"nvidia.com/gpu": "1"},
    }


def test_where_pods_run_is_the_pod_s() -> None:
    taint = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    deployment, _ = both(
        node_selector={"gpu": "a100"},
        tolerations=[taint],
        image_pull_secrets=["registry"],
        spread=True,
    )
    spec = component(deployment)["spec"]
    assert spec["nodeSelector"] == {"gpu": "a100"}
    assert spec["tolerations"] == [taint]
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    [spread] = spec["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["labelSelector"] == {"matchLabels": {"seldon-deployment-id": "income-explainer"}}


def test_pods_that_a_drained_node_leaves_are_a_budget() -> None:
    assert component(both(min_available=1)[0])["pdbSpec"] == {"minAvailable": 1}
    assert "pdbSpec" not in component(both()[0])


def test_variables_are_the_options_and_secrets_go_by_name() -> None:
    deployment, _ = both(env={"B": "1e3", "A": "x"}, env_from=["database"])
    assert [each["name"] for each in container(deployment)["env"]] == [
        "A",
        "B",
        "TEMPO_RUNTIME_MODELS",
    ]
    assert container(deployment)["envFrom"] == [{"secretRef": {"name": "database"}}]


def test_no_pod_is_root_or_may_become_it() -> None:
    for each in both():
        assert component(each)["spec"]["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 8888,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert container(each)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }


def test_a_server_that_explains_has_time_to_answer_its_probe() -> None:
    deployment, _ = both(liveness={"timeoutSeconds": 9}, progress_deadline=90)
    assert container(deployment)["livenessProbe"] == {
        "initialDelaySeconds": 0,
        "periodSeconds": 10,
        "timeoutSeconds": 9,
        "failureThreshold": 6,
    }
    assert container(both()[0])["livenessProbe"]["initialDelaySeconds"] == 60
    assert container(both()[0])["readinessProbe"]["periodSeconds"] == 5
    assert predictor(deployment)["progressDeadlineSeconds"] == 90


def predictors(**canary: Any) -> list[dict[str, Any]]:
    deployment, child = both(canary={"uri": "s3://tempo/next", **canary})
    assert len(child["spec"]["predictors"]) == 1
    return list(deployment["spec"]["predictors"])


@pytest.mark.parametrize(("stated", "expected"), [({}, 10), ({"traffic": 25}, 25)], ids=str)
def test_a_canary_gets_its_part_of_the_requests(stated: Any, expected: int) -> None:
    first, canary = predictors(**stated)
    assert (first["name"], first["traffic"]) == ("default", 100 - expected)
    assert (canary["name"], canary["traffic"]) == ("canary", expected)
    assert canary["graph"] == {**first["graph"], "modelUri": "s3://tempo/next"}
    assert canary["componentSpecs"] == first["componentSpecs"]
    assert "shadow" not in canary


def test_a_canary_may_have_an_image_of_its_own() -> None:
    first, canary = predictors(image="registry/next:2")
    [own] = canary["componentSpecs"][0]["spec"]["containers"]
    assert own["image"] == "registry/next:2"
    assert "image" not in first["componentSpecs"][0]["spec"]["containers"][0]


@pytest.mark.parametrize(("stated", "expected"), [({}, 100), ({"traffic": 25}, 25)], ids=str)
def test_a_shadow_is_sent_requests_that_the_first_answers(stated: Any, expected: int) -> None:
    first, shadow = predictors(shadow=True, **stated)
    assert first["traffic"] == 100
    assert (shadow["name"], shadow["shadow"], shadow["traffic"]) == ("shadow", True, expected)


@pytest.mark.parametrize(
    ("platform", "server"),
    [
        ("sklearn", "SKLEARN_SERVER"),
        ("xgboost", "XGBOOST_SERVER"),
        ("mlflow", "MLFLOW_SERVER"),
        ("huggingface", "HUGGINGFACE_SERVER"),
        ("custom", "TEMPO_SERVER"),
        ("tempo", "TEMPO_SERVER"),
    ],
)
def test_a_framework_has_a_server(platform: str, server: str) -> None:
    [found] = models.documents(models.classifier(platform=ModelFramework(platform)))
    assert predictor(found)["graph"]["implementation"] == server


@pytest.mark.parametrize("platform", ["lightgbm", "alibi-explain"])
def test_a_framework_without_a_server_is_reported(platform: str) -> None:
    child = models.classifier("prices", platform=ModelFramework(platform))
    with pytest.raises(SettingsError, match=f"prices: Seldon Core has no server for '{platform}'"):
        manifest(models.explainer(models={"m": child}))


@pytest.mark.parametrize("model", [models.explainer("1abc"), models.classifier("1abc")])
def test_an_invalid_name_of_a_service_is_reported(model: Any) -> None:
    with pytest.raises(
        SettingsError, match=r"1abc: .* must begin with a letter; rename it"
    ) as error:
        manifest(model)
    assert "\n" not in str(error.value)


LOGGER = {"url": "http://broker.logging/events", "mode": "request"}


def test_a_logger_is_the_graphs_and_needs_the_engine() -> None:
    deployment, child = both(engine=True, logger=LOGGER)
    assert predictor(deployment)["graph"]["logger"] == LOGGER
    assert predictor(child)["graph"]["logger"] == LOGGER
    assert [*faults(deployment), *faults(child)] == []
    with pytest.raises(SettingsError, match=r"logger: Seldon Core logs requests in its engine"):
        both(logger=LOGGER)
    with pytest.raises(SettingsError, match=r"models\.income-sklearn\.logger: .*set engine"):
        both(models={"income-sklearn": {"logger": LOGGER}})


@pytest.mark.parametrize(
    "url", ["broker", "http://me:secret@broker", "http://broker/v1?a=1&dd-api-key=secret"]
)
def test_a_logger_without_a_plain_url_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="write a URL without a password") as refused:
        both(engine=True, logger={"url": url})
    assert "secret" not in str(refused.value)
