"""Each rule finds what it is about, and nothing in a manifest that is right."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tempo_runtime.deploy.lint import RULES, lint

SELDON = """
apiVersion: machinelearning.seldon.io/v1
kind: SeldonDeployment
metadata:
  name: explainer
  namespace: production
  annotations:
    seldon.io/tempo-model: '{"model_details": {"name": "explainer"}}'
spec:
  protocol: kfserving
  predictors:
  - name: default
    annotations: {seldon.io/no-engine: "true"}
    progressDeadlineSeconds: 600
    graph:
      name: explainer
      implementation: TEMPO_SERVER
      modelUri: s3://explainer
    componentSpecs:
    - spec:
        containers:
        - name: explainer
          image: registry/server:1
          env:
          - {name: TEMPO_RUNTIME_MODELS, value: '{}'}
          livenessProbe: {periodSeconds: 10, failureThreshold: 6}
          resources: {requests: {cpu: 500m}, limits: {cpu: "1"}}
"""
MODEL = """
apiVersion: mlops.seldon.io/v1alpha1
kind: Model
metadata: {name: explainer, namespace: mesh}
spec:
  storageUri: s3://explainer
  requirements: [tempo]
  parameters: [{name: timeout, value: "10"}]
---
apiVersion: mlops.seldon.io/v1alpha1
kind: Server
metadata: {name: tempo, namespace: mesh}
spec: {serverConfig: mlserver, extraCapabilities: [tempo]}
"""
PIPELINE = """
apiVersion: mlops.seldon.io/v1alpha1
kind: Pipeline
metadata: {name: flow}
spec:
  steps: [{name: one}, {name: two, inputs: [one.outputs, flow.inputs]}]
  output: {steps: [two]}
"""
EXPERIMENT = """
apiVersion: mlops.seldon.io/v1alpha1
kind: Experiment
metadata: {name: trial}
spec: {default: one, candidates: [{name: one, weight: 90}, {name: two, weight: 10}]}
"""
KSERVE = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: explainer, namespace: production}
spec:
  predictor:
    minReplicas: 1
    maxReplicas: 2
    model:
      modelFormat: {name: tempo}
      runtime: tempo-mlserver
      protocolVersion: v2
      storageUri: s3://explainer
---
apiVersion: serving.kserve.io/v1alpha1
kind: ServingRuntime
metadata: {name: tempo-mlserver, namespace: production}
spec:
  supportedModelFormats: [{name: tempo}]
  containers:
  - name: kserve-container
    image: registry/server:1
    env: [{name: MLSERVER_MODEL_IMPLEMENTATION, value: tempo_runtime.TempoPipelineRuntime}]
"""
GRAPH = """
apiVersion: serving.kserve.io/v1alpha1
kind: InferenceGraph
metadata: {name: graph}
spec: {nodes: {root: {routerType: Sequence, steps: [{nodeName: next}]}, next: {steps: []}}}
"""
SETTINGS = """
name: explainer
implementation: tempo_runtime.TempoPipelineRuntime
parameters: {uri: .}
"""
GOOD = (SELDON, MODEL, PIPELINE, EXPERIMENT, KSERVE, GRAPH, SETTINGS)

Change = Callable[[Any], object]


def _predictor(document: Any) -> Any:
    return document["spec"]["predictors"][0]


def _container(document: Any) -> Any:
    return _predictor(document)["componentSpecs"][0]["spec"]["containers"][0]


def _variable(name: str, value: Any = "x") -> Change:
    return lambda first: _container(first)["env"].append({"name": name, "value": value})


def _second(**more: Any) -> Change:
    """Another predictor, as the first is but for what is given."""

    def change(first: Any) -> None:
        first["spec"]["predictors"].append({**copy.deepcopy(_predictor(first)), **more})

    return change


