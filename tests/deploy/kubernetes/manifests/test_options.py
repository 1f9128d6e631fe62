"""Options of a deployment on a cluster."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest

from tempo_runtime import (
    DockerOptions,
    KServeOptions,
    LocalOptions,
    Seldon2Options,
    SeldonCoreOptions,
    SettingsError,
)
from tempo_runtime.deploy.kubernetes.manifests.options import ModelOptions, Resources
from tempo_runtime.deploy.kubernetes.manifests.pods import pod
from tempo_runtime.kubernetes import Probe, SeldonRemote, Toleration
from tempo_runtime.lint import lint
from tests.deploy.kubernetes.manifests import models
from tests.deploy.kubernetes.manifests.test_seldon import container, predictor

PLATFORMS = [SeldonCoreOptions, Seldon2Options, KServeOptions]


@pytest.mark.parametrize("kind", PLATFORMS)
@pytest.mark.parametrize(
    ("stated", "told"),
    [
        (
            {"name_space": "n"},
            "remote_options.name_space: there is no such option; did you mean 'namespace'?",
        ),
        (
            {"namespace": "No Name"},
            "remote_options.namespace: use lowercase letters and digits",
        ),
        ({"replicas": -1}, "remote_options.replicas: Input should be greater than or equal to 0"),
        (
            {"run_as_user": 0},
            "remote_options.run_as_user: Input should be greater than or equal to 1",
        ),
        (
            {"run_as_user": 2**31},
            "remote_options.run_as_user: Input should be less than or equal to",
        ),
        ({"minReplicas": 2}, "set maxReplicas, too"),
        ({"minReplicas": 3, "maxReplicas": 2}, "minReplicas 3 is more than maxReplicas 2"),
        ({"replicas": 2, "maxReplicas": 3}, "leave out replicas"),
        ({"models": {"m": {"replicas": 2, "maxReplicas": 3}}}, "leave out replicas"),
        ({"resources": {"limit": {}}}, "remote_options.resources.limit: there is no such option"),
        ({"resources": {"limits": {"cpu": "1 GB"}}}, "remote_options.resources.limits.cpu: "),
        ({"resources": {"limits": {"cpu": True}}}, "remote_options.resources.limits.cpu: "),
        (
            {"tolerations": [{"keys": "gpu"}]},
            "remote_options.tolerations.0.keys: there is no such option",
        ),
        ({"env": {"N": 1}}, "remote_options.env.N: Input should be a valid string"),
        ({"env": {"A=B": "1"}}, "remote_options.env.A=B"),
        ({"labels": {"a": "two words"}}, "remote_options.labels.a"),
        (
            {"models": {"m": {"replica": 2}}},
            "remote_options.models.m.replica: there is no such option; did you mean 'replicas'?",
        ),
        ({"replicas": False}, "remote_options.replicas: Input should be a number, not false"),
    ],
    ids=lambda each: str(each) if isinstance(each, dict) else "",
)
def test_impossible_options_are_reported_on_one_line(kind: Any, stated: Any, told: str) -> None:
    with pytest.raises(SettingsError) as error:
        kind(remote_options=stated)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", PLATFORMS)
def test_another_uri_is_the_pipelines_or_that_of_the_model_that_is_named(kind: Any) -> None:
    own = f"s3://tempo/explainer@sha256:{'0' * 64}"
    child = "s3://tempo/classifier-2"
    stated = {"uri": own, "models": {models.CLASSIFIER: {"uri": child}}}
    found = models.documents(models.explainer(), kind(remote_options=stated))
    text = json.dumps(found)
    assert text.count(own) >= 1
    stated["models"][models.EXPLAINER] = {"replicas": 2}  # type: ignore[index]
    assert own in models.manifest(models.explainer(), kind(remote_options=stated))
    assert text.count(child) >= 1
    assert "s3://tempo/income-explainer" not in text
    assert lint(models.manifest(models.explainer(), kind(remote_options=stated))) == lint(
        models.manifest(models.explainer(), kind())
    )


@pytest.mark.parametrize(
    ("platform", "stated"),
    [
        (SeldonCoreOptions, {"gateway": "g"}),
        (SeldonCoreOptions, {"knative": True}),
        (SeldonCoreOptions, {"ingress": "1.2.3.4"}),
        (Seldon2Options, {"canary": {"uri": "s3://m"}}),
        (Seldon2Options, {"engine": True}),
        (KServeOptions, {"protocol": "v2"}),
        (KServeOptions, {"server": "s"}),
    ],
    ids=str,
)
def test_an_option_of_another_platform_is_refused(platform: Any, stated: Any) -> None:
    with pytest.raises(SettingsError, match=rf"remote_options.{next(iter(stated))}: "):
        platform(remote_options=stated)


def test_an_image_is_of_all_models_or_of_one() -> None:
    one = ModelOptions(image="registry/sklearn:2")
    chosen = SeldonCoreOptions(
        remote_options={"image": "registry/tempo:1", "models": {models.CLASSIFIER: one}}
    )
    explainer, classifier = models.documents(models.explainer(), chosen)
    assert container(explainer)["image"] == "registry/tempo:1"
    assert container(classifier)["image"] == "registry/sklearn:2"


def test_without_an_image_it_is_the_platform_s() -> None:
    for each in models.documents(models.explainer()):
        assert "image" not in container(each)


def test_a_model_s_own_options_are_over_those_of_all() -> None:
    chosen = SeldonCoreOptions(
        remote_options={
            "replicas": 3,
            "env": {"A": "all", "B": "all"},
            "resources": Resources(requests={"cpu": 1, "memory": "1Gi"}),
            "models": {
                models.CLASSIFIER: ModelOptions(
                    env={"B": "own"}, resources=Resources(limits={"cpu": 0.5})
                )
            },
        }
    )
    explainer, classifier = models.documents(models.explainer(), chosen)
    assert models.variables(container(explainer)).items() >= {"A": "all", "B": "all"}.items()
    assert container(explainer)["resources"] == {"requests": {"cpu": "1", "memory": "1Gi"}}
    assert models.variables(container(classifier)) == {"A": "all", "B": "own"}
    assert container(classifier)["resources"] == {"limits": {"cpu": "0.5"}}
    assert predictor(classifier)["replicas"] == 3


def test_a_model_s_own_number_of_pods_is_not_left_to_the_autoscaler_of_all() -> None:
    chosen = SeldonCoreOptions(
        remote_options={
            "minReplicas": 3,
            "maxReplicas": 5,
            "models": {models.CLASSIFIER: {"replicas": 2}},
        }
    )
    explainer, classifier = models.documents(models.explainer(), chosen)
    assert "hpaSpec" in predictor(explainer)["componentSpecs"][0]
    assert "hpaSpec" not in predictor(classifier)["componentSpecs"][0]
    assert predictor(classifier)["replicas"] == 2


def contexts(value: Any) -> list[Any]:
    """Each securityContext in an object that says who its user is."""
    if isinstance(value, list):
        return [found for each in value for found in contexts(each)]
    if not isinstance(value, dict):
        return []
    own = value.get("securityContext", {})
    inner = [found for each in value.values() for found in contexts(each)]
    return [own, *inner] if "runAsNonRoot" in own else inner


@pytest.mark.parametrize(
    ("kind", "remote"),
    [
        (SeldonCoreOptions, {}),
        (Seldon2Options, {}),
        (KServeOptions, {}),
        (KServeOptions, {"knative": True}),
    ],
)
@pytest.mark.parametrize(
    ("stated", "user"),
    [
        ({}, {"runAsUser": 8888}),
        ({"run_as_user": 1000}, {"runAsUser": 1000}),
        ({"run_as_user": None}, {}),
    ],
    ids=str,
)
def test_a_user_is_the_options_or_left_to_the_cluster(
    kind: Any, remote: Any, stated: Any, user: Any
) -> None:
    found = models.documents(models.explainer(), kind(remote_options={**remote, **stated}))
    assert contexts(found)
    for context in contexts(found):
        assert context["runAsNonRoot"] is True
        assert {key: context[key] for key in context if key == "runAsUser"} == user


def test_a_model_s_user_is_its_own() -> None:
    chosen = KServeOptions(remote_options={"models": {models.CLASSIFIER: {"run_as_user": None}}})
    explainer, classifier = models.documents(models.explainer(), chosen)[:2]
    assert [each["runAsUser"] for each in contexts(explainer)] == [8888]
    assert ["runAsUser" in each for each in contexts(classifier)] == [False]


@pytest.mark.parametrize("kind", PLATFORMS)
def test_more_labels_and_annotations_are_on_each_object(kind: Any) -> None:
    chosen = kind(remote_options={"labels": {"team": "risk"}, "annotations": {"a.io/b": "c\n'd'"}})
    for each in models.documents(models.explainer(), chosen):
        assert each["metadata"]["labels"]["team"] == "risk"
        assert each["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "tempo-runtime"
        assert each["metadata"]["annotations"]["a.io/b"] == "c\n'd'"


@pytest.mark.parametrize("kind", PLATFORMS)
@pytest.mark.parametrize("which", ["labels", "annotations"])
@pytest.mark.parametrize(
    "key",
    [
        "app.kubernetes.io/managed-by",
        "seldon.io/tempo",
        "seldon.io/tempo-model",
        "seldon.io/tempo-description",
    ],
)
def test_labels_that_mark_our_objects_cannot_be_overwritten(
    kind: Any, which: str, key: str
) -> None:
    with pytest.raises(SettingsError, match=f"{which}: .*{key} is reserved for tempo-runtime"):
        kind(remote_options={which: {"a": "b", key: "mine"}})


@pytest.mark.parametrize("kind", [SeldonCoreOptions, KServeOptions])
@pytest.mark.parametrize(
    ("stated", "told"),
    [
        ({"target_cpu": 50}, "target_cpu: it is for an autoscaler; set maxReplicas, too"),
        ({"models": {models.CLASSIFIER: {"target_cpu": 50}}}, "models.income-sklearn.target_cpu: "),
        (
            {"maxReplicas": 3, "models": {models.CLASSIFIER: {"replicas": 2, "target_cpu": 50}}},
            "models.income-sklearn.target_cpu: ",
        ),
    ],
    ids=["of all", "of one", "of one that is fixed"],
)
def test_a_target_without_an_autoscaler_is_refused(kind: Any, stated: Any, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        models.documents(models.explainer(), kind(remote_options=stated))


@pytest.mark.parametrize("kind", [SeldonCoreOptions, KServeOptions])
@pytest.mark.parametrize(
    "stated",
    [
        {"target_cpu": 50, "models": {models.CLASSIFIER: {"maxReplicas": 3}}},
        {"maxReplicas": 3, "models": {models.CLASSIFIER: {"target_cpu": 50}}},
        {"maxReplicas": 3, "target_cpu": 50, "models": {models.CLASSIFIER: {"replicas": 2}}},
    ],
    ids=["bounds of one", "target of one", "all but one"],
)
def test_a_target_of_any_autoscaler_is_taken(kind: Any, stated: Any) -> None:
    assert "50" in str(models.documents(models.explainer(), kind(remote_options=stated)))


def test_options_are_the_same_by_kubernetes_spelling_and_in_snake_case() -> None:
    kubernetes = {
        "authSecretName": "minio",
        "maxReplicas": 3,
        "tolerations": [{"key": "gpu", "tolerationSeconds": 5}],
        "readiness": {"initialDelaySeconds": 5},
    }
    snake = SeldonRemote(
        auth_secret_name="minio",
        max_replicas=3,
        tolerations=(Toleration(key="gpu", toleration_seconds=5),),
        readiness=Probe(initial_delay=5),
    )
    given = SeldonCoreOptions(remote_options=kubernetes)
    assert given == SeldonCoreOptions(remote_options=snake)
    assert pod(given.remote_options, {})["tolerations"] == [{"key": "gpu", "tolerationSeconds": 5}]


def test_options_are_read_by_the_names_of_tempo() -> None:
    options = SeldonRemote(auth_secret_name="minio", engine=True, max_replicas=3)
    assert options.authSecretName == "minio"  # type: ignore[attr-defined]
    assert options.maxReplicas == 3  # type: ignore[attr-defined]
    assert options.add_svc_orchestrator  # type: ignore[attr-defined]
    assert options.serviceAccountName is None  # type: ignore[attr-defined]
    assert not hasattr(options, "authSecretNames")


@pytest.mark.parametrize("name", ["auth_secret_name", "authSecretName"])
def test_options_are_copied_with_changes(name: str) -> None:
    options = SeldonRemote(namespace="production", authSecretName="minio")  # type: ignore[call-arg]
    changed = options.replace(**{name: "s3"})
    assert changed == SeldonRemote(namespace="production", auth_secret_name="s3")
    assert options.auth_secret_name == "minio"
    assert options.model_copy(update={name: "s3"}) == changed
    assert options.model_copy() == copy.deepcopy(options) == options
    assert pickle.loads(pickle.dumps(options)) == options


def test_options_in_options_are_copied_with_changes() -> None:
    options = SeldonCoreOptions(remote_options={"namespace": "production", "replicas": 2})
    changed = options.replace(remote_options=options.remote_options.replace(namespace="test"))
    assert changed == SeldonCoreOptions(remote_options={"namespace": "test", "replicas": 2})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name_space": "n"}, "name_space: there is no such option; did you mean 'namespace'"),
        ({"namespace": "No Name"}, "namespace: use lowercase letters"),
        ({"max_replicas": 3}, "leave out replicas"),
    ],
)
def test_changes_of_options_are_checked(changes: Any, told: str) -> None:
    options = SeldonRemote(replicas=2)
    for change in (options.replace, lambda **update: options.model_copy(update=update)):
        with pytest.raises(SettingsError, match=told):
            change(**changes)


@pytest.mark.parametrize("name", ["namespace", "authSecretName"])
def test_setting_an_option_says_how_to_copy_with_it(name: str) -> None:
    options = SeldonRemote()
    with pytest.raises(SettingsError, match=rf"do not change; .* options\.replace\({name}=...\)"):
        setattr(options, name, "x")
    assert options == SeldonRemote()


def test_setting_an_option_that_is_not_there_suggests_another() -> None:
    with pytest.raises(SettingsError, match="no such option; did you mean 'timeout'"):
        LocalOptions().time_out = 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [DockerOptions, SeldonRemote])
@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("runtime", "the function that deploys decides"),
        ("state_options", r"@pipeline\(NAME, state=StateOptions\("),
        ("insights_options", r"@pipeline\(NAME, insights=InsightsOptions\("),
        ("ingress_options", "ingress='https://HOST'"),
    ],
)
def test_an_option_of_tempo_is_refused_with_what_to_write(
    kind: Any, name: str, instead: str
) -> None:
    with pytest.raises(SettingsError, match=rf"{name}: this option of tempo 0\.5 .*{instead}"):
        kind(**{name: {}})
