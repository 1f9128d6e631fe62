"""The state of a pipeline on a cluster: its Redis comes from a Secret, and pods do not lose updates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import (
    KServeOptions,
    PipelineModels,
    Seldon2Options,
    SeldonCoreOptions,
    SettingsError,
    StateOptions,
    manifest,
    pipeline,
    save,
)
from tempo_runtime.lint import lint
from tests.deploy.kubernetes.manifests import crds, models

URL, PASSWORD = "TEMPO_RUNTIME_STATE__URL", "TEMPO_RUNTIME_STATE__PASSWORD"
SECRETS = {URL: "redis/url", PASSWORD: "redis/password"}
PLATFORMS = [SeldonCoreOptions, Seldon2Options, KServeOptions]


def bandit(folder: Path | None = None, **options: Any) -> Any:
    @pipeline(
        "bandit",
        uri="s3://tempo/bandit",
        local_folder=None if folder is None else str(folder),
        state=StateOptions(**options),
    )
    def choose(arm: str) -> int:
        count: int = choose.state.incr(arm)
        return count

    return choose


def containers(document: dict[str, Any]) -> Any:
    spec = document["spec"]
    if document["kind"] == "SeldonDeployment":
        return spec["predictors"][0]["componentSpecs"][0]["spec"]["containers"]
    if document["kind"] == "Server":
        return spec["podSpec"]["containers"]
    return [spec["predictor"]["model"]] if document["kind"] == "InferenceService" else []


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_connection_comes_from_a_secret(platform: Any) -> None:
    options = platform(remote_options={"env_secrets": SECRETS, "replicas": 2, "env": {"A": "1"}})
    documents = models.documents(bandit(), options)
    assert [fault for document in documents for fault in crds.faults(document)] == []
    entries = [
        container["env"]
        for document in documents
        for container in containers(document)
        if container.get("env")
    ]
    assert {"name": "A", "value": "1"} in entries[0]
    for name, place in SECRETS.items():
        secret, key = place.split("/")
        reference = {"secretKeyRef": {"name": secret, "key": key}}
        assert {"name": name, "valueFrom": reference} in entries[0]
    assert [found for found in lint(manifest(bandit(), options)) if found.severity == "error"] == []


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_password_is_refused_in_a_plain_variable(platform: Any) -> None:
    for name, value in ((PASSWORD, "hunter2"), (URL, "redis://:hunter2@redis:6379")):
        with pytest.raises(SettingsError, match=f"{name} looks like a secret") as error:
            platform(remote_options={"env": {name: value}})
        assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("scale", [{"replicas": 2}, {"maxReplicas": 3}])
def test_several_pods_of_a_state_in_memory_are_refused(
    platform: Any, scale: dict[str, int], tmp_path: Path
) -> None:
    message = "bandit: the state of pipeline 'bandit' is in the memory of one process, and each of"
    artifact = save(bandit(tmp_path / "bandit"))
    for target in (bandit(), artifact):
        with pytest.raises(SettingsError, match=message):
            manifest(target, platform(remote_options=scale))
        manifest(target, platform(remote_options={"replicas": 1}))
        manifest(target, platform(remote_options={**scale, "env": {URL: "redis://redis:6379"}}))


def test_a_state_in_the_memory_of_a_child_in_the_same_process_is_refused(tmp_path: Path) -> None:
    child = bandit(tmp_path / "bandit")
    save(child)

    @pipeline(
        "parent",
        uri="s3://tempo/parent",
        local_folder=str(tmp_path / "parent"),
        models=PipelineModels(bandit=child),
    )
    def ask(arm: str) -> int:
        count: int = ask.models.bandit(arm)
        return count

    file = Path(save(ask), "model-settings.json")
    settings = json.loads(file.read_text())
    settings["parameters"]["extra"] = {"models": {"bandit": {"transport": "in_process"}}}
    file.write_text(json.dumps(settings))
    with pytest.raises(
        SettingsError, match="parent: the state of pipeline 'bandit' is in the memory"
    ):
        manifest(str(tmp_path / "parent"), SeldonCoreOptions(remote_options={"replicas": 2}))


def test_a_canary_beside_a_state_in_memory_is_refused() -> None:
    options = SeldonCoreOptions(remote_options={"canary": {"uri": "s3://tempo/next"}})
    with pytest.raises(SettingsError, match="each of 2 pods"):
        manifest(bandit(), options)


def test_a_declared_url_allows_several_pods() -> None:
    manifest(bandit(url="redis://redis"), SeldonCoreOptions(remote_options={"replicas": 2}))


def test_lint_sees_replicas_that_were_added_by_hand() -> None:
    text = manifest(bandit(), SeldonCoreOptions())
    assert "replicas: 1" in text
    found = lint(text.replace("replicas: 1", "replicas: 2"))
    assert "state-lost" in {each.rule for each in found}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"env_secrets": {"A": "redis"}}, "env_secrets.A: write the name of a Secret and a key"),
        ({"env_secrets": {"A": "redis/url"}, "env": {"A": "1"}}, "A is in env and in env_secrets"),
    ],
)
def test_a_place_that_is_not_a_key_of_a_secret_is_refused(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        SeldonCoreOptions(remote_options=options)


def test_a_variable_of_one_model_replaces_that_of_all() -> None:
    remote = SeldonCoreOptions(
        remote_options={
            "env_secrets": {"A": "one/a", "B": "one/b"},
            "models": {"bandit": {"env": {"A": "plain"}, "env_secrets": {"C": "two/c"}}},
        }
    ).remote_options
    own = remote.of("bandit")
    assert (own.env, own.env_secrets) == ({"A": "plain"}, {"B": "one/b", "C": "two/c"})
