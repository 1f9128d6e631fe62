"""What `lint` has to say of the manifests that are written here: no error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import KServeOptions, Seldon2Options, SeldonCoreOptions, manifest
from tempo_runtime.deploy.lint import lint
from tests.deploy.manifests import models

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
    assert (
        errors(manifest(models.explainer(), KServeOptions(remote_options={"knative": True}))) == []
    )
