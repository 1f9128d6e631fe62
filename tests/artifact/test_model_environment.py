"""`save` of a model that is not a pipeline packs its environment, in the form that MLServer uses."""

from __future__ import annotations

import dataclasses
import importlib
import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from tempo_runtime import (
    AuthoringError,
    EnvironmentFailed,
    LocalOptions,
    Model,
    ModelFramework,
    deploy_local,
    save,
)
from tempo_runtime.artifact import environment
from tempo_runtime.artifact.environment import LOCK, TARBALL, cache, sources
from tempo_runtime.artifact.environment.unpacking import unpack
from tests.deploy.conftest import MARK, alone
from tests.helpers.command_line import run
from tests.helpers.packed_environment import PACKAGE
from tests.helpers.remaining import left

ROWS = np.array([[0.0], [2.0]])


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pack only the packages that are asked for, without those that serve the model."""

    def of_model(*args: Any) -> sources.Needs:
        return dataclasses.replace(sources.of_model(*args), added=())

    monkeypatch.setattr(environment, "of_model", of_model)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "line"
    made.mkdir()
    (made / "requirements.txt").write_text(f"{PACKAGE}\n")
    return made


def line(folder: Path | None, framework: ModelFramework = ModelFramework.SKLearn) -> Model:
    return Model("line", platform=framework, local_folder=None if folder is None else str(folder))


def test_the_environment_is_packed_and_named_where_mlserver_reads_it(
    small: None, folder: Path
) -> None:
    assert save(line(folder)) == str(folder)
    assert json.loads((folder / "model-settings.json").read_text()) == {
        "name": "line",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": ".", "environment_tarball": f"./{TARBALL}"},
    }
    assert PACKAGE in (folder / LOCK).read_text()
    python = unpack(str(folder / TARBALL), str(folder / "unpacked"))
    code = f"import {PACKAGE}, importlib.util as u; print(u.find_spec('tempo_runtime'))"
    assert subprocess.check_output([python, "-I", "-c", code], text=True) == "None\n"


def test_settings_that_are_there_stay(small: None, folder: Path) -> None:
    written = {"name": "mine", "implementation": "my.Runtime", "parameters": {"version": "v2"}}
    (folder / "model-settings.json").write_text(json.dumps(written))
    save(line(folder))
    settings = json.loads((folder / "model-settings.json").read_text())
    assert settings["parameters"].pop("environment_tarball") == f"./{TARBALL}"
    assert settings["parameters"].pop("uri") == "."
    assert settings == written


def test_a_second_save_takes_it_from_the_cache(
    small: None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(line(folder))
    before = (folder / TARBALL).read_bytes()
    monkeypatch.setattr(environment.venv.tools, "run", lambda *_: pytest.fail("a program was run"))
    save(line(folder))
    assert (folder / TARBALL).read_bytes() == before


def test_the_packages_that_serve_it_are_added(folder: Path) -> None:
    def added(runtime: str) -> tuple[str, ...]:
        return sources.of_model(str(folder), "auto", runtime).added

    server = f"mlserver=={version('mlserver')}"
    sklearn = f"mlserver-sklearn=={version('mlserver-sklearn')}"
    assert added("mlserver_sklearn")[:2] == (server, sklearn)
    assert added("mlserver_other")[:2] == (server, "mlserver-other")
    (folder / "requirements.txt").write_text("mlserver==1.6\nMLServer_SKLearn\nuvloop\npandas\n")
    assert added("mlserver_sklearn") == ()


def test_packages_that_break_mlserver_are_kept_out(folder: Path) -> None:
    added = sources.of_model(str(folder), "auto", "mlserver_sklearn").added
    limits = [line.partition(";")[0].strip() for line in added[2:]]
    assert sorted(limits) == ["pandas<3", "uvloop<0.22"]


def test_of_the_two_files_that_mlflow_writes_requirements_txt_is_taken(folder: Path) -> None:
    here = sources.python()
    (folder / "conda.yaml").write_text(f"dependencies: [python={here}, pip, {{pip: [mlflow]}}]\n")
    assert sources.of_model(str(folder), "auto", "mlserver_mlflow").maker == "venv"
    assert sources.of_model(str(folder), "conda", "mlserver_mlflow").maker == "conda"


def test_a_model_of_another_python_is_refused_unless_a_venv_is_asked_for(folder: Path) -> None:
    (folder / "conda.yaml").write_text("dependencies: [python=3.7.9, pip, {pip: [mlflow]}]\n")
    with pytest.raises(EnvironmentFailed, match=r"asks for Python 3\.7\.9, but this is Python 3"):
        save(line(folder, ModelFramework.MLFlow))
    assert not (folder / "model-settings.json").exists()
    assert sources.of_model(str(folder), "venv", "mlserver_mlflow").maker == "venv"


def no_requirements(folder: Path) -> None:
    (folder / "requirements.txt").unlink()


@pytest.mark.parametrize(
    ("change", "given", "error", "told"),
    [
        (None, {"environment": None}, AuthoringError, "not a pipeline: .* or deploy it as it is"),
        (None, {"sign": "key.pem"}, AuthoringError, "not a pipeline, so it cannot be signed"),
        (None, {"environment": "pip"}, EnvironmentFailed, "environment is 'pip'; it is 'auto'"),
        (no_requirements, {}, EnvironmentFailed, "has neither conda.yaml nor requirements.txt"),
        (no_requirements, {"environment": "venv"}, EnvironmentFailed, "there is no .*ments.txt"),
        (no_requirements, {"environment": "conda"}, EnvironmentFailed, "there is no .*conda.yaml"),
    ],
)
def test_a_model_without_something_to_pack_is_refused(
    folder: Path, change: Callable[[Path], None] | None, given: Any, error: Any, told: str
) -> None:
    if change is not None:
        change(folder)
    before = sorted(folder.iterdir())
    with pytest.raises(error, match=told):
        save(line(folder), **given)
    assert sorted(folder.iterdir()) == before


def test_a_model_without_a_folder_is_refused() -> None:
    with pytest.raises(AuthoringError, match=r"<Model 'line' \(sklearn\)> is not a pipeline"):
        save(line(None))


def test_a_framework_without_a_known_runtime_says_where_to_name_one(folder: Path) -> None:
    with pytest.raises(AuthoringError, match=r"'custom'; name its class as `implementation` in"):
        save(line(folder, ModelFramework.Custom))


def test_the_command_says_what_to_do_next(
    small: None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    monkeypatch.syspath_prepend(str(folder.parent))
    (folder.parent / "lines.py").write_text(
        "from tempo_runtime import Model\nline = Model('line', platform='sklearn', local_folder='line')\n"
    )
    code, printed, told = run("save", "lines:line")
    assert code == 0, told
    assert printed.startswith(f"Packed its environment in line/{TARBALL}: ")
    assert shlex.split(printed.splitlines()[-1])[2:] == ["tempo-runtime", "serve", "line"]
    assert json.loads(run("save", "lines:line", "--json")[1])["environment"] == f"line/{TARBALL}"
    sys.modules.pop("lines")


class Needing:
    """An object that only an environment with a certain package can unpickle."""

    def __reduce__(self) -> Any:
        return importlib.import_module, (PACKAGE,)


@pytest.fixture
def trained(folder: Path) -> Path:
    """A model that this environment lacks a package for."""
    fitted = LinearRegression().fit(np.array([[0.0], [1.0]]), np.array([1.0, 4.0]))
    fitted.note_ = Needing()
    joblib.dump(fitted, folder / "model.joblib")
    (folder / "requirements.txt").write_text(
        f"{PACKAGE}\nscikit-learn=={version('scikit-learn')}\nnumpy=={np.__version__}\n"
    )
    with pytest.raises(ModuleNotFoundError, match=PACKAGE):
        joblib.load(folder / "model.joblib")
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)  # a whole environment is resolved, made and packed
def test_mlserver_serves_a_model_in_its_environment(trained: Path, tmp_path: Path) -> None:
    model = line(trained)
    save(model)
    options = LocalOptions(env={MARK: str(tmp_path)}, timeout=300)
    with alone(tmp_path / "state"), deploy_local(model, options) as remote:
        np.testing.assert_allclose(remote.predict(ROWS), [1.0, 7.0])
    assert not left(MARK, str(tmp_path))
