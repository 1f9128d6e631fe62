"""A served explainer: its limits, its news, and many rows at once."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dill
import grpc
import httpx
import numpy as np
import pytest
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub
from prometheus_client.parser import text_string_to_metric_families

from tempo_runtime import save
from tempo_runtime.protocol.binding import decode_results, encode_arguments
from tempo_runtime.protocol.grpc_messages import request_to_proto, response_from_proto
from tempo_runtime.protocol.messages import Request, request_to_json
from tempo_runtime.testing import Server, serve
from tests.execution.explain import rules

pytestmark = pytest.mark.traced

SEED = 1
ROWS = np.random.RandomState(0).rand(400, 5)
ROW = ROWS[2]
SIBLING = {"TEMPO_RUNTIME_MODELS__LABELS__TRANSPORT": "http"}
SET: dict[str, dict[str, Any]] = {  # the settings of more models of the same artifact
    "fast": {"fast_explainers": True},
    "slow": {"fast_explainers": False},
    "limited": {"max_calls": 3},
    "left": {},
}


@pytest.fixture(scope="module")
def explainer() -> Any:
    with warnings.catch_warnings():  # of alibi and what it imports, about themselves
        warnings.simplefilter("ignore")
        from alibi.explainers import AnchorTabular
    return AnchorTabular(rules.label, rules.NAMES, seed=SEED).fit(ROWS)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory, explainer: Any) -> Path:
    root = tmp_path_factory.mktemp("artifacts")
    save(rules.labels, str(root / "labels"))
    folder = root / "rules"
    folder.mkdir()
    kept = explainer.predictor
    explainer.predictor = explainer.samplers[0].predictor = None
    (folder / "explainer.dill").write_bytes(dill.dumps(explainer))
    explainer.predictor = explainer.samplers[0].predictor = kept
    save(rules.Rules, str(folder))
    for name, extra in SET.items():
        shutil.copytree(folder, root / name)
        settings = root / name / "model-settings.json"
        content = json.loads(settings.read_text())
        content["parameters"]["extra"] = {**(content["parameters"].get("extra") or {}), **extra}
        settings.write_text(json.dumps({**content, "name": name}))
    return root


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file; the first row that waits for it does so until a test makes it."""
    return tmp_path_factory.mktemp("gate") / "gate"


@pytest.fixture(scope="module")
def server(artifacts: Path, gate: Path) -> Iterator[Server]:
    with serve(artifacts, env={**SIBLING, "RULES_GATE": str(gate)}) as server:
        yield server


@pytest.fixture(scope="module")
def workers(artifacts: Path) -> Iterator[Server]:
    child = "TEMPO_RUNTIME_MODELS__LABELS"
    env = {f"{child}__URI": str(artifacts / "labels"), f"{child}__TRANSPORT": "in_process"}
    settings = {"parallel_workers": 1}
    with serve(artifacts / "rules", settings=settings, env=env, timeout=120) as server:
        yield server


def alone(explainer: Any, row: np.ndarray, **options: Any) -> dict[str, Any]:
    np.random.seed(SEED)
    return dict(json.loads(explainer.explain(row, **options).to_json())["data"])


def request(row: np.ndarray, options: dict[str, Any] | None = None, **parameters: Any) -> Request:
    tensors = encode_arguments(None, (), {"payload": row, "parameters": options or {}})
    return Request(tensors, parameters=parameters)


def ask(
    server: Server, row: np.ndarray, *, model: str = "rules", **parameters: Any
) -> httpx.Response:
    return server.post(model, request_to_json(request(row, **parameters)))


def explanation(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return json.loads(answer.json()["outputs"][0]["data"][0])


def events(server: Server, row: np.ndarray, **parameters: Any) -> list[dict[str, Any]]:
    url = f"{server.url}/v2/models/rules/infer_stream"
    content = request_to_json(request(row, **parameters))
    headers = {"content-type": "application/json"}
    with httpx.stream("POST", url, content=content, headers=headers, timeout=60) as answer:
        return [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]


def metric(server: Server, name: str) -> float:
    text = httpx.get(server.metrics, trust_env=False).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and sample.labels["pipeline"] == "rules"
    )


def test_an_explanation_is_the_one_alibi_gives(server: Server, explainer: Any) -> None:
    assert explanation(ask(server, ROW))["data"] == alone(explainer, ROW)


