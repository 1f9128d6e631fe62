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
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import httpx
import numpy as np
import pytest

import tempo_runtime as tempo
from tempo_runtime import LocalOptions, deploy_local
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
)


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
SOME = ALL[2:10]
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