CASES: list[tuple[str, str, Change]] = [
    ("name", SELDON, lambda first: first["metadata"].update(name="Explainer")),
    ("name", SELDON, lambda first: first["metadata"].pop("name")),
    ("namespace", MODEL, lambda first: first["metadata"].pop("namespace")),
    ("env-not-text", SELDON, _variable("PORT", 1)),
    ("env-not-text", SELDON, _variable("DEBUG", True)),
    ("secret-in-env", SELDON, _variable("S3_SECRET", "hush")),
    (
        "requests-over-limits",
        SELDON,
        lambda first: _container(first)["resources"]["requests"].update(cpu="1500m"),
    ),
    ("latest-image", SELDON, lambda first: _container(first).update(image="host:5000/server")),
    ("latest-image", SELDON, lambda first: _container(first).update(image="server:latest")),
    ("root", SELDON, lambda first: _container(first).update(securityContext={"runAsUser": 0})),
    ("root", SELDON, lambda first: _container(first).update(securityContext={"privileged": True})),
    ("model-settings-uri", SETTINGS, lambda first: first["parameters"].update(uri="/home/me/x")),
    ("children-not-json", SELDON, _variable("TEMPO_RUNTIME_MODELS", "{")),
    (
        "child-address",
        SELDON,
        _variable(
            "TEMPO_RUNTIME_MODELS",
            '{"me": {"url": "http://explainer.production.svc.cluster.local:9000"}}',
        ),
    ),
    (
        "child-address",
        SELDON,
        _variable(
            "TEMPO_RUNTIME_MODELS",
            '{"me": {"url": "http://explainer-default.production.svc.cluster.local:8000"}}',
        ),
    ),
    (
        "child-address",
        SELDON,
        _variable(
            "TEMPO_RUNTIME_MODELS",
            '{"me": {"url": "http://explainer-default.staging.svc.cluster.local:9000"}}',
        ),
    ),
    (
        "child-address",
        KSERVE,
        lambda first: first["spec"]["predictor"]["model"].update(
            env=[
                {
                    "name": "TEMPO_RUNTIME_MODELS",
                    "value": '{"me": {"url": "http://explainer-predictor.other.svc.cluster.local"}}',
                }
            ]
        ),
    ),
    ("seldon-protocol", SELDON, lambda first: first["spec"].update(protocol="seldon")),
    ("seldon-protocol", SELDON, lambda first: first["spec"].pop("protocol")),
    ("seldon-protocol", SELDON, lambda first: first["spec"].update(protocol="v3")),
    (
        "seldon-implementation",
        SELDON,
        lambda first: _predictor(first)["graph"].update(implementation="MY_SERVER"),
    ),
    ("seldon-model-uri", SELDON, lambda first: _predictor(first)["graph"].pop("modelUri")),
    (
        "seldon-no-engine-graph",
        SELDON,
        lambda first: _predictor(first)["graph"].update(children=[{"name": "child"}]),
    ),
    ("seldon-engine", SELDON, lambda first: _predictor(first).pop("annotations")),
    ("seldon-predictor-names", SELDON, _second(shadow=True)),
    ("seldon-traffic", SELDON, _second(name="canary", traffic=10)),
    ("seldon-long-name", SELDON, lambda first: _predictor(first).update(name="d" * 60)),
    (
        "seldon-service-account",
        SELDON,
        lambda first: _predictor(first)["graph"].update(serviceAccountName="tempo-pipeline"),
    ),
    ("seldon-deadline", SELDON, lambda first: _predictor(first).pop("progressDeadlineSeconds")),
    (
        "seldon-replicas",
        SELDON,
        lambda first: (
            _predictor(first).update(replicas=2)
            or _predictor(first)["componentSpecs"][0].update(hpaSpec={"maxReplicas": 3})
        ),
    ),
    (
        "seldon-annotation",
        SELDON,
        lambda first: first["metadata"]["annotations"].update({"seldon.io/tempo-model": "{"}),
    ),
    (
        "seldon-annotation",
        SELDON,
        lambda first: first["metadata"]["annotations"].update(
            {"seldon.io/tempo-model": '{"model_details": {"name": "other"}}'}
        ),
    ),
    (
        "seldon-container-name",
        SELDON,
        lambda first: _container(first).update(name="classifier", image=None),
    ),
    ("seldon-env-wipes", SELDON, _variable("MLSERVER_HTTP_PORT", "9000")),
    ("seldon-env-wipes", SELDON, _variable("PREDICTIVE_UNIT_ID", "x")),
    ("seldon-env-overridden", SELDON, _variable("MLSERVER_MODEL_NAME", "x")),
    ("seldon-image", SELDON, lambda first: _container(first).pop("image")),
    ("seldon-liveness", SELDON, lambda first: _container(first).pop("livenessProbe")),
    (
        "seldon-probe-handler",
        SELDON,
        lambda first: _container(first)["livenessProbe"].update(httpGet={"path": "/"}),
    ),
    (
        "seldon-models-mount",
        SELDON,
        lambda first: _container(first).update(
            volumeMounts=[{"name": "v", "mountPath": "/mnt/models/"}]
        ),
    ),
    ("seldon-resources", SELDON, lambda first: _container(first).pop("resources")),
    ("seldon2-storage", MODEL, lambda first: first["spec"].pop("storageUri")),
    ("seldon2-parameters", MODEL, lambda first: first["spec"]["parameters"][0].update(value=10)),
    (
        "seldon2-explainer",
        MODEL,
        lambda first: first["spec"].update(explainer={"type": "x"}, llm={"x": 1}),
    ),
    ("seldon2-requirements", MODEL, lambda first: first["spec"].update(requirements=["torch"])),
    ("seldon2-name", MODEL, lambda first: first["metadata"].update(name="income_v1_2")),
    ("seldon2-dropped", SETTINGS, lambda first: first.update(max_batch_size=5)),
    ("seldon2-steps", PIPELINE, lambda first: first["spec"]["output"].update(steps=["three"])),
    ("seldon2-candidates", EXPERIMENT, lambda first: first["spec"].update(default="three")),
    (
        "seldon2-candidates",
        EXPERIMENT,
        lambda first: first["spec"]["candidates"][0].pop("weight"),
    ),
    (
        "kserve-runtime",
        KSERVE,
        lambda first: first["spec"]["predictor"]["model"].update(modelFormat={"name": "other"}),
    ),
    (
        "kserve-protocol",
        KSERVE,
        lambda first: first["spec"]["predictor"]["model"].pop("protocolVersion"),
    ),
    (
        "kserve-explainer",
        KSERVE,
        lambda first: first["spec"].update(explainer={"alibi": {"type": "AnchorTabular"}}),
    ),
    ("kserve-replicas", KSERVE, lambda first: first["spec"]["predictor"].update(minReplicas=3)),
    ("kserve-long-name", KSERVE, lambda first: first["metadata"].update(name="n" * 54)),
    (
        "kserve-graph",
        GRAPH,
        lambda first: first["spec"]["nodes"]["root"]["steps"].append({"nodeName": "none"}),
    ),
    (
        "kserve-graph",
        GRAPH,
        lambda first: first["spec"]["nodes"].update(start=first["spec"]["nodes"].pop("root")),
    ),
]
TEXTS = [
    ("yaml", "a: [1\n"),
    ("yaml-duplicate-key", "a: 1\na: 2\n"),
    (
        "kserve-model-class",
        KSERVE.replace("tempo_runtime.TempoPipelineRuntime", '"{{.Labels.modelClass}}"'),
    ),
    ("kserve-container", KSERVE.replace("kserve-container", "server")),
]


def found(text: str) -> list[str]:
    return [each.rule for each in lint(text)]


@pytest.mark.parametrize("text", GOOD)
def test_nothing_is_found_in_what_is_right(text: str) -> None:
    assert lint(text) == []


@pytest.mark.parametrize(("rule", "text", "change"), CASES)
def test_a_rule_finds_what_it_is_about(rule: str, text: str, change: Change) -> None:
    documents = list(yaml.safe_load_all(text))
    change(documents[0])
    assert rule in found(yaml.safe_dump_all(documents))


@pytest.mark.parametrize(("rule", "text"), TEXTS)
def test_a_rule_finds_what_it_is_about_in_text(rule: str, text: str) -> None:
    assert rule in found(text)


def test_each_rule_has_a_case() -> None:
    assert {case[0] for case in [*CASES, *TEXTS]} == set(RULES)
