"""An artifact served in the environment that was packed into it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tempo_runtime.artifact.environment import LOCK, TARBALL
from tempo_runtime.artifact.environment.relocation import scripts
from tempo_runtime.artifact.environment.unpacking import unpack
from tempo_runtime.artifact.store import read_description
from tempo_runtime.errors import EnvironmentFailed
from tempo_runtime.testing import ServerFailed, serve
from tests.helpers.packed_environment import PACKAGE, Project

pytestmark = pytest.mark.slow

_ASK = """
import json, sys
from tempo_runtime.testing import serve
with serve(sys.argv[1]) as server:
    print("ANSWER", json.dumps(server.infer("painter", "tempo")))
"""
_LIKE_THE_IMAGE = """
set -eu
mkdir environment
tar -xzf "$1/environment.tar.gz" -C environment
set +u
source environment/bin/activate
set -u
conda-unpack
python -c "$2" "$1"
"""


@pytest.fixture(scope="module")
def unpacked(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment, in another folder than the one it was made in."""
    prefix = tmp_path_factory.mktemp("unpacked") / "with a space"
    assert unpack(str(project.artifact / TARBALL), str(prefix)) == str(prefix / "bin" / "python")
    return prefix


@pytest.fixture(scope="module")
def answer(project: Project) -> dict[str, Any]:
    """The answer of a parallel worker on a server that lacks the packages."""
    with serve(project.artifact, settings={"parallel_workers": 1}) as server:
        return dict(server.infer("painter", "tempo"))


def test_a_worker_serves_it_with_packages_that_the_server_lacks(answer: dict[str, Any]) -> None:
    assert len(answer["word"].splitlines()) > 3
    _comes_from(answer["prefix"], answer)


def test_a_worker_has_nothing_from_the_server_s_own_environment(answer: dict[str, Any]) -> None:
    assert answer["path"], "it has some"
    assert all(entry.startswith(answer["prefix"]) for entry in answer["path"])


def test_activated_before_start_it_is_served_without_workers(
    project: Project, tmp_path: Path
) -> None:
    done = subprocess.run(
        ["bash", "-c", _LIKE_THE_IMAGE, "bash", str(project.artifact), _ASK],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout.partition("ANSWER ")[2].splitlines()[0])
    assert answer["prefix"] == str(tmp_path / "environment")
    _comes_from(answer["prefix"], answer)


def test_without_workers_the_server_says_why_it_is_refused(project: Project) -> None:
    with (
        pytest.raises(ServerFailed, match="MLServer ignores environment_tarball without parallel"),
        serve(project.artifact, settings={"parallel_workers": 0}),
    ):
        pass


def test_tempo_json_says_what_made_it_and_model_settings_where_it_is(project: Project) -> None:
    description = read_description(str(project.artifact))
    assert description.environment is not None
    assert description.environment.maker == "venv"
    assert Path(str(description.environment.interpreter)).exists()
    assert {TARBALL, LOCK} <= description.files.keys()
    settings = json.loads((project.artifact / "model-settings.json").read_text())
    assert settings["parameters"]["environment_tarball"] == f"./{TARBALL}"


def test_the_lock_has_a_version_and_a_hash_of_each_package(project: Project) -> None:
    entries = (project.artifact / LOCK).read_text().replace("\\\n", " ").splitlines()
    packages = [entry for entry in entries if not entry.startswith("#")]
    assert all("==" in entry and "--hash=sha256:" in entry for entry in packages)
    names = {entry.partition("==")[0] for entry in packages}
    assert {PACKAGE, "mlserver", "tempo-runtime", "dill"} <= names


def test_its_scripts_run_where_it_was_unpacked(unpacked: Path) -> None:
    done = subprocess.run(
        [unpacked / "bin" / "tempo-runtime", "--version"], capture_output=True, text=True
    )
    assert "tempo-runtime, version" in done.stdout, done.stderr
    for script in (unpacked / "bin").iterdir():
        if not script.is_symlink():
            assert b"building-" not in script.read_bytes().splitlines()[0]


def test_a_link_to_an_interpreter_that_is_not_here_is_put_right(unpacked: Path) -> None:
    python = unpacked / "bin" / "python"
    link = python.readlink()
    python.unlink()
    python.symlink_to("/no/such/python")
    try:
        beside = f"{Path(sys.executable).resolve().parent}:{os.environ['PATH']}"
        subprocess.run([unpacked / "bin" / "conda-unpack"], env={"PATH": beside}, check=True)
        seen = subprocess.check_output(
            [python, "-c", f"import {PACKAGE}, sys; print(sys.prefix)"], text=True
        )
        assert seen.strip() == str(unpacked)
    finally:
        python.unlink()
        python.symlink_to(link)


def test_without_such_an_interpreter_it_says_which_is_needed(tmp_path: Path) -> None:
    script = scripts("2.3")["bin/conda-unpack"]  # which no machine has
    with tarfile.open(tmp_path / TARBALL, "w:gz") as tar:
        info = tarfile.TarInfo("bin/conda-unpack")
        info.size, info.mode = len(script), 0o755
        tar.addfile(info, io.BytesIO(script))
    with pytest.raises(EnvironmentFailed, match=r"needs Python 2\.3, which is not on PATH"):
        unpack(str(tmp_path / TARBALL), str(tmp_path / "there"))


def test_a_cut_tarball_is_refused(project: Project, tmp_path: Path) -> None:
    whole = (project.artifact / TARBALL).read_bytes()
    (tmp_path / TARBALL).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EnvironmentFailed, match="cannot be unpacked to"):
        unpack(str(tmp_path / TARBALL), str(tmp_path / "there"))


def _comes_from(prefix: str, answer: dict[str, Any]) -> None:
    assert answer["package"] == answer["mlserver"] == answer["numpy"] == prefix
    assert not prefix.startswith(sys.prefix)
