"""conda environments.

conda itself is missing where these tests run: a program of its name stands in for it, which notes
how it was called, and makes a prefix of a copy of this Python, with conda's records. The use of
that prefix is real: pip's or uv's installation, conda-pack, and what runs from the packed environment.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tempo_runtime import pipeline, predictmethod, save
from tempo_runtime.artifact.environment import LOCK, TARBALL, sources
from tempo_runtime.artifact.environment.conda import locked
from tempo_runtime.artifact.environment.unpacking import unpack
from tempo_runtime.artifact.store import read_description
from tempo_runtime.errors import EnvironmentFailed
from tests.helpers import pipelines

_CONDA = """\
#!{python}
import json, os, shutil, sys
from pathlib import Path

calls = Path({calls!r})
with calls.open("a") as file:
    print(json.dumps(sys.argv[1:]), file=file)
if Path({fails!r}).exists():
    sys.exit("PackagesNotFoundError: The following packages are not available:\\n\\n  - nosuch")
prefix = Path(sys.argv[sys.argv.index("--prefix") + 1])
base, version = Path(sys.base_prefix), "%d.%d" % sys.version_info[:2]
library = f"lib/python{{version}}"
left_out = shutil.ignore_patterns(
    "*-packages", "test", "tests", "__pycache__", "config-*", "idlelib", "EXTERNALLY-MANAGED"
)
shutil.copytree(base / library, prefix / library, ignore=left_out, symlinks=False)
(prefix / library / "site-packages").mkdir()
(prefix / "bin").mkdir()
shutil.copy(os.path.realpath(sys.executable), prefix / f"bin/python{{version}}")
(prefix / "bin/python").symlink_to(f"python{{version}}")
for shared in (base / "lib").glob("libpython*.so*"):
    shutil.copy(shared, prefix / "lib")
full = "%d.%d.%d" % sys.version_info[:3]
files = [str(p.relative_to(prefix)) for p in prefix.rglob("*") if p.is_file() or p.is_symlink()]
meta = prefix / "conda-meta"
meta.mkdir()
(meta / "history").write_text("")
record = {{
    "name": "python", "version": {version!r} or full, "build": "0", "build_number": 0, "channel": "test",
    "url": "https://conda.example/linux-64/python-" + ({version!r} or full) + "-0.conda",
    "md5": "0" * 32, "files": files, "link": {{"source": "", "type": 1}},
    "paths_data": {{"paths_version": 1, "paths": [
        {{"_path": name, "path_type": "hardlink"}} for name in files
    ]}},
}}
(meta / f"python-{{full}}-0.json").write_text(json.dumps(record))
"""


class Conda:
    """The stand-in."""

    def __init__(self, folder: Path, python: str = "") -> None:
        self.calls_file, self.fails = folder / "calls", folder / "fails"
        self.bin = folder / "conda-bin"
        self.bin.mkdir()
        for name in ("conda", "micromamba"):
            program = self.bin / name
            program.write_text(
                _CONDA.format(
                    python=sys.executable,
                    calls=str(self.calls_file),
                    fails=str(self.fails),
                    version=python,
                )
            )
            program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in self.calls_file.read_text().splitlines()]


@pytest.fixture
def conda(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Conda:
    made = Conda(tmp_path)
    monkeypatch.setenv("PATH", f"{made.bin}:{os.environ['PATH']}")
    return made


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment has one small package in place of what serves an artifact."""
    monkeypatch.setattr(sources, "_added", lambda *_: ("art==6.5",))


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "conda.yaml").write_text("name: x\ndependencies: [python, pip]\n")
    return folder


