"""The digest of an artifact in a manifest: which objects and pods have it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tempo_runtime import (
    KServeOptions,
    Model,
    ModelFramework,
    PipelineModels,
    Seldon2Options,
    SeldonCoreOptions,
    SettingsError,
    pipeline,
    save,
)
from tempo_runtime.artifact.store import inspect
from tempo_runtime.artifact.trust import EXPECTED_DIGEST, VERIFY_KEY, TrustPolicy
from tempo_runtime.deploy.kubernetes.manifests import to_yaml
from tempo_runtime.deploy.kubernetes.manifests.annotation import DIGEST
from tempo_runtime.lint import lint
from tests.deploy.kubernetes.manifests import models
from tests.deploy.kubernetes.manifests.crds import faults

PLATFORMS: dict[str, Callable[..., Any]] = {
    "seldon": SeldonCoreOptions,
    "seldon2": Seldon2Options,
    "kserve": KServeOptions,
}
OTHER = f"sha256:{'0' * 64}"
KINDS = ("SeldonDeployment", "Model", "InferenceService")


def digest_of(folder: str) -> str:
    return str(inspect(folder).digest)


def described(model: Any, platform: str = "seldon", **remote: Any) -> dict[str, dict[str, Any]]:
    """The objects that are models, by name."""
    found = models.documents(model, PLATFORMS[platform](remote_options=remote))
    return {each["metadata"]["name"]: each for each in found if each["kind"] in KINDS}


def told(document: dict[str, Any]) -> tuple[str | None, str | None]:
    """The digest that pods have as an annotation, and the one that is demanded of them."""
    spec = document["spec"]
    if document["kind"] == "Model":
        named = {each["name"]: each["value"] for each in spec.get("parameters", [])}
        return document["metadata"].get("annotations", {}).get(DIGEST), named.get("expected_digest")
    if document["kind"] == "InferenceService":
        annotations, container = (
            spec["predictor"].get("annotations", {}),
            spec["predictor"]["model"],
        )
    else:
        component = spec["predictors"][0]["componentSpecs"][0]
        annotations = component.get("metadata", {}).get("annotations", {})
        container = component["spec"]["containers"][0]
    return annotations.get(DIGEST), models.variables(container).get(EXPECTED_DIGEST)


@pytest.fixture
def explainer(tmp_path: Path) -> str:
    return save(models.explainer(folder=tmp_path / "explainer"))


@pytest.mark.parametrize("platform", PLATFORMS)
def test_pods_get_the_digest_of_the_artifact_on_this_machine(platform: str, explainer: str) -> None:
    made = described(explainer, platform)["income-explainer"]
    assert told(made) == (digest_of(explainer), digest_of(explainer))
    assert made["metadata"]["annotations"][DIGEST] == digest_of(explainer)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_an_artifact_saved_again_changes_the_specification_of_pods(
    platform: str, explainer: str
) -> None:
    before = described(explainer, platform)["income-explainer"]
    assert described(explainer, platform)["income-explainer"] == before
    Path(explainer, "vocabulary.txt").write_text("more")
    save(models.explainer(folder=Path(explainer)))
    after = described(explainer, platform)["income-explainer"]
    assert after["spec"] != before["spec"]


@pytest.mark.parametrize("platform", PLATFORMS)
def test_pods_of_another_framework_change_with_its_files_and_demand_nothing(
    platform: str, tmp_path: Path
) -> None:
    (tmp_path / "model.joblib").write_text("one")
    pipe = models.explainer(models={"sklearn": models.classifier(local_folder=str(tmp_path))})
    before = described(pipe, platform)["income-sklearn"]
    assert described(pipe, platform)["income-sklearn"] == before
    (tmp_path / "model.joblib").write_text("two")
    after = described(pipe, platform)["income-sklearn"]
    assert before["spec"] != after["spec"]
    assert told(before)[0] != told(after)[0] is not None
    assert told(after)[1] is None


def test_the_child_of_an_artifact_is_pinned_as_the_child_of_its_object_is(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.joblib").write_text("one")
    child = models.classifier(local_folder=str(tmp_path / "model"))
    pipe = models.explainer(models={"sklearn": child}, folder=tmp_path / "explainer")
    assert described(save(pipe)) == described(pipe)
    assert told(described(pipe)["income-sklearn"])[0] is not None


@pytest.mark.parametrize("platform", PLATFORMS)
def test_each_pipeline_has_its_own_digest(platform: str, tmp_path: Path) -> None:
    inner = models.explainer("inner", {}, tmp_path / "inner")
    outer = models.explainer("outer", {"inner": inner}, tmp_path / "outer")
    digests = {name: digest_of(save(each)) for name, each in (("inner", inner), ("outer", outer))}
    made = described(str(tmp_path / "outer"), platform)
    assert {name: told(each) for name, each in made.items()} == {
        name: (digest, digest) for name, digest in digests.items()
    }


def test_a_pipeline_inside_of_the_artifact_may_be_loaded_by_its_pod(tmp_path: Path) -> None:
    folder = tmp_path / "outer"
    inner = models.explainer("inner", {}, folder / "inner")
    digest = digest_of(save(inner))
    inside = Model(
        "inner",
        platform=ModelFramework.TempoPipeline,
        local_folder=str(folder / "inner"),
        uri="s3://m/inner",
    )
    outer = save(models.explainer("outer", {"inner": inside}, folder))
    settings = json.loads((folder / "model-settings.json").read_text())
    settings["parameters"]["extra"] = {"models": {"inner": {"transport": "in_process"}}}
    (folder / "model-settings.json").write_text(json.dumps(settings))
    made = described(outer)
    assert list(made) == ["outer"]
    demands = TrustPolicy.of_environment({EXPECTED_DIGEST: told(made["outer"])[1] or ""})
    assert demands.digests == (digest_of(outer), digest)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_without_an_artifact_on_this_machine_nothing_is_pinned(platform: str) -> None:
    for each in described(models.explainer(), platform).values():
        assert told(each) == (None, None)
        assert DIGEST not in each["metadata"]["annotations"]


@pytest.mark.parametrize("platform", PLATFORMS)
def test_pinning_can_be_left_out_for_all_and_for_one(platform: str, explainer: str) -> None:
    own = {"models": {"income-explainer": {"pin_artifact": False}}}
    for remote in ({"pin_artifact": False}, own):
        made = described(explainer, platform, **remote)["income-explainer"]
        assert told(made) == (None, None)


def test_a_canary_is_of_another_artifact(explainer: str) -> None:
    made = described(explainer, canary={"uri": "s3://m/next"})["income-explainer"]
    [component] = made["spec"]["predictors"][1]["componentSpecs"]
    assert "metadata" not in component
    assert EXPECTED_DIGEST not in models.variables(component["spec"]["containers"][0])


def test_a_demand_of_the_user_s_own_stays(explainer: str) -> None:
    both = f"{OTHER},{digest_of(explainer)}"
    made = described(explainer, env={EXPECTED_DIGEST: both})["income-explainer"]
    assert told(made) == (digest_of(explainer), both)


def test_a_key_is_demanded_beside_the_digest(explainer: str) -> None:
    made = described(explainer, env={VERIFY_KEY: "/etc/keys/key.pub"})["income-explainer"]
    container = made["spec"]["predictors"][0]["componentSpecs"][0]["spec"]["containers"][0]
    demands = TrustPolicy.of_environment(models.variables(container))
    assert demands == TrustPolicy((digest_of(explainer),), ("/etc/keys/key.pub",))


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_demand_that_the_artifact_cannot_meet_is_refused(platform: str, explainer: str) -> None:
    with pytest.raises(SettingsError, match=rf"requires {OTHER}, but the artifact in .*would not"):
        described(explainer, platform, env={EXPECTED_DIGEST: OTHER})


def test_a_demand_that_is_not_a_digest_is_refused(explainer: str) -> None:
    with pytest.raises(SettingsError, match=r"income-explainer: env\.TEMPO_.* has '1'"):
        described(explainer, env={EXPECTED_DIGEST: "1"})


def test_a_uri_that_names_the_digest_of_the_artifact_is_taken(explainer: str) -> None:
    uri = f"s3://tempo/explainer@{digest_of(explainer)}"
    named = Model(
        "income-explainer", platform=ModelFramework.TempoPipeline, local_folder=explainer, uri=uri
    )
    assert told(described(named)["income-explainer"])[0] == digest_of(explainer)


def test_a_uri_that_names_another_digest_is_refused(explainer: str) -> None:
    uri = f"s3://tempo/explainer@{OTHER}"
    named = Model(
        "income-explainer", platform=ModelFramework.TempoPipeline, local_folder=explainer, uri=uri
    )
    with pytest.raises(
        SettingsError, match=rf"@{OTHER} names a digest, but the artifact in .* has the"
    ):
        described(named)


def test_a_child_without_a_folder_is_not_taken_for_its_pipeline(tmp_path: Path) -> None:
    inner = Model("inner", platform=ModelFramework.TempoPipeline, uri="s3://m/inner")

    @pipeline("outer", uri="s3://m/outer", models=PipelineModels(inner=inner))
    def outer(x: np.ndarray) -> np.ndarray:
        return x

    made = described(save(outer, str(tmp_path)))
    assert list(made) == ["outer", "inner"]
    assert told(made["inner"]) == (None, None)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_annotation_is_not_the_user_s(platform: str) -> None:
    with pytest.raises(SettingsError, match=f"{DIGEST} is reserved for tempo-runtime"):
        described(models.explainer(), platform, annotations={DIGEST: OTHER})


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_cluster_takes_the_pinned_objects(platform: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.joblib").write_text("one")
    child = models.classifier(local_folder=str(tmp_path / "model"))
    path = save(models.explainer(models={"sklearn": child}, folder=tmp_path / "explainer"))
    found = models.documents(path, PLATFORMS[platform]())
    assert [fault for each in found for fault in faults(each)] == []


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_digest_that_was_changed_by_hand_is_found(platform: str, explainer: str) -> None:
    made = described(explainer, platform)["income-explainer"]
    assert "artifact-digest" not in rules(made)
    text = json.dumps(made).replace(digest_of(explainer), OTHER, 1)
    assert "artifact-digest" in rules(json.loads(text))


def rules(document: dict[str, Any]) -> set[str]:
    return {each.rule for each in lint(to_yaml([document]))}
