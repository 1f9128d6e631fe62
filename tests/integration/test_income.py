"""The mission's example: right, the same everywhere, and right under concurrency."""

from __future__ import annotations

import importlib
import json
import os
import random
import re
import runpy
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import httpx
import numpy as np
import pytest

import tempo_runtime as tempo
from tempo_runtime import LocalOptions, deploy_local
from tempo_runtime.cli.calling.arguments import Arguments
from tempo_runtime.cli.calling.targets import opened
from tempo_runtime.testing import Server, serve
from tests.cli.commands.test_serve import Serving
from tests.deploy.conftest import alone
from tests.helpers.income import (
    EXAMPLE,
    ROOT,
    ROWS,
    SEED,
    THRESHOLDS,
    Income,
    answered,
    census,
    essence,
    explain,
    request,
    tensor,
)
from tests.test_readme import DEFAULT, blocks


def test_the_forest_is_as_accurate_as_the_mission_says(income: Income) -> None:
    accuracy = float(re.search(r"Test accuracy:\s+([\d.]+)", income.printed).group(1))
    assert accuracy == pytest.approx(0.854, abs=0.005)


def test_each_threshold_gives_an_anchor_of_the_mission(
    income_server: Server, income: Income
) -> None:
    for threshold in THRESHOLDS:
        found = explain(income_server, income.rows[0], threshold)
        assert "Marital Status = Separated" in found["anchor"]


def test_the_categories_are_those_of_fetch_adult(monkeypatch: pytest.MonkeyPatch) -> None:
    class Answer:
        text = census().read_text()

        def raise_for_status(self) -> None:
            pass

    monkeypatch.setattr("requests.get", lambda url: Answer())  # the same file, without a network
    monkeypatch.setenv("TEMPO_ADULT_DATA", str(census()))
    ours = runpy.run_path(str(EXAMPLE / "src" / "adult.py"))["load_adult"]()
    with warnings.catch_warnings():  # of alibi and what it imports, about themselves
        warnings.simplefilter("ignore")
        from alibi.datasets import fetch_adult

        theirs = fetch_adult()
    assert ours.feature_names == list(theirs.feature_names)
    assert ours.category_map == {k: list(v) for k, v in theirs.category_map.items()}
    np.testing.assert_array_equal(ours.data, theirs.data)
    np.testing.assert_array_equal(ours.target, theirs.target)