@pytest.mark.parametrize("model", ["fast", "slow"])
def test_fast_explainers_is_a_setting(model: str, server: Server, explainer: Any) -> None:
    before = metric(server, "tempo_child_calls_total")
    assert explanation(ask(server, ROW, model=model))["data"] == alone(explainer, ROW)
    calls = metric(server, "tempo_child_calls_total") - before
    plain = _calls_of(explainer, ROW)
    # alibi's own code asks once more, with a row of zeros, when the predictor is set.
    assert calls == plain + 1 if model == "slow" else 0 < calls < plain * 0.7


def test_calls_and_rows_are_counted(server: Server) -> None:
    calls, rows = (metric(server, f"tempo_child_{what}_total") for what in ("calls", "rows"))
    last = events(server, ROW)[-2]["parameters"]
    assert metric(server, "tempo_child_calls_total") - calls == last["calls"]
    assert metric(server, "tempo_child_rows_total") - rows == last["rows"]


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        ({"tempo_max_calls": 3}, "more than its 3 calls to children"),
        ({"tempo_max_rows": 250}, "more than its 250 rows sent to children"),
    ],
)
def test_a_request_that_needs_more_than_its_limit_is_refused(
    limit: dict[str, int], told: str, server: Server
) -> None:
    answer = ask(server, ROW, **limit)
    assert answer.status_code == 422
    assert told in answer.json()["error"]
    assert f"the request parameter `{next(iter(limit))}`" in answer.json()["error"]


def test_a_limit_of_the_settings_cannot_be_raised_by_a_request(server: Server) -> None:
    assert ask(server, ROW, model="limited", tempo_max_calls=1000).status_code == 422


@pytest.mark.parametrize("limit", [{"tempo_max_calls": 4}, {"tempo_max_rows": 900}], ids=str)
def test_when_asked_the_best_anchor_so_far_is_given_and_marked(
    limit: dict[str, int], server: Server, explainer: Any
) -> None:
    found = explanation(ask(server, ROW, tempo_allow_incomplete_anchors=True, **limit))
    assert "the request needs more than its" in found["meta"]["incomplete"]
    raw = found["data"]["raw"]
    assert raw["prediction"] == alone(explainer, ROW)["raw"]["prediction"]
    assert len(raw["precision"]) == len(raw["coverage"]) == len(raw["examples"]) > 0
    assert 0 < found["data"]["precision"] <= 1
    assert 0 < found["data"]["coverage"] <= 1


@pytest.mark.parametrize("parameter", ["tempo_allow_incomplete_anchors", "tempo_best_so_far"])
def test_before_a_candidate_was_tried_the_anchor_is_empty_by_either_name_of_the_parameter(
    parameter: str, server: Server
) -> None:
    incomplete = explanation(ask(server, ROW, **{parameter: True}, tempo_max_calls=1))
    assert incomplete["data"]["anchor"] == []
    assert "incomplete" in incomplete["meta"]


def test_an_explanation_that_is_complete_is_not_marked(server: Server) -> None:
    found = explanation(
        ask(server, ROW, tempo_allow_incomplete_anchors=True, tempo_max_calls=10**6)
    )
    assert "incomplete" not in found["meta"]


def test_without_a_first_answer_there_is_no_incomplete_anchor(server: Server) -> None:
    answer = ask(server, ROW, tempo_allow_incomplete_anchors=True, tempo_max_rows=50)
    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("parameter", "told"),
    [
        ({"tempo_max_calls": "many"}, "'tempo_max_calls' is 'many', and must be a whole number"),
        (
            {"tempo_allow_incomplete_anchors": "yes"},
            "'tempo_allow_incomplete_anchors' is 'yes', and must be true or false",
        ),
    ],
)
def test_a_wrong_limit_is_the_callers_error(
    parameter: dict[str, str], told: str, server: Server
) -> None:
    answer = ask(server, ROW, **parameter)
    assert answer.status_code == 422
    assert told in answer.json()["error"]


def test_when_asked_the_time_that_is_up_gives_the_best_anchor_so_far(server: Server) -> None:
    # So precise that the search would go on for minutes.
    options = {"threshold": 0.999, "tau": 1e-9}
    for seconds in (2, 4, 8, 16):  # a busy machine may pause it beyond its margin
        limits = {"tempo_allow_incomplete_anchors": True, "tempo_timeout": seconds}
        answer = ask(server, ROWS[0], options=options, **limits)
        if answer.status_code != 504:
            break
    assert f"{seconds} s are spent" in explanation(answer)["meta"]["incomplete"]
    assert ask(server, ROWS[0], options=options, tempo_timeout=1).status_code == 504


