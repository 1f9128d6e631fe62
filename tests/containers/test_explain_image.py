"""The income example in two containers: the classifier, and the explainer that calls it by name."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.containers.running import served
from tests.helpers.income import Income, payload

pytestmark = pytest.mark.slow


def test_it_explains_what_another_container_predicts(
    engine: Any, server_image: str, explain_image: str, network: str, income: Income
) -> None:
    child = {"TEMPO_RUNTIME_MODELS__SKLEARN__URL": "http://income-sklearn:9000"}
    sklearn = "mlserver_sklearn.SKLearnModel"
    body = {
        "inputs": [payload(income.rows[0])],
        "parameters": {"parameters": {"threshold": 0.95}, "seed": 1},
    }
    name = "income-explainer"
    with (
        served(engine, server_image, income.model, "income-sklearn", sklearn, network=network),
        served(
            engine, explain_image, income.explainer, name, env=child, network=network
        ) as explainer,
    ):
        url = f"{explainer.url}/v2/models/{name}/infer"
        answer = httpx.post(url, json=body, timeout=120)
        assert answer.status_code == 200, f"{answer.text}\n{explainer.log()}"
    found = json.loads(answer.json()["outputs"][0]["data"][0])["data"]
    alone = income.alone(0)
    assert (found["anchor"], found["precision"]) == (alone["anchor"], alone["precision"])
