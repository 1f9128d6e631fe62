"""The annotation of a deployed model, from which a client of it is made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tempo_runtime import DeploymentFailed, KServeOptions, Seldon2Options, SeldonCoreOptions, save
from tempo_runtime.artifact.declaration import metadata
from tempo_runtime.authoring.details import ModelDetails
from tempo_runtime.deploy.kubernetes.manifests.annotation import MODEL, details_of
from tests.deploy.kubernetes.manifests import models
from tests.helpers import pipelines

PLATFORMS = [SeldonCoreOptions(), Seldon2Options(), KServeOptions()]


def annotated(model: Any, options: Any = None) -> ModelDetails:
    return details_of(models.documents(model, options)[0]["metadata"]["annotations"][MODEL])


def same(found: ModelDetails, model: Any) -> None:
    """Checks that it says all of a model that its callers need."""
    details = model.get_tempo().details
    assert (found.name, found.platform, found.uri, found.description) == (
        details.name,
        details.platform,
        details.uri,
        details.description,
    )
    assert found.local_folder is None
    if details.signature is None:
        assert found.signature is None
        return
    assert found.signature is not None
    assert metadata(found.signature) == metadata(details.signature)
    assert found.signature.streams == details.signature.streams


@pytest.mark.parametrize("options", PLATFORMS, ids=lambda options: type(options).__name__)
def test_it_is_the_same_on_every_platform(options: Any) -> None:
    explainer = models.explainer(description="Explains.")
    same(annotated(explainer, options), explainer)


@pytest.mark.parametrize("model", pipelines.ALL, ids=lambda model: model.get_tempo().details.name)
def test_every_signature_is_made_again(model: Any, tmp_path: Path) -> None:
    tempo = model.get_tempo()
    clone = models.classifier(tempo.details.name, platform=tempo.details.platform)
    vars(clone)["_details"] = ModelDetails(
        tempo.details.name, tempo.details.platform, uri="s3://m", signature=tempo.signature
    )
    found = annotated(clone)
    same(found, clone)
    forms = {"mapping": "dynamic"}
    expected = tempo.signature.form
    assert found.signature is not None
    assert found.signature.form == forms.get(expected, expected)


def test_named_outputs_come_as_a_dict() -> None:
    model = models.classifier(inputs={"x": float}, outputs={"low": float, "high": list[str]})
    found = annotated(model)
    same(found, model)
    assert found.signature is not None
    assert (found.signature.form, found.signature.container) == ("named", dict)


def test_a_model_without_a_signature_has_none() -> None:
    assert annotated(models.classifier()).signature is None


def test_an_artifact_s_says_the_same(tmp_path: Path) -> None:
    explainer = models.explainer(description="Explains.")
    path = save(explainer, str(tmp_path / "explainer"))
    assert annotated(path) == annotated(explainer)


def test_no_folder_of_this_machine_is_in_it(tmp_path: Path) -> None:
    explainer = models.explainer(folder=tmp_path)
    for document in models.documents(explainer):
        assert str(tmp_path) not in json.dumps(document)


@settings(max_examples=30, deadline=None)
@given(st.text())
def test_any_description_is_kept(description: str) -> None:
    found = annotated(models.explainer(description=description))
    assert found.description == description


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"model_details": null}',
        '{"model_details": {"name": "income-explainer", "inputs": {"args": []}}}',
        '{"model_details": {"name": "m", "platform": "other", "inputs": null, "uri": ""}}',
    ],
)
def test_an_annotation_of_another_tool_is_reported(text: str) -> None:
    with pytest.raises(
        DeploymentFailed, match=r"seldon\.io/tempo-model was not written by this version"
    ):
        details_of(text)