def test_the_rows_of_xai_need_no_file_and_no_network(tmp_path: Path) -> None:
    script = f"""
import os, sys
sys.path.insert(0, {str(EXAMPLE)!r})
os.environ.pop("TEMPO_ADULT_DATA", None)
from src.data import AdultData
data = AdultData()
print(data.X_train.shape, data.X_test.shape, data.feature_names)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("(30000, 11) (2560, 11)"), done.stderr
    assert "Country" not in done.stdout


def test_a_census_file_that_is_not_there_is_named_without_a_traceback(tmp_path: Path) -> None:
    missing = str(tmp_path / "adult.data")
    script = (
        f"import sys; sys.path.insert(0, {str(EXAMPLE)!r}); import src.data; src.data.AdultData()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "TEMPO_ADULT_DATA": missing},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert missing in done.stderr
    assert "Traceback" not in done.stderr


def test_the_pipeline_of_the_mission_differs_in_its_imports_only() -> None:
    mission = ROOT / "tests" / "data" / "model-explainer-example.md"
    source = mission.read_text().split("# %load src/tempo.py\n")[1].split("```")[0]

    def body(text: str) -> list[str]:
        return [line for line in text.splitlines() if line and "import" not in line.split("#")[0]]

    assert body((EXAMPLE / "src" / "tempo.py").read_text()) == body(source)


def test_a_served_explanation_is_the_one_alibi_gives(income_server: Server, income: Income) -> None:
    for row in range(4):
        served = explain(income_server, income.rows[row], 0.95)
        assert essence(served) == essence(income.alone(row))


def test_the_artifact_folder_served_by_itself_with_its_model_in_process_explains_the_same(
    income: Income,
) -> None:
    with serve(income.explainer) as server:
        for row in range(4):
            served = explain(server, income.rows[row], 0.95)
            assert essence(served) == essence(income.alone(row))
        computed = (
            "child 'income-sklearn' in this process is computed without scikit-learn's checks"
        )
        assert computed in server.log()


def test_two_identical_requests_get_the_same_explanation(
    income_server: Server, income: Income
) -> None:
    first, second = (explain(income_server, income.rows[1], 0.95) for _ in range(2))
    assert first == second


def test_a_request_may_bring_its_own_seed(income_server: Server, income: Income) -> None:
    for seed in (7, 8):
        served = explain(income_server, income.rows[1], 0.95, tempo_seed=seed)
        assert essence(served) == essence(income.alone(1, seed=seed))


@pytest.mark.parametrize(
    ("clients", "threshold"),
    [(1, 0.90), (4, 0.90), (8, 0.95)],
)
def test_clients_at_once_each_get_the_explanation_of_their_own_row(
    clients: int, threshold: float, each_income_server: Server, income: Income
) -> None:
    with ThreadPoolExecutor(clients) as pool:
        found = list(pool.map(lambda row: explain(each_income_server, row, threshold), income.rows))
    labels = each_income_server.infer("income-sklearn", income.rows).ravel()
    assert set(labels) == {0, 1}
    for row, (label, served) in enumerate(zip(labels, found, strict=True)):
        assert served["raw"]["instance"] == [income.rows[row].tolist()]
        assert served["raw"]["prediction"] == [label]
        assert essence(served) == essence(income.alone(row, threshold))


def test_the_explainer_is_callable_without_a_server(income: Income) -> None:
    explainer = tempo.load(str(income.explainer))
    np.random.seed(SEED)
    found = json.loads(explainer.explain(payload=income.rows[:1], parameters={"threshold": 0.95}))
    assert essence(found["data"]) == essence(income.alone(0))


def test_metadata_is_the_signature(income_server: Server) -> None:
    metadata = income_server.http.get("/v2/models/income-explainer").json()
    assert [tensor["name"] for tensor in metadata["inputs"]] == ["payload", "parameters"]
    assert metadata["inputs"][1]["parameters"]["content_type"] == "json"
    assert metadata["outputs"][0]["datatype"] == "BYTES"


# -- one answer on every route ---------------------------------------------------------------------


Asked = tuple[int, float]  # a row and a threshold
Explained = Callable[[Asked], str]
ALL: list[Asked] = [(row, threshold) for row in range(len(ROWS)) for threshold in THRESHOLDS]
SOME = ALL[:10]
PATIENT = pytest.mark.timeout(
    600
)  # the first of them starts four servers, and explains it all once


def shuffled(asked: list[Asked], seed: int) -> list[Asked]:
    return random.Random(seed).sample(asked, len(asked))


@pytest.fixture(scope="module")
def servers(
    income: Income, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Explained]]]:
    """How to ask the deployments and servers that only these tests need; they start side by side."""

    def over_http(url: str) -> Explained:
        http = stack.enter_context(httpx.Client(base_url=url, timeout=120, trust_env=False))
        return lambda asked: answered(http, income.rows[asked[0]], asked[1])

    def deployed(workers: int, transport: Literal["http", "grpc"]) -> Explained:
        env = {"MLSERVER_PARALLEL_WORKERS": str(workers)}
        options = LocalOptions(name=f"income-{workers}", transport=transport, env=env)
        remote = stack.enter_context(deploy_local(income.explainer, options))
        return lambda asked: remote.predict(**arguments(income, asked))  # type: ignore[no-any-return]

    def served(workers: int) -> Explained:
        folder = tmp_path_factory.mktemp("serve")
        options = ["--port", "0", "--json", "--workers", str(workers)]
        serving = stack.enter_context(Serving(folder, str(income.explainer), *options))
        serving.wait_for("}\n}")
        return over_http(json.loads(serving.printed())["url"])

    with ExitStack() as stack:
        stack.enter_context(alone(tmp_path_factory.mktemp("state")))
        threads = stack.enter_context(ThreadPoolExecutor(2))
        yield {
            "deploy_local": threads.submit(deployed, 0, "http"),
            "deploy_local, two workers, gRPC": threads.submit(deployed, 2, "grpc"),
            "serve": threads.submit(served, 0),
            "serve, two workers": threads.submit(served, 2),
        }


def arguments(income: Income, asked: Asked) -> dict[str, Any]:
    row, threshold = asked
    return {"payload": income.rows[row : row + 1], "parameters": {"threshold": threshold}}


@pytest.fixture(scope="module")
def in_the_notebook(
    servers: dict[str, Future[Explained]], income: Income
) -> Iterator[dict[Asked, str]]:
    """The pipeline's explanations where it was written, neither saved nor loaded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INCOME_ARTIFACTS", str(income.folder))
        patch.syspath_prepend(str(EXAMPLE))
        module = importlib.import_module("src.tempo")
        explainer = module.create_explainer(module.create_adult_model())()
        yield {each: explainer.explain(**arguments(income, each)) for each in shuffled(ALL, seed=1)}
        for name in [name for name in sys.modules if name.partition(".")[0] == "src"]:
            del sys.modules[name]


