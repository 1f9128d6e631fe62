"""Rules of KServe: what a runtime is known to have, in the files or not, and where services are."""

from __future__ import annotations

import pytest

from tempo_runtime.lint import RULES, lint
from tests.lint.manifests import KSERVE

SERVICE = """\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: price}
spec:
  predictor:
    model:
      modelFormat: {name: sklearn}
      runtime: kserve-mlserver
      protocolVersion: v2
      storageUri: s3://models/price
"""
CALLER = """\
---
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: shop}
spec:
  predictor:
    containers:
    - name: kserve-container
      image: registry/shop:1
      resources: {requests: {cpu: 1}}
      ports: [{containerPort: 9001}]
      env:
      - {name: TEMPO_RUNTIME_MODELS__PRICE__URL, value: "URL"}
"""


def rules(text: str) -> list[str]:
    return [each.rule for each in lint(text)]


def calling(url: str, service: str = SERVICE) -> list[str]:
    return rules(service + CALLER.replace('"URL"', f'"{url}"'))


@pytest.mark.parametrize("port", ["", ":80", ":8080", ":9000"])
def test_ports_of_the_service_and_of_the_pods_behind_it_are_right(port: str) -> None:
    assert calling(f"http://price-predictor{port}") == []


CONFIG = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: inferenceservice-config}
data: {service: 'SERVICE'}
---
"""


@pytest.mark.parametrize(
    "url", ["http://price-predictor", "http://price-predictor.default.svc:80/"]
)
def test_a_headless_service_is_not_called_at_port_80(url: str) -> None:
    headless = CONFIG.replace("SERVICE", '{"serviceClusterIPNone": true}') + SERVICE
    assert calling(url, headless) == ["kserve-headless"]
    assert calling("http://price-predictor:8080", headless) == []


@pytest.mark.parametrize("service", ['{"serviceClusterIPNone": false}', "{}", "[]", "no JSON"])
def test_a_service_with_an_address_is_called_at_port_80(service: str) -> None:
    assert calling("http://price-predictor", CONFIG.replace("SERVICE", service) + SERVICE) == []


def test_a_port_of_grpc_is_right() -> None:
    assert calling("grpc://price-predictor:9000") == []


def test_a_port_that_nobody_declares_is_wrong() -> None:
    assert calling("http://price-predictor:9001") == ["child-url"]


def test_a_port_that_the_model_declares_is_right() -> None:
    service = SERVICE + "      ports: [{containerPort: 9001}]\n"
    assert calling("http://price-predictor:9001", service) == []


def test_a_port_that_a_container_declares_is_right() -> None:
    assert calling("http://shop-predictor:9001") == []


def test_a_port_that_a_runtime_in_the_files_declares_is_right() -> None:
    service = SERVICE.replace("kserve-mlserver", "tempo").replace("sklearn", "tempo")
    runtime = KSERVE.partition("---\n")[0].replace("namespace: production, ", "")
    assert calling("http://price-predictor:9001", f"{runtime}---\n{service}") == ["child-url"]
    runtime = runtime.replace("    env:", "    ports: [{containerPort: 9001}]\n    env:")
    assert calling("http://price-predictor:9001", f"{runtime}---\n{service}") == []


def test_ports_of_a_runtime_that_may_be_in_the_cluster_are_not_checked() -> None:
    assert calling("http://price-predictor:9001", SERVICE.replace("kserve-mlserver", "own")) == []


@pytest.mark.parametrize("name", ["sklearn", "xgboost", "lightgbm", "mlflow"])
def test_the_included_mlserver_runtime_has_its_formats(name: str) -> None:
    assert rules(SERVICE.replace("name: sklearn", f"name: {name}")) == []


def test_the_included_mlserver_runtime_has_no_pipelines() -> None:
    (found,) = lint(SERVICE.replace("name: sklearn", "name: tempo"))
    assert found.rule == "kserve-format"
    assert "supports lightgbm, mlflow, sklearn, xgboost, not 'tempo'" in found.message


def test_the_included_mlserver_runtime_has_one_protocol() -> None:
    assert rules(SERVICE.replace("protocolVersion: v2", "protocolVersion: v1")) == [
        "kserve-protocol"
    ]
    assert rules(SERVICE.replace("      protocolVersion: v2\n", "")) == ["kserve-protocol-missing"]


def test_a_runtime_in_the_files_replaces_the_included_one() -> None:
    runtime = KSERVE.partition("---\n")[0].replace(
        "name: tempo, namespace: production", "name: kserve-mlserver"
    )
    assert rules(f"{runtime}---\n{SERVICE}") == ["kserve-format"]
    assert rules(f"{runtime}---\n{SERVICE}".replace("name: sklearn", "name: tempo")) == []


def test_a_runtime_that_may_be_in_the_cluster_is_a_warning() -> None:
    (found,) = lint(KSERVE.replace("runtime: tempo", "runtime: temp"))
    assert (found.rule, found.severity) == ("kserve-runtime", "warning")


def test_a_runtime_of_another_namespace_is_an_error() -> None:
    bad = KSERVE.replace("{name: tempo, namespace: production", "{name: tempo, namespace: other")
    (found,) = lint(bad)
    assert (found.rule, found.severity) == ("kserve-runtime-namespace", "error")
    assert lint(bad.replace("kind: ServingRuntime", "kind: ClusterServingRuntime")) == []


def test_of_two_runtimes_with_the_same_name_the_reachable_one_counts() -> None:
    runtime, _, rest = KSERVE.partition("---\n")
    far = runtime.replace("namespace: production", "namespace: other").replace(
        "name: tempo, auto", "name: onnx, auto"
    )
    assert lint(f"{far}---\n{runtime}---\n{rest}") == []


def test_a_requirement_that_a_server_of_the_cluster_may_meet_is_a_warning() -> None:
    assert RULES["seldon2-requirement"].severity == "warning"


@pytest.mark.parametrize(("length", "expected"), [(53, []), (54, ["name"]), (63, ["name"])])
def test_a_name_leaves_room_for_its_suffix(length: int, expected: list[str]) -> None:
    assert rules(SERVICE.replace("name: price", f"name: {'p' * length}")) == expected


def by(mode: str, field: str) -> list[str]:
    annotations = f"annotations: {{serving.kserve.io/deploymentMode: {mode}}}" if mode else ""
    service = SERVICE.replace("{name: price}", f"{{name: price, {annotations}}}")
    return [each.message for each in lint(f"{service}    {field}\n")]


@pytest.mark.parametrize("mode", ["Serverless", "Knative"])
@pytest.mark.parametrize(
    ("field", "flag"),
    [
        ("securityContext: {runAsNonRoot: true}", "kubernetes.podspec-securitycontext"),
        ("nodeSelector: {gpu: a100}", "kubernetes.podspec-nodeselector"),
        ("tolerations: [{key: gpu}]", "kubernetes.podspec-tolerations"),
        (
            "topologySpreadConstraints: [{maxSkew: 1}]",
            "kubernetes.podspec-topologyspreadconstraints",
        ),
        ("initContainers: [{name: a}]", "kubernetes.podspec-init-containers"),
    ],
)
def test_a_pod_field_that_knative_may_refuse_is_reported_with_its_flag(
    mode: str, field: str, flag: str
) -> None:
    (message,) = by(mode, field)
    assert f"{field.partition(':')[0]} needs Knative's flag {flag}," in message


@pytest.mark.parametrize("mode", ["RawDeployment", "Standard", ""])
def test_a_pod_field_is_right_if_knative_may_not_deploy_it(mode: str) -> None:
    assert by(mode, "nodeSelector: {gpu: a100}") == []


@pytest.mark.parametrize(
    "field",
    [
        "serviceAccountName: s3",
        "imagePullSecrets: [{name: a}]",
        "nodeSelector: {}",
        "minReplicas: 1",
    ],
)
def test_a_field_that_knative_accepts_is_right(field: str) -> None:
    assert by("Knative", field) == []
