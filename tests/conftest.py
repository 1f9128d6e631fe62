"""Fixtures that several tests share."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

with warnings.catch_warnings():  # of what MLServer imports, about itself
    warnings.simplefilter("ignore")
    gc.disable()  # until ten thousand tests and all they import are there
    import mlserver  # noqa: F401

from tempo_runtime.testing import Server, serve
from tests.helpers import packed_environment
from tests.helpers.income import EXAMPLE, ROWS, Income, census, repository
from tests.helpers.made_once import made_once
from tests.helpers.tracing import (  # noqa: F401 - hooks
    choose_untraced,
    pytest_collection,
    pytest_runtest_setup,
    pytest_sessionstart,
)

_TRAIN = """
import sys
import warnings
import numpy as np
sys.path.insert(0, {example!r})
from train import make_artifacts
from src.constants import ARTIFACTS_FOLDER
data = make_artifacts()
np.save(ARTIFACTS_FOLDER + "/rows.npy", data.X_test[{rows}])
"""

# Begun last, one of these would keep one worker busy long after the others have ended.
_LONG = (
    "integration/test_income.py",
    "fidelity/test_values.py",
    "errors/test_soak.py",
    "benchmarks/test_smoke.py",
    "integration/faults/test_many_restarts.py",
    "deploy/local/test_rolling.py",
    "deploy/local/test_processes.py",
    "cli/commands/test_init.py",
    "containers/deploy/test_deployment.py",
    "containers/deploy/test_replacing.py",
    "containers/deploy/test_endings.py",
    "containers/deploy/test_refusals.py",
    "cli/commands/test_serve.py",
    "containers/test_server_image.py",
    "deploy/local/test_changes.py",
    "cli/commands/test_check.py",
    "test_tutorial.py",
    "test_distributions.py",
    "integration/faults/test_restarts.py",
    "artifact/environment/test_served.py",
    "execution/test_sklearn_fast.py",
    "execution/explain/test_explainers.py",
    "execution/explain/test_served.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the files that take longest begin first, and coverage trace what adds to its figure."""
    tests = Path(__file__).parent
    place = {tests / name: number for number, name in enumerate(_LONG)}
    items.sort(key=lambda item: place.get(item.path, len(_LONG)))
    choose_untraced(items)


def pytest_collection_finish() -> None:
    """Have no search for garbage look at the tests and all they have imported."""
    gc.collect()
    gc.freeze()
    gc.enable()


def _train(folder: Path) -> None:
    environment = {
        **os.environ,
        "INCOME_ARTIFACTS": str(folder),
        "TEMPO_ADULT_DATA": str(census()),
    }
    done = subprocess.run(
        [sys.executable, "-c", _TRAIN.format(example=str(EXAMPLE), rows=ROWS)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "printed").write_text(done.stdout)


@pytest.fixture(scope="session")
def income(tmp_path_factory: pytest.TempPathFactory) -> Income:
    """The income example, trained and saved as its `make demo` does it."""
    folder = made_once(tmp_path_factory, "income", _train)
    with warnings.catch_warnings():  # of alibi and what it imports, about themselves
        warnings.simplefilter("ignore")
        import alibi.explainers  # noqa: F401
    return Income(folder, np.load(folder / "rows.npy"), (folder / "printed").read_text())


@pytest.fixture(scope="session")
def income_server(income: Income, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Both models in one server, where the explainer calls its sibling."""
    models = repository(tmp_path_factory.mktemp("models"), income)
    with serve(models) as server:
        yield server


@pytest.fixture(scope="session")
def income_workers(income: Income, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same in two parallel workers."""
    models = repository(tmp_path_factory.mktemp("models"), income)
    with serve(models, settings={"parallel_workers": 2}) as server:
        yield server


@pytest.fixture(
    scope="session",
    params=["income_server", "income_workers"],
    ids=["in one process", "in two workers"],
)
def each_income_server(request: pytest.FixtureRequest) -> Server:
    """Each of the two."""
    server: Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> packed_environment.Project:
    """An artifact with its environment, whose packages this one lacks."""
    return packed_environment.Project(
        made_once(tmp_path_factory, "painter", packed_environment.make_project)
    )
