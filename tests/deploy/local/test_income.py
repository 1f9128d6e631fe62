"""The mission's cells "Test Locally on Docker", as processes: its explainer and its classifier."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tempo_runtime import LocalOptions, RemoteModel, deploy_local
from tempo_runtime._util.http_request import request
from tests.deploy.conftest import alone
from tests.helpers.income import THRESHOLDS, Income, essence


@pytest.fixture(scope="module")
def remote_model(income: Income, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteModel]:
    state: Path
    with alone(tmp_path_factory.mktemp("state")) as state:
        with deploy_local(income.explainer, LocalOptions()) as remote:
            yield remote
        assert not list(state.iterdir())


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_an_anchor_is_the_one_that_alibi_gives(
    remote_model: RemoteModel, income: Income, threshold: float
) -> None:
    r = json.loads(
        remote_model.predict(payload=income.rows[0:1], parameters={"threshold": threshold})
    )
    assert essence(r["data"]) == essence(income.alone(0, threshold))


def test_the_servers_of_all_models_announce_binary_data(remote_model: RemoteModel) -> None:
    for model in remote_model.status():
        answer = json.loads(request(f"{model.url}/v2", 30).body)
        assert answer["extensions"] == ["binary_tensor_data"], model
