"""`tempo-runtime init`: the project it writes, and that this does what it says."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tempo_runtime
from tempo_runtime.artifact.environment import wheel
from tests.helpers.command_line import run

WHEEL = f"wheels/tempo_runtime-{tempo_runtime.__version__}-py3-none-any.whl"
FILES = [
    ".gitignore",
    "Makefile",
    "README.md",
    "pipeline.py",
    "requirements.txt",
    "tests/test_pipeline.py",
    "train.py",
    WHEEL,
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_project_contains_a_wheel_of_an_unpublished_version(tmp_path: Path) -> None:
    code, printed, _ = init("iris-1")
    assert code == 0
    assert "cd iris-1 && make test" in printed
    assert files(tmp_path / "iris-1") == FILES
    assert "--find-links wheels" in (tmp_path / "iris-1/requirements.txt").read_text()
    assert not re.search(r"@[A-Z_]+@", "".join(texts(tmp_path / "iris-1")))


def test_a_project_only_names_a_published_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheel, "from_index", lambda: True)
    assert init("demo")[0] == 0
    assert files(tmp_path / "demo") == FILES[:-1]
    requirements = (tmp_path / "demo/requirements.txt").read_text().splitlines()
    assert requirements[0] == f"tempo_runtime[sklearn]=={tempo_runtime.__version__}"


def test_a_folder_that_is_named_and_empty_is_filled(tmp_path: Path) -> None:
    (tmp_path / "some/where").mkdir(parents=True)
    assert init("demo", "--folder", "some/where")[0] == 0
    assert files(tmp_path / "some/where") == FILES


def test_a_folder_with_something_in_it_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/mine.txt").write_text("mine")
    code, _, told = init("demo")
    assert code == 1
    assert "demo exists and is not empty" in told
    assert files(tmp_path) == ["demo/mine.txt"]


@pytest.mark.parametrize("name", ["Demo", "my_pipeline", "a" * 60])
def test_an_invalid_name_of_a_model_is_refused(name: str, tmp_path: Path) -> None:
    code, _, told = init(name)
    assert code == 1
    assert "cannot be a model's name" in told
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: str) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(wheel, "build", full)
    code, _, told = init("demo")
    assert code == 1
    assert "demo cannot be written: No space left on device" in told
    assert list(tmp_path.iterdir()) == []


def test_its_code_is_as_ruff_would_have_it(tmp_path: Path) -> None:
    ruff = Path(sys.executable).with_name("ruff")
    if not ruff.is_file():
        pytest.skip("ruff is not installed")
    assert init("demo")[0] == 0
    style = ["--isolated", "--no-cache", "--config", "line-length=100"]
    rules = ["--select", "E,F,I,B,UP", "--target-version", "py310"]
    for command in (["check", *style, *rules], ["format", "--check", *style]):
        done = subprocess.run([ruff, *command], cwd="demo", capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose `make test` has run, in an environment of its own."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    folder = tmp_path_factory.mktemp("fresh") / "demo"
    assert init("demo", "--folder", str(folder))[0] == 0
    command = ["make", "test", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=folder, env=plain(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    return folder


@pytest.fixture(scope="module")
def url(project: Path) -> Iterator[str]:
    """Where `make serve` has it."""
    command = ["make", "serve", f"PYTHON={sys.executable}", "PORT=0"]
    with (project / "printed").open("wb") as printed:
        process = subprocess.Popen(
            command,
            cwd=project,
            env=plain(),
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    try:
        while "Ctrl-C stops the server" not in (project / "printed").read_text():
            assert process.poll() is None, (project / "printed").read_text()
            time.sleep(0.05)
        found = re.search(r"ready at (\S+)", (project / "printed").read_text())
        assert found is not None
        yield found[1]
    finally:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        process.wait()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_its_tests_pass_and_its_readme_s_curl_line_calls_what_it_serves(
    project: Path, url: str
) -> None:
    line = next(block for block in blocks(project) if block.startswith("curl "))
    line = line.replace("http://127.0.0.1:8080", url)
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=True)
    assert json.loads(done.stdout)["outputs"][0]["data"] == ["setosa"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_its_readme_s_predict_line_calls_what_it_serves(project: Path, url: str) -> None:
    line = next(block for block in blocks(project) if " predict " in block)
    line = line.replace("http://127.0.0.1:8080", url)
    done = subprocess.run(
        ["bash", "-c", line], cwd=project, capture_output=True, text=True, check=True
    )
    assert "setosa" in done.stdout


def init(*arguments: str) -> tuple[int, str, str]:
    return run("init", *arguments)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def texts(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".whl":
            yield path.read_text()


def blocks(project: Path) -> list[str]:
    text = (project / "README.md").read_text()
    return re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def plain() -> dict[str, str]:
    """The environment without what the tests' own Python brings into it."""
    ours = ("PYTHONPATH", "COVERAGE_PROCESS_START", "VIRTUAL_ENV", "MAKEFLAGS")
    return {name: value for name, value in os.environ.items() if name not in ours}
