"""The notebook and the README of the example income; tests/integration/test_demo.py runs its demo."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tempo_runtime.artifact.store import read_description
from tests.helpers import examples
from tests.helpers.command_line import run
from tests.helpers.income import EXAMPLE, ROOT, Income, census

# Progress is shown from the first call on, and stays.
_SHOW_PROGRESS = """
from tempo_runtime._util.progress import _Output
from tempo_runtime.execution.explain import progress

progress.DELAY, _Output.clear = 0, lambda self: None
"""


@pytest.mark.timeout(600)
def test_its_notebook_runs_in_a_kernel(tmp_path: Path) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    copy = tmp_path / "income"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("artifacts", "__pycache__"))
    folders = {"IPYTHONDIR": "ipython", "JUPYTER_RUNTIME_DIR": "runtime"}
    environment = {name: str(tmp_path / folder) for name, folder in folders.items()}
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text(_SHOW_PROGRESS)
    environment["TEMPO_ADULT_DATA"] = str(census())
    examples.shell("jupyter-execute --inplace income.ipynb", copy, **environment)
    outputs = [
        output
        for cell in json.loads((copy / "income.ipynb").read_text())["cells"]
        for output in cell.get("outputs", ())
    ]
    printed = "\n".join(
        "".join(output.get("text", ())) + "".join(output.get("data", {}).get("text/plain", ()))
        for output in outputs
    )
    html = "".join("".join(output.get("data", {}).get("text/html", ())) for output in outputs)
    assert len(re.findall("^Marital Status = Separated", printed, re.MULTILINE)) == 3
    assert "'pipeline.dill'" in printed
    assert "Deploying income-explainer: done" in printed
    # In the process it may end before it has a best rule to show.
    assert re.search(r"income-explainer explains: calls \d+, rows [\d,]+", printed)
    assert re.search(r"income-explainer works: calls \d+, rows [\d,]+; best so far", printed)
    assert 'alt="income-explainer calls income-sklearn (sklearn, in process)"' in html
    assert "<th>columns</th><td>payload: Age, Workclass" in html
    assert html.count('<td class="good">ready</td>') == 2
    assert "<script" not in html


def test_its_artifact_names_the_columns_and_categories_of_the_census(income: Income) -> None:
    columns = read_description(str(income.explainer)).columns["payload"]
    assert len(columns) == income.rows.shape[1]
    named = {column.name: column.categories for column in columns}
    assert named["Age"] is None
    assert named["Sex"] == ["Female", "Male"]


def test_its_readme_shows_its_graph(income: Income) -> None:
    status, graph, _ = run("graph", income.explainer, "--format", "mermaid")
    assert status == 0
    assert [graph] == examples.blocks("income", "mermaid")


def test_the_page_of_the_command_line_explains_a_person_of_its_file(
    income: Income, tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    (write,) = re.findall(r"^echo .* > people\.csv", page, re.MULTILINE)
    (explain,) = re.findall(r"^tempo-runtime explain (\S+) people.csv (.*)$", page, re.MULTILINE)
    assert explain[0] == "examples/income/artifacts/explainer"
    examples.shell(write, tmp_path)
    rows = tmp_path / "people.csv"
    # The census of the tests has one column more than that of `make demo`: Country.
    rows.write_text(f"{rows.read_text().strip()},0\n")
    status, printed, told = run("explain", income.explainer, rows, *explain[1].split())
    assert status == 0, told
    assert "precision" in printed
