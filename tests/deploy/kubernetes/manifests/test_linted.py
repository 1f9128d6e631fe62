"""What `lint` has to say of the manifests that are written here: no error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import KServeOptions, Seldon2Options, SeldonCoreOptions, manifest
from tempo_runtime.lint import lint
from tests.deploy.kubernetes.manifests import models

OPTIONS = [
    SeldonCoreOptions(),
    SeldonCoreOptions(remote_options={"engine": True, "authSecretName": "minio"}),
    SeldonCoreOptions(remote_options={"canary": {"uri": "s3://tempo/next"}}),
    Seldon2Options(),
    Seldon2Options(remote_options={"server": "own"}),
    KServeOptions(),
    KServeOptions(remote_options={"headless": True}),
    KServeOptions(remote_options={"runtime": "own"}),
]


def errors(text: str) -> list[Any]:
    return [each for each in lint(text) if each.severity == "error"]


@pytest.mark.parametrize("transport", ["http", "grpc"])
@pytest.mark.parametrize("options", OPTIONS)
def test_there_is_no_error_in_what_is_written(options: Any, transport: str, tmp_path: Path) -> None:
    assert errors(manifest(models.with_settings(tmp_path, transport=transport), options)) == []


def test_there_is_no_error_in_what_is_written_for_knative() -> None:
    found = lint(manifest(models.explainer(), KServeOptions(remote_options={"knative": True})))
    assert "kserve-knative-flag" not in {each.rule for each in found}
    assert [each for each in found if each.severity == "error"] == []


def test_options_that_knative_may_refuse_are_warned_of() -> None:
    remote = {"knative": True, "spread": True, "node_selector": {"gpu": "a100"}}
    found = lint(manifest(models.classifier(), KServeOptions(remote_options=remote)))
    told = [each.message for each in found if each.rule == "kserve-knative-flag"]
    assert [each.partition(" ")[0] for each in told] == [
        "nodeSelector",
        "topologySpreadConstraints",
    ]


@pytest.mark.parametrize("kind", [SeldonCoreOptions, Seldon2Options, KServeOptions])
def test_a_user_that_is_left_to_the_cluster_is_accepted(kind: Any) -> None:
    plain, without = (
        [each.rule for each in lint(manifest(models.explainer(), kind(remote_options=remote)))]
        for remote in ({}, {"run_as_user": None})
    )
    assert plain == without


@pytest.mark.parametrize("kind", [SeldonCoreOptions, Seldon2Options, KServeOptions])
def test_resources_that_the_options_state_are_missing_nowhere(kind: Any) -> None:
    options = kind(remote_options={"resources": {"requests": {"cpu": 1}}})
    rules = {each.rule for each in lint(manifest(models.explainer(), options))}
    assert "resources-missing" not in rules
