"""Whatever the options: a cluster takes the objects, and their YAML says the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tempo_runtime import KServeOptions, Seldon2Options, SeldonCoreOptions
from tempo_runtime.deploy.kubernetes.manifests import documents, pinning, to_yaml
from tests.deploy.kubernetes.manifests import models
from tests.deploy.kubernetes.manifests.crds import faults
from tests.deploy.kubernetes.manifests.kustomize import kustomized

ALNUM = "abcxyz019"
DIGEST = f"sha256:{'0' * 64}"
# As YAML, a careless writer makes numbers, truth, dates, nothing, or comments of these.
WORDS = """1e3 0x1F 0o14 012 1_000 .5 1. y No on true null ~ 2001-01-01 12:30:45 inf .nan *a &a !a %a @a
{} [] ' " --- ... é 😀"""
SPACED = ["", " a ", "- a", "a: b", "a #b", "\n", "a\n\nb\n", "\t", "\u2028", "\x85"]
TRICKY = st.sampled_from([*WORDS.split(), *SPACED])
TEXTS = TRICKY | st.text(max_size=20)
NAMES = st.from_regex(rf"\A[a-c]([-{ALNUM}]{{0,51}}[{ALNUM}])?\Z")
LONG = st.sampled_from(["m" * 63, "a" + "-1" * 31]) | NAMES
KEYS = st.from_regex(rf"\A([a-c]{{1,3}}\.io/)?[A-Za-c]([-_.{ALNUM}]{{0,9}}[{ALNUM}])?\Z")
LABELS = st.dictionaries(
    KEYS, st.from_regex(r"\A([a-cX-Z0-9]([-_.a-c0-9]{0,9}[a-c0-9])?)?\Z"), max_size=2
)
QUANTITIES = st.dictionaries(
    st.sampled_from(["cpu", "memory", "nvidia.com/gpu", "ephemeral-storage"]),
    st.sampled_from(["500m", "1Gi", "0.5", "2", "1e3", ".5", "12E"])
    | st.integers(0, 99)
    | st.just(0.25),
    max_size=3,
)
PROBES = st.fixed_dictionaries(
    {},
    optional={
        "initialDelaySeconds": st.integers(0, 99),
        "periodSeconds": st.integers(1, 99),
        "timeoutSeconds": st.integers(1, 99),
        "failureThreshold": st.integers(1, 99),
    },
)
TOLERATIONS = st.fixed_dictionaries(
    {},
    optional={
        "key": KEYS,
        "operator": st.sampled_from(["Exists", "Equal"]),
        "value": st.sampled_from(["1e3", "true", "gpu"]),
        "effect": st.sampled_from(["NoSchedule", "PreferNoSchedule", "NoExecute"]),
        "tolerationSeconds": st.integers(0, 999),
    },
)
FIXED = st.fixed_dictionaries({}, optional={"replicas": st.integers(1, 9)})
LEAST = {"minReplicas": st.integers(1, 4)}
MOST = {"maxReplicas": st.integers(4, 9)}
SCALES = FIXED | st.fixed_dictionaries(MOST, optional=LEAST)
BY_CPU = FIXED | st.fixed_dictionaries(MOST, optional={**LEAST, "target_cpu": st.integers(1, 99)})
IMAGES = st.sampled_from(["registry.example.com:5000/a/b:1e3", "tempo", "a@sha256:" + "0" * 64])
ENV = st.dictionaries(st.from_regex(r"\A[A-J_.][-._A-J0-9]{0,9}\Z"), TEXTS, max_size=2)
PODS: dict[str, st.SearchStrategy[Any]] = {
    "image": IMAGES,
    "resources": st.fixed_dictionaries({}, optional={"requests": QUANTITIES, "limits": QUANTITIES}),
    "env": ENV,
    "env_secrets": st.dictionaries(
        st.from_regex(r"\AS[A-Z_]{0,9}\Z"), st.just("redis/url"), max_size=2
    ),
    "env_from": st.lists(NAMES, max_size=2),
    "node_selector": LABELS,
    "tolerations": st.lists(TOLERATIONS, max_size=2),
    "image_pull_secrets": st.lists(NAMES, max_size=2),
    "spread": st.booleans(),
    "run_as_user": st.none() | st.integers(1, 2**31 - 1),
    "page": st.booleans(),
}
LOGGERS = st.fixed_dictionaries(
    {"url": st.sampled_from(["http://broker", "https://logs:8443/a?b=1e3"])},
    optional={"mode": st.sampled_from(["all", "request", "response"])},
)
PROBED = {"liveness": PROBES, "readiness": PROBES}
OBJECTS = {"labels": LABELS, "annotations": st.dictionaries(KEYS, TEXTS, max_size=2)}
SELDON = {
    **PODS,
    **PROBED,
    "min_available": st.integers(1, 9),
    "progress_deadline": st.integers(1, 999),
}
RAW = {**PODS, **PROBED, "min_available": st.integers(1, 9), "logger": LOGGERS}