@PATIENT
@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_in_the_notebook_an_anchor_is_the_one_that_alibi_gives(
    threshold: float, in_the_notebook: dict[Asked, str], income: Income
) -> None:
    found = json.loads(in_the_notebook[0, threshold])["data"]
    assert essence(found) == essence(income.alone(0, threshold))


@PATIENT
def test_loaded_it_explains_as_in_the_notebook_in_any_order(
    in_the_notebook: dict[Asked, str], income: Income
) -> None:
    explainer = tempo.load(str(income.explainer))
    for each in shuffled(ALL, seed=2):
        assert explainer.explain(**arguments(income, each)) == in_the_notebook[each]


@PATIENT
def test_under_mlserver_with_two_workers_it_explains_as_in_the_notebook(
    in_the_notebook: dict[Asked, str], income_workers: Server, income: Income
) -> None:
    asked = shuffled(ALL, seed=3)
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(
            lambda each: answered(income_workers.http, income.rows[each[0]], each[1]), asked
        )
        assert dict(zip(asked, found, strict=True)) == in_the_notebook


@PATIENT
def test_under_mlserver_in_one_process_it_explains_as_in_the_notebook(
    in_the_notebook: dict[Asked, str], income_server: Server, income: Income
) -> None:
    for row, threshold in shuffled(SOME, seed=4):
        found = answered(income_server.http, income.rows[row], threshold)
        assert found == in_the_notebook[row, threshold]


@PATIENT
@pytest.mark.parametrize(
    "route",
    ["deploy_local", "deploy_local, two workers, gRPC", "serve", "serve, two workers"],
)
def test_however_it_is_served_it_explains_as_in_the_notebook(
    route: str, servers: dict[str, Future[Explained]], in_the_notebook: dict[Asked, str]
) -> None:
    ask = servers[route].result()
    for each in shuffled(SOME, seed=5):
        assert ask(each) == in_the_notebook[each]


# -- what else these servers are asked ---------------------------------------------------------------


@pytest.mark.parametrize("transport", ["HTTP", "gRPC"])
def test_a_served_explainer_reports_progress_and_gives_the_same_explanation(
    income: Income, income_server: Server, transport: str
) -> None:
    http = transport == "HTTP"
    models = f"{income_server.url}/v2/models" if http else f"grpc://{income_server.grpc}"
    news: list[tuple[int, int, Mapping[str, Any]]] = []
    with opened(f"{models}/income-explainer", seed=1) as target:
        given = Arguments(target.signature, {"payload": income.rows[:1], "parameters": {}})
        response = target.infer(given.request(), lambda *progress: news.append(progress))
    [text] = response.tensors[0].elements()
    found = json.loads(text)["data"]
    assert essence(found) == essence(income.alone(0, seed=1))
    calls, _, facts = news[-1]
    assert calls > 1
    assert facts["anchor"] == found["anchor"]


