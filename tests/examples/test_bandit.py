"""The example bandit."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import load
from tests.helpers.redis_server import needs_redis

EXAMPLE = Path(__file__).parents[2] / "examples" / "bandit"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("example") / "bandit"
    shutil.copytree(EXAMPLE, place, ignore=shutil.ignore_patterns("artifacts", "__pycache__"))
    return place


def run(folder: Path, *command: str) -> str:
    return subprocess.run(
        [sys.executable, *command], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.timeout(600)
def test_it_learns_which_model_is_better(folder: Path) -> None:
    printed = run(folder, "run.py")
    chosen = dict(re.findall(r"^(\w+): (\d+) of the last 100 customers$", printed, re.M))
    assert chosen.keys() == {"short", "long"}
    assert int(chosen["long"]) >= 75


@needs_redis
@pytest.mark.timeout(600)
def test_no_feedback_is_lost_while_redis_is_killed_and_started_again(folder: Path) -> None:
    printed = run(folder, "load.py", "--feedbacks", "1000", "--kill", "1")
    assert "accepted: 1000, counted: 1000, rewards: 1000\n" in printed
    assert re.search(
        r"refused, and sent again: [1-9]\d*; answered late: 0; killed: 1 times", printed
    )


def test_the_same_feedback_counts_once(folder: Path) -> None:
    run(folder, "-c", "import bandit, tempo_runtime; tempo_runtime.save(bandit.Bandit)")
    bandit: Any = load(str(folder / "artifacts" / "bandit"))
    for _ in range(2):
        learned = bandit.predict(arm="long", reward=1.0, feedback="order-17")
        assert learned == {"plays": 1, "rewards": 1.0}


def test_its_readme_shows_its_graph(folder: Path) -> None:
    program = str(Path(sys.executable).with_name("tempo-runtime"))
    graph = run(folder, program, "graph", "bandit:Bandit", "--format", "mermaid")
    assert f"```mermaid\n{graph}```" in (EXAMPLE / "README.md").read_text()