def options(
    own: dict[str, st.SearchStrategy[Any]],
    more: dict[str, st.SearchStrategy[Any]],
    scales: st.SearchStrategy[Any] = BY_CPU,
) -> st.SearchStrategy[dict[str, Any]]:
    """Options of all models, and some of one model's own."""
    one = st.tuples(st.fixed_dictionaries({}, optional=own), scales).map(_both)
    shared = st.fixed_dictionaries(
        {"namespace": NAMES}, optional={**own, **OBJECTS, **more, "models": _of_models(one)}
    )
    return st.tuples(shared, scales).map(_both)


def _both(two: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    return {**two[0], **two[1]}


def _of_models(one: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(st.just(models.CLASSIFIER), one, max_size=1)


CANARY = st.fixed_dictionaries(
    {"uri": TEXTS.filter(bool)},
    optional={"traffic": st.integers(1, 100), "shadow": st.booleans(), "image": IMAGES},
)
PLATFORMS: dict[str, tuple[Any, st.SearchStrategy[dict[str, Any]], st.SearchStrategy[str]]] = {
    "seldon": (
        SeldonCoreOptions,
        options(
            SELDON,
            {
                "authSecretName": NAMES,
                "serviceAccountName": NAMES,
                "protocol": st.sampled_from(["kfserving", "v2"]),
                "engine": st.booleans(),
                "canary": CANARY,
            },
        ),
        LONG,
    ),
    "seldon2": (
        Seldon2Options,
        st.tuples(
            st.fixed_dictionaries(
                {"namespace": NAMES},
                optional={
                    **PODS,
                    **OBJECTS,
                    "authSecretName": NAMES,
                    "gateway": NAMES,
                    "memory": st.sampled_from(["1Gi", 1000, "1e3"]),
                    "models": _of_models(SCALES),
                },
            ),
            SCALES,
        ).map(_both),
        LONG,
    ),
    "kserve": (
        KServeOptions,
        options(
            RAW,
            {
                "serviceAccountName": NAMES,
                "runtime": NAMES,
                "headless": st.booleans(),
                "timeout": st.integers(1, 999),
            },
        ),
        NAMES,
    ),
    "kserve, knative": (
        KServeOptions,
        options(
            {**PODS, **PROBED}, {"knative": st.just(True), "serviceAccountName": NAMES}, SCALES
        ),
        NAMES,
    ),
}


@pytest.mark.parametrize("platform", PLATFORMS)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_any_options_make_objects_that_a_cluster_takes_and_yaml_keeps(
    platform: str, data: st.DataObject
) -> None:
    kind, remote, names = PLATFORMS[platform]
    name = data.draw(names.filter(lambda name: name != models.CLASSIFIER))
    pipeline = models.explainer(
        name, description=data.draw(TEXTS), uri=data.draw(TEXTS.filter(bool))
    )
    found = documents(pipeline, kind(remote_options=data.draw(remote)))
    for each in found:
        if each["kind"] in pinning.KINDS and data.draw(st.booleans()):
            pinning.pin(each, DIGEST, data.draw(st.sampled_from([(), (DIGEST,), (DIGEST, DIGEST)])))
    assert [fault for each in found for fault in faults(each)] == []
    assert list(yaml.safe_load_all(to_yaml(found))) == found


def test_a_field_that_a_platform_does_not_know_is_found() -> None:
    [deployment, _] = documents(models.explainer(), SeldonCoreOptions())
    deployment["spec"]["predictors"][0]["componentSpecs"][0]["spec"]["containers"][0]["imagee"] = (
        "x"
    )
    [fault] = faults(deployment)
    assert "imagee" in fault


def test_the_same_pipeline_is_the_same_text() -> None:
    chosen = SeldonCoreOptions(remote_options={"env": {"B": "1", "A": "2"}})
    first, second = (to_yaml(documents(models.explainer(), chosen)) for _ in range(2))
    assert first == second
    assert "&id" not in first


# Text that Kubernetes' YAML parser reads as a number or as true, and PyYAML as text.
@pytest.mark.parametrize("text", ["1e3", "-1e-3", "0o14", "y", "N", "1E5"])
def test_text_that_is_a_number_to_kubernetes_is_in_quotes(text: str) -> None:
    assert to_yaml([{"value": text}]) == f"value: '{text}'\n"


def test_kubernetes_own_parser_reads_text_as_text(tmp_path: Path) -> None:
    # Kustomize itself writes a line of "\x85" as one that is empty.
    spaced = [text for text in SPACED if text != "\x85"]
    texts = {f"a{i}": text for i, text in enumerate([*WORDS.split(), *spaced])}
    chosen = SeldonCoreOptions(remote_options={"annotations": texts})
    (tmp_path / "tempo.yaml").write_text(to_yaml(documents(models.classifier(), chosen)))
    (tmp_path / "kustomization.yaml").write_text("resources: [tempo.yaml]\n")
    done = kustomized(tmp_path)
    assert done.returncode == 0, done.stderr
    [found] = yaml.safe_load_all(done.stdout)
    assert found["metadata"]["annotations"].items() >= texts.items()
