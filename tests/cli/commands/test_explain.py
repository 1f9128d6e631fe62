"""`tempo-runtime explain`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tempo_runtime import PipelineModels, model, pipeline, predictmethod, save
from tempo_runtime.request import context
from tests.helpers import pipelines
from tests.helpers.command_line import run


@pipeline("why", models=PipelineModels(double=pipelines.double))
class Why:
    """Answers as an anchor explainer does, a row or several, and draws a random number."""

    @predictmethod
    def explain(self, payload: np.ndarray, parameters: dict[str, Any]) -> str:
        context.current().allowance.news = {"anchor": ["a > 1"], "precision": 0.9, "coverage": 0.2}
        self.models.double(payload)
        found = [self._one(row, **parameters) for row in payload]
        return json.dumps(found[0] if len(found) == 1 else found)

    def _one(self, row: np.ndarray, threshold: float = 0.95) -> dict[str, Any]:
        rules = [f"{name} = {value:g}" for name, value in zip("ab", row)]
        data = {"anchor": rules, "precision": [0.97], "coverage": 0.1834, "raw": np.random.rand()}
        return {"meta": {"params": {"threshold": threshold}}, "data": data}


@model("attributions")
def attributions(rows: np.ndarray, threshold: float = 0.5) -> dict[str, Any]:
    return {
        "meta": {"name": "KernelShap"},
        "data": {"shap_values": rows.tolist(), "threshold": threshold, "link": "identity"},
    }


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("artifacts")
    save(pipelines.double, str(root / "double"))
    return save(Why, str(root / "why"))


@pytest.fixture
def why(saved: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TEMPO_RUNTIME_MODELS__DOUBLE__URI", "../double")
    return saved


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    np.save(tmp_path / "rows.npy", np.array([[1.0, 2.0], [3.0, 4.0]]))
    return tmp_path / "rows.npy"


def test_anchors_are_a_table_of_rules(why: str, rows: Path) -> None:
    code, printed, _ = run("explain", why, rows)
    assert code == 0
    for words in ("a = 1", "b = 2", "a = 3", "0.970", "18.3%"):
        assert words in printed


def test_one_row_is_explained_alone(why: str, rows: Path) -> None:
    code, printed, _ = run("explain", why, rows, "--row", 1, "--json")
    assert code == 0
    assert json.loads(printed)["data"]["anchor"] == ["a = 3", "b = 4"]


def test_a_threshold_is_one_of_the_explainer_s_parameters(why: str, rows: Path) -> None:
    _, printed, _ = run("explain", why, rows, "--threshold", 0.99)
    assert "less precise than the requested 0.99" in printed


def test_a_threshold_may_be_an_argument(tmp_path: Path, rows: Path) -> None:
    folder = save(attributions, str(tmp_path / "attributions"))
    _, printed, _ = run("explain", folder, rows, "--threshold", 0.9, "--json")
    assert json.loads(printed)["data"]["threshold"] == 0.9


def test_the_same_seed_gives_the_same_explanation(why: str, rows: Path) -> None:
    first, second, other = (run("explain", why, rows, "--seed", n, "--json") for n in (1, 1, 2))
    assert first == second != other


def test_another_explanation_is_shown_by_its_parts(tmp_path: Path, rows: Path) -> None:
    folder = save(attributions, str(tmp_path / "attributions"))
    _, printed, _ = run("explain", folder, rows)
    assert "2 x 2: 1, 2, 3, 4" in printed
    assert "identity" in printed


def test_pictures_are_written_to_a_page(why: str, rows: Path, tmp_path: Path) -> None:
    page = tmp_path / "why.html"
    code, printed, told = run("explain", why, rows, "--html", page)
    assert code == 0
    assert "a = 1" in printed
    assert f"The pictures are in {page}" in told
    assert page.read_text().count('class="tempo-explanation"') == 2
    assert "<title>Explained by why</title>" in page.read_text()


def test_a_page_that_cannot_be_written_is_refused_before_the_call(
    why: str, rows: Path, tmp_path: Path
) -> None:
    code, printed, told = run("explain", why, rows, "--html", tmp_path / "none" / "why.html")
    assert (code, printed) == (1, "")
    assert "there is no folder" in told


def test_a_terminal_shows_how_far_it_is(
    why: str, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    _, _, told = run("explain", why, rows)
    assert "calls 1, rows 2; best so far: a > 1 (precision 0.90, coverage 20%)" in told


@pytest.mark.parametrize(
    ("options", "stdin", "told"),
    [
        (["--row", "7"], "[[1, 2]]", "there is no row 7: rows count from 0, and the input has 1"),
        (["--row", "0"], '{"inputs": []}', "leave out --row and --threshold"),
        (["--threshold", "0.9", "--arg", "parameters=1"], None, "'parameters'"),
    ],
)
def test_a_call_that_cannot_be_explained_is_reported(
    options: list[str], stdin: str | None, told: str, why: str
) -> None:
    code, _, said = run("explain", why, *options, stdin=stdin)
    assert (code, said.count("\n")) == (1, 1)
    assert told in said
