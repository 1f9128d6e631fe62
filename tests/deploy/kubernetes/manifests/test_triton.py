"""Models that Triton serves: each platform's server and format for them, in fields that it knows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tempo_runtime import (
    KServeOptions,
    Model,
    ModelFramework,
    Seldon2Options,
    SeldonCoreOptions,
    manifest,
)
from tempo_runtime.errors import SettingsError
from tempo_runtime.lint import lint
from tests.deploy.kubernetes.manifests import models
from tests.deploy.kubernetes.manifests.crds import faults

FORMATS = {
    ModelFramework.Triton: "triton",
    ModelFramework.TensorFlow: "tensorflow",
    ModelFramework.PyTorch: "pytorch",
    ModelFramework.ONNX: "onnx",
    ModelFramework.TensorRT: "tensorrt",
}
ON_SELDON = sorted(set(FORMATS) - {ModelFramework.TensorFlow})
OPTIONS = (SeldonCoreOptions, Seldon2Options, KServeOptions)


def net(platform: ModelFramework = ModelFramework.ONNX) -> Model:
    return Model("net", platform=platform, uri="s3://models/net")


def documents(options: Any, platform: ModelFramework = ModelFramework.ONNX) -> dict[str, Any]:
    """The objects of a pipeline that calls such a model: they have known fields, and no errors."""
    pipeline = models.explainer(models={"net": net(platform)})
    found = models.documents(pipeline, options)
    assert [faults(document) for document in found] == [[] for _ in found]
    told = lint(manifest(pipeline, options))
    assert [each for each in told if each.severity == "error"] == []
    return models.by_name(found)


def container(document: dict[str, Any]) -> dict[str, Any]:
    [predictor] = document["spec"]["predictors"]
    [found] = predictor["componentSpecs"][0]["spec"]["containers"]
    return dict(found)


@pytest.mark.parametrize("platform", ON_SELDON)
def test_seldon_core_serves_it_with_its_triton_server(platform: ModelFramework) -> None:
    found = documents(SeldonCoreOptions(), platform)["SeldonDeployment/net"]
    assert found["spec"]["predictors"][0]["graph"] == {
        "name": "net",
        "type": "MODEL",
        "implementation": "TRITON_SERVER",
        "modelUri": "s3://models/net",
    }


def test_on_seldon_core_a_probe_asks_for_the_model_as_no_operator_adds_that() -> None:
    found = container(documents(SeldonCoreOptions())["SeldonDeployment/net"])
    paths = [found[f"{name}Probe"]["httpGet"] for name in ("liveness", "readiness")]
    assert paths == [
        {"path": "/v2/health/live", "port": "http"},
        {"path": "/v2/models/net/ready", "port": "http"},
    ]


@pytest.mark.parametrize("model", [net(ModelFramework.TensorFlow), None], ids=["alone", "a child"])
def test_tensorflow_serving_is_refused_by_name_with_the_way_out(model: Any) -> None:
    model = model or models.explainer(models={"net": net(ModelFramework.Tensorflow)})
    with pytest.raises(SettingsError, match=r"net: .*TENSORFLOW_SERVER.*ModelFramework\.Triton"):
        manifest(model, SeldonCoreOptions())


@pytest.mark.parametrize("platform", FORMATS)
def test_core_2_places_it_by_its_requirement(platform: ModelFramework) -> None:
    found = documents(Seldon2Options(), platform)["Model/net"]
    assert found["spec"]["requirements"] == [FORMATS[platform]]
    assert "Server/tempo-runtime" in documents(Seldon2Options(), platform)  # for the pipeline


@pytest.mark.parametrize("platform", FORMATS)
def test_kserve_serves_its_format_with_its_triton_runtime(platform: ModelFramework) -> None:
    found = documents(KServeOptions(), platform)["InferenceService/net"]["spec"]["predictor"][
        "model"
    ]
    assert found["modelFormat"] == {"name": FORMATS[platform]}
    assert found["runtime"] == "kserve-tritonserver"
    assert found["protocolVersion"] == "v2"
    assert found["readinessProbe"]["httpGet"] == {"path": "/v2/models/net/ready", "port": 8080}


def test_a_format_that_the_triton_runtime_lacks_is_found() -> None:
    text = manifest(net(), KServeOptions()).replace("name: onnx", "name: sklearn")
    assert "kserve-format" in {each.rule for each in lint(text)}


@pytest.mark.parametrize("options", [SeldonCoreOptions, KServeOptions])
def test_an_image_for_all_models_is_not_tritons(options: Any) -> None:
    shared = options(remote_options={"image": "registry/tempo:1"})
    own = {"net": {"image": "registry/triton:1"}}
    stated = options(remote_options={"image": "registry/tempo:1", "models": own})
    alone = manifest(net(), shared)
    assert "registry/tempo:1" in alone
    assert "image" not in json.dumps(_of_net(documents(shared)))
    assert "registry/triton:1" in json.dumps(_of_net(documents(stated)))


@pytest.mark.parametrize("options", OPTIONS)
def test_its_pipeline_calls_it_under_its_name(options: Any) -> None:
    text = json.dumps(list(documents(options()).values()))
    assert r"\"model\": \"net\"" in text


def _of_net(found: dict[str, Any]) -> Any:
    return next(document for name, document in found.items() if name.endswith("/net"))


def test_tempos_spelling_is_the_same_framework() -> None:
    assert ModelFramework.Tensorflow is ModelFramework.TensorFlow