def test_the_mission_s_cell_packs_what_conda_yaml_describes_and_it_runs_elsewhere(
    conda: Conda, artifact: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    @pipeline("explainer", local_folder=str(artifact))
    class Explainer:
        @predictmethod
        def explain(self, payload: list, parameters: dict) -> str:
            return json.dumps([payload, parameters])

    save(Explainer)
    assert capsys.readouterr().err == ""  # no bar where nobody looks at one
    assert read_description(str(artifact)).environment.maker == "conda"
    python = unpack(str(artifact / TARBALL), str(tmp_path / "elsewhere"))
    code = (
        "import sys, tempo_runtime; assert tempo_runtime.__file__.startswith(sys.prefix); "
        "print(sys.prefix); "
        f"print(tempo_runtime.load({str(artifact)!r}).explain([1], {{'threshold': 0.9}}))"
    )
    seen = subprocess.check_output([python, "-I", "-c", code], text=True).splitlines()
    assert seen == [str(tmp_path / "elsewhere"), '[[1], {"threshold": 0.9}]']


def test_conda_is_called_with_the_file_and_a_prefix_of_its_own(
    conda: Conda, small: None, artifact: Path
) -> None:
    save(pipelines.double, str(artifact))
    (call,) = conda.calls()
    assert call[:4] == ["env", "create", "--yes", "--prefix"]
    assert call[5:] == ["--file", str(artifact / "conda.yaml")]


def test_micromamba_will_do(
    conda: Conda, small: None, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (conda.bin / "conda").unlink()
    monkeypatch.setenv("PATH", f"{conda.bin}:/usr/bin:/bin")
    save(pipelines.double, str(artifact))
    assert conda.calls()[0][:2] == ["create", "--yes"]


def test_the_lock_has_conda_s_packages_by_url_and_pip_s_by_version(
    conda: Conda, small: None, artifact: Path
) -> None:
    save(pipelines.double, str(artifact))
    lock = (artifact / LOCK).read_text()
    explicit, _, pip = lock.partition("# pip\n")
    assert (
        f"@EXPLICIT\nhttps://conda.example/linux-64/python-{sources.python()}-0.conda#" in explicit
    )
    assert pip == "art==6.5\n"


def test_a_channel_s_password_or_token_does_not_get_into_the_lock(tmp_path: Path) -> None:
    record = {"url": "https://me:pass@host/t/tk-1/conda-forge/linux-64/x-1-0.conda", "md5": "0"}
    (tmp_path / "conda-meta").mkdir()
    (tmp_path / "conda-meta" / "x.json").write_text(json.dumps(record))
    assert "https://host/conda-forge/linux-64/x-1-0.conda#0\n" in locked(str(tmp_path))


def test_a_second_save_asks_conda_for_nothing(conda: Conda, small: None, artifact: Path) -> None:
    save(pipelines.double, str(artifact))
    before = read_description(str(artifact))
    save(pipelines.double, str(artifact))
    assert len(conda.calls()) == 1
    assert read_description(str(artifact)) == before


def test_a_locked_environment_that_left_the_cache_is_made_again_as_it_was(
    conda: Conda, small: None, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(pipelines.double, str(artifact))
    before = (artifact / LOCK).read_bytes()
    monkeypatch.setenv("TEMPO_RUNTIME_CACHE", str(tmp_path / "another"))
    save(pipelines.double, str(artifact))
    again = conda.calls()[1]
    assert again[:3] == ["create", "--yes", "--prefix"]
    assert again[-1].endswith("explicit.txt")
    assert (artifact / LOCK).read_bytes() == before
    python = unpack(str(artifact / TARBALL), str(tmp_path / "elsewhere"))
    subprocess.run([python, "-I", "-c", "import art"], check=True)


def test_an_environment_that_conda_cannot_make_is_refused_with_condas_words_in_one_line(
    conda: Conda, artifact: Path
) -> None:
    conda.fails.touch()
    with pytest.raises(EnvironmentFailed, match=r"conda cannot make what .* - nosuch") as raised:
        save(pipelines.double, str(artifact))
    assert "\n" not in str(raised.value)
    assert [path.name for path in artifact.iterdir()] == ["conda.yaml"]


def test_another_minor_version_of_python_is_refused(
    tmp_path: Path, own_cache: Path, small: None, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Conda(tmp_path, python="3.4.1")
    monkeypatch.setenv("PATH", f"{other.bin}:{os.environ['PATH']}")
    with pytest.raises(EnvironmentFailed, match=r"gives Python 3\.4\.1, and the pipeline is saved"):
        save(pipelines.double, str(artifact))


def test_without_conda_pack_it_says_what_to_install(
    conda: Conda, small: None, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "conda_pack", None)
    with pytest.raises(EnvironmentFailed, match=r"pip install 'tempo_runtime\[environment\]'"):
        save(pipelines.double, str(artifact))
