"""The README does what it says."""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np

from tempo_runtime.testing import Server, serve
from tests.helpers.income import ROOT, Income

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_the_commands_it_names_are_in_the_makefile() -> None:
    named = set(re.findall(r"make (\w+)", README))
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test", "serve"} <= named <= targets


def test_the_files_it_names_are_there() -> None:
    named = re.findall(r"\]\(((?:docs/)?[\w.]+\.md)\)", README)
    named += re.findall(r"benchmarks/\w+\.py", README)
    assert named
    assert [path for path in named if not (ROOT / path).is_file()] == []


def test_its_tour_runs_and_what_it_saves_is_served(tmp_path: Path) -> None:
    data = "X, y = np.array([[0.0], [1.0], [2.0]]), [0, 0, 1]"
    pipeline, call, deploy = blocks("python")
    (tmp_path / "shop.py").write_text(pipeline)
    script = [
        "import os, joblib, numpy as np",
        "from sklearn.linear_model import LogisticRegression",
        data,
        "os.makedirs('artifacts/forest')",
        "joblib.dump(LogisticRegression(C=100).fit(X, y), 'artifacts/forest/model.joblib')",
        "from shop import Check",
        call,
    ]
    (tmp_path / "tour.py").write_text("\n".join(script))
    then = ["import numpy as np", data, "from shop import Check", deploy]
    (tmp_path / "deploy.py").write_text("\n".join(then))
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    run = functools.partial(
        subprocess.run, cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    done = run([sys.executable, "tour.py"])
    assert done.returncode == 0, done.stderr
    lines = re.findall(
        r"^tempo-runtime (?:save|inspect|check|manifest) [^>\n]*", README, re.MULTILINE
    )
    assert len(lines) == 4
    for line in lines:
        done = run([Path(sys.executable).parent / "tempo-runtime", *shlex.split(line, True)[1:]])
        assert done.returncode == 0, done.stderr
    done = run([sys.executable, "deploy.py"])
    assert done.returncode == 0, done.stderr
    with serve(tmp_path / "artifacts" / "check") as server:
        found = server.infer("income-check", rows=np.array([[0.0], [2.0]]), labels=[0, 0])
    assert found == {"accuracy": 0.5}


def test_its_curl_line_works(income_server: Server, income: Income) -> None:
    line = next(block for block in blocks("bash") if block.startswith("curl"))
    line = line.replace("http://127.0.0.1:8080", income_server.url)
    # Its row is of the default rows, which lack the last column that UCI's have.
    missing = [9] * (income.rows.shape[1] - 11)
    line = line.replace("[1, 11]", f"[1, {11 + len(missing)}]")
    line = line.replace("0, 60]", ", ".join(map(str, [0, 60, *missing])) + "]")
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert "anchor" in json.loads(done.stdout)["outputs"][0]["data"][0]