def test_the_curl_line_of_the_readme_works(income_server: Server, income: Income) -> None:
    line = next(block for block in blocks("bash") if "income-explainer/infer" in block)
    line = line.replace(DEFAULT, income_server.url)
    # Its row is of the default rows, which lack the last column that UCI's have.
    missing = [9] * (income.rows.shape[1] - 11)
    line = line.replace("[1, 11]", f"[1, {11 + len(missing)}]")
    line = line.replace("0, 60]", ", ".join(map(str, [0, 60, *missing])) + "]")
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert "anchor" in json.loads(done.stdout)["outputs"][0]["data"][0]


WRONG: dict[str, tuple[Any, int, list[str]]] = {
    "missing tensor": (request(), 422, ["'payload' is missing", "send it"]),
    "unknown tensor": (request(tensor(name="paylod")), 422, ["'paylod'", "did you mean 'payload'"]),
    "tensor given twice": (request(tensor(), tensor()), 422, ["'payload'", "twice"]),
    "text in a number": (request(tensor(data=["a"] * 12)), 422, ["'payload'", "INT64", "'a'"]),
    "fraction in an integer": (
        request(tensor(data=[0.5] * 12)),
        422,
        ["'payload'", "INT64", "0.5"],
    ),
    "unknown datatype": (request(tensor(datatype="FLOAT")), 422, ["datatype"]),
    "ragged data": (request(tensor(data=[[1, 2], [3]])), 422, ["'payload'", "ragged"]),
    "shape that disagrees": (request(tensor(shape=[5, 2])), 422, ["'payload'", "[5, 2]", "12"]),
    "negative shape": (request(tensor(shape=[-1, 12])), 422, ["'payload'", "[-1, 12]"]),
    "parameter of the wrong type": (
        request(tensor(), parameters=7),
        422,
        ["'parameters'", "dictionary", "7"],
    ),
    "explainer parameter of the wrong type": (
        request(tensor(), parameters={"threshold": "high"}),
        422,
        ["AnchorTabular", "threshold='high'", "it accepts: threshold"],
    ),
    "explainer parameter that is misspelt": (
        request(tensor(), parameters={"treshold": 0.9}),
        422,
        ["AnchorTabular", "'treshold'", "did you mean 'threshold'"],
    ),
    "seed of the wrong type": (request(tensor(), tempo_seed="x"), 422, ["tempo_seed", "'x'"]),
    "no time at all": (request(tensor(), tempo_timeout=0), 422, ["tempo_timeout", "above 0"]),
    "too little time": (request(tensor(), tempo_timeout=0.001), 504, ["0.001 s", "timeout"]),
    "not JSON": (b"explain, please", 422, ["JSON decode error"]),
    "not a request": (b'{"rows": [1]}', 422, ["inputs"]),
    "a row the child refuses": (
        request(tensor(shape=[1, 2], data=[1, 2])),
        502,
        ["child 'income-sklearn'", "/v2/models/income-sklearn/infer", "500"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_is_refused_by_status_and_in_words(
    case: str, each_income_server: Server
) -> None:
    body, status, words = WRONG[case]
    answer = each_income_server.post("income-explainer", body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    said = answer.json().get("error") or json.dumps(answer.json()["detail"])
    for word in words:
        assert word in said
    assert "Traceback" not in answer.text
    assert 'File "' not in answer.text


def test_the_server_answers_as_before_after_all_wrong_requests(
    each_income_server: Server, income: Income
) -> None:
    for body, _, _ in WRONG.values():
        each_income_server.post("income-explainer", body)
    found = explain(each_income_server, income.rows[0], 0.9)
    assert found["raw"]["instance"] == [income.rows[0].tolist()]
