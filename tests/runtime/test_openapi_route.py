"""The OpenAPI document of a server says what its pipelines take and give, and is served offline."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import schemathesis
from hypothesis import given, settings

from tempo_runtime import model, save
from tempo_runtime.testing import Server, serve
from tests.helpers.command_line import run


@dataclass
class Line:
    item: str
    count: int = 1


@model("bill", description="Adds up an order.")
def bill(lines: list[Line], prices: dict[str, float], round_to: int = 2) -> float:
    """Add up an order.

    Args:
        lines: What was ordered.
        prices: Price of each item; an unknown item is free.
        round_to: Decimals of the result.
    """
    total = sum(min(line.count, 1000) * prices.get(line.item, 0.0) for line in lines)
    return round(total, max(min(round_to, 9), 0)) if abs(total) < 1e100 else 0.0


@model("scaled")
def scaled(
    rows: np.ndarray[tuple[int, Literal[2]], np.dtype[np.float64]],
) -> dict[str, np.ndarray]:
    return {"rows": rows / 2}


@model("spelled")
def spelled(word: str) -> Iterator[str]:
    yield from word


NAMES = ("bill", "scaled", "spelled")


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("models")
    for name, target in zip(NAMES, (bill, scaled, spelled)):
        save(target, str(root / name))
    return str(root)


@pytest.fixture(scope="module")
def server(artifacts: str) -> Iterator[Server]:
    with serve(artifacts) as server:
        yield server


def schema_of(document: dict[str, Any], name: str) -> dict[str, Any]:
    schema: dict[str, Any] = document["components"]["schemas"][name]
    return schema


def test_it_has_each_argument_with_its_type_default_and_text(server: Server) -> None:
    document = server.http.get("/openapi.json").json()
    properties = schema_of(document, "bill.arguments")["properties"]
    assert properties["lines"] == {
        "type": "array",
        "items": {"$ref": "#/components/schemas/bill.Line"},
        "description": "What was ordered.",
    }
    assert properties["round_to"]["default"] == 2
    assert schema_of(document, "bill.arguments")["required"] == ["lines", "prices"]
    assert schema_of(document, "bill.Line")["properties"]["count"]["default"] == 1
    assert (
        document["paths"]["/v2/models/bill/predict"]["post"]["description"] == "Adds up an order."
    )


def test_a_pipeline_that_streams_has_the_route_for_streams_only(server: Server) -> None:
    paths = server.http.get("/openapi.json").json()["paths"]
    assert [path for path in paths if "spelled" in path] == [
        "/v2/models/spelled/predict_stream",
        "/v2/models/spelled/ready",
    ]


def test_the_document_of_one_pipeline_has_only_its_paths(server: Server) -> None:
    document = server.http.get("/v2/models/bill/docs/dataplane.json").json()
    assert all("/bill/" in path for path in document["paths"])
    assert "bill.Line" in document["components"]["schemas"]


def test_the_document_of_an_unknown_model_is_refused_as_mlserver_does(server: Server) -> None:
    assert server.http.get("/v2/models/none/docs/dataplane.json").status_code == 404


def test_the_example_of_a_body_works(server: Server) -> None:
    document = server.http.get("/openapi.json").json()
    body = document["paths"]["/v2/models/bill/predict"]["post"]["requestBody"]
    example = body["content"]["application/json"]["example"]
    answer = server.http.post("/v2/models/bill/predict", json=example)
    assert answer.status_code == 200


def test_a_recorded_example_is_that_of_a_body(tmp_path: Path) -> None:
    folder = save(scaled, str(tmp_path / "scaled"))
    assert run("check", folder, "--arg", "rows=[[1, 2.5]]")[0] == 0
    code, printed, _ = run("openapi", folder)
    assert code == 0
    body = json.loads(printed)["paths"]["/v2/models/scaled/predict"]["post"]["requestBody"]
    assert body["content"]["application/json"]["example"] == {"rows": [[1.0, 2.5]]}


def test_a_server_with_workers_has_the_same_document(server: Server, artifacts: str) -> None:
    with serve(artifacts, settings={"parallel_workers": 1}) as workers:
        assert workers.http.get("/openapi.json").json() == server.http.get("/openapi.json").json()


def test_the_command_line_writes_the_same_document(server: Server, artifacts: str) -> None:
    code, printed, _ = run("openapi", *(f"{artifacts}/{name}" for name in NAMES))
    assert code == 0
    assert json.loads(printed) == server.http.get("/openapi.json").json()


@pytest.mark.parametrize("name", ["bill", "scaled"])
def test_calls_that_it_allows_are_answered_as_it_says(server: Server, name: str) -> None:
    api = schemathesis.openapi.from_dict(server.http.get("/openapi.json").json())
    operation = api[f"/v2/models/{name}/predict"]["POST"]

    @settings(max_examples=30, deadline=None)
    @given(case=operation.as_strategy())
    def is_answered(case: Any) -> None:
        response = case.call(base_url=server.url, timeout=30)
        case.validate_response(response)
        assert response.status_code in (200, 422)

    is_answered()
