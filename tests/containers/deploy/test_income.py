"""The mission's cells "Test Locally on Docker": its explainer, by the images of production."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tempo_runtime import (
    DockerOptions,
    RemoteModel,
    SeldonCoreOptions,
    deploy_local,
)
from tests.containers.running import readable
from tests.helpers.income import THRESHOLDS, Income, essence

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def options(named: Callable[..., DockerOptions], explain_image: str) -> SeldonCoreOptions:
    local = named().model_copy(update={"images": {"income-explainer": explain_image}})
    return SeldonCoreOptions(
        local_options=local,
        remote_options={"namespace": "production", "authSecretName": "minio-secret"},
    )


@pytest.fixture(scope="module")
def explainer(income: Income) -> str:
    return str(readable(income.folder) / "explainer")


@pytest.fixture(scope="module")
def remote_model(explainer: str, options: SeldonCoreOptions) -> Iterator[RemoteModel]:
    with deploy_local(explainer, options=options) as remote:
        yield remote


def explained(remote: RemoteModel, income: Income, threshold: float) -> dict[str, Any]:
    r = json.loads(remote.predict(payload=income.rows[0:1], parameters={"threshold": threshold}))
    return dict(r["data"])


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_an_anchor_is_the_one_that_alibi_gives(
    remote_model: RemoteModel, income: Income, threshold: float
) -> None:
    found = explained(remote_model, income, threshold)
    assert essence(found) == essence(income.alone(0, threshold))


def test_it_is_the_same_over_grpc_by_the_same_child(
    remote_model: RemoteModel, income: Income, explainer: str, options: SeldonCoreOptions
) -> None:
    before = {each.name: each.place for each in remote_model.status()}
    local = options.local_options.model_copy(update={"transport": "grpc"})
    again = deploy_local(explainer, SeldonCoreOptions(local_options=local))
    assert again.endpoint.startswith("grpc://127.0.0.1:")
    after = {each.name: each.place for each in again.status()}
    assert after["income-sklearn"] == before["income-sklearn"]
    assert after["income-explainer"] != before["income-explainer"]
    found = explained(again, income, 0.95)
    assert essence(found) == essence(income.alone(0, 0.95))