def test_a_stream_tells_how_far_it_is_and_ends_with_the_explanation(
    server: Server, explainer: Any
) -> None:
    *news, last = events(server, ROW)
    assert json.loads(last["outputs"][0]["data"][0])["data"] == alone(explainer, ROW)
    assert news
    told = [each["parameters"] for each in news]
    assert all(each["outputs"] == [] for each in news)
    assert all(each["progress"] for each in told)
    assert [each["calls"] for each in told] == sorted(each["calls"] for each in told)
    assert told[-1]["rows"] > told[-1]["calls"] > 0
    assert all(part[0] in "abcde0123456789" for part in told[-1]["anchor"])
    assert 0 < told[-1]["precision"] <= 1
    assert 0 < told[-1]["coverage"] <= 1


def test_over_grpc_it_does_so_too(server: Server, explainer: Any) -> None:
    asked = request_to_proto(request(ROW), "rules", None)
    with grpc.insecure_channel(server.grpc) as channel:
        answers = list(GRPCInferenceServiceStub(channel).ModelStreamInfer(iter([asked])))
    *news, last = answers
    response = response_from_proto(last)
    found = decode_results(None, response.tensors, response.content_type)
    assert json.loads(found)["data"] == alone(explainer, ROW)
    assert news[-1].parameters["calls"].int64_param > 0
    assert 0 < float(news[-1].parameters["precision"].string_param) <= 1
    assert isinstance(json.loads(news[-1].parameters["anchor"].string_param), list)


def test_an_explainer_in_a_parallel_worker_tells_how_far_it_is(
    workers: Server, explainer: Any
) -> None:
    *news, last = events(workers, ROW)
    assert json.loads(last["outputs"][0]["data"][0])["data"] == alone(explainer, ROW)
    calls = [each["parameters"]["calls"] for each in news]
    assert calls == sorted(calls)
    assert calls[-1] > 0


def test_a_stream_that_is_refused_says_so(server: Server) -> None:
    last = events(server, ROW, tempo_max_calls=4)[-1]
    assert last["parameters"]["status"] == 422
    assert "tempo_max_calls" in last["parameters"]["error"]


def test_an_explanation_whose_client_left_stops_at_its_next_call(
    server: Server, gate: Path
) -> None:
    row = ROW.copy()
    row[0] = -1.0
    url = f"{server.url}/v2/models/left/infer_stream"
    content = request_to_json(request(row))
    headers = {"content-type": "application/json"}
    with httpx.stream("POST", url, content=content, headers=headers) as answer:
        next(answer.iter_lines())
    before = metric(server, "tempo_child_rows_total")
    gate.touch()
    # Unloading waits for requests that run: none does.
    assert server.http.post("/v2/repository/models/left/unload", timeout=30).is_success
    assert metric(server, "tempo_child_rows_total") == before


def test_many_rows_are_explained_in_order_and_share_their_calls(
    server: Server, explainer: Any
) -> None:
    rows = ROWS[:6]
    before = metric(server, "tempo_child_calls_total")
    found = explanation(ask(server, rows))
    calls = metric(server, "tempo_child_calls_total") - before
    assert [each["data"] for each in found] == [alone(explainer, row) for row in rows[:, None]]
    assert calls < sum(_calls_of(explainer, row) for row in rows) / 3


def test_eight_clients_each_get_the_explanation_of_their_own_row(
    server: Server, explainer: Any
) -> None:
    rows = ROWS[10:26]
    with ThreadPoolExecutor(8) as clients:
        found = list(clients.map(lambda row: explanation(ask(server, row))["data"], rows))
    assert found == [alone(explainer, row) for row in rows]


def _calls_of(explainer: Any, row: np.ndarray) -> int:
    """How often alibi alone calls the predictor for it."""
    calls = 0

    def counting(rows: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        return rules.label(rows)

    kept = explainer.samplers[0].predictor
    explainer.samplers[0].predictor = counting
    alone(explainer, row)
    explainer.samplers[0].predictor = kept
    return calls
