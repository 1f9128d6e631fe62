"""Making and packing a virtual environment, the cache, and what goes wrong on the way."""

from __future__ import annotations

import gzip
import io
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tempo_runtime import save
from tempo_runtime._util import atomic_files
from tempo_runtime.artifact import environment, store
from tempo_runtime.artifact.environment import (
    LOCK,
    TARBALL,
    cache,
    gzip_stream,
    sources,
    tools,
    venv,
)
from tempo_runtime.artifact.environment.relocation import relocated
from tempo_runtime.artifact.environment.sources import Needs
from tempo_runtime.artifact.environment.unpacking import unpack
from tempo_runtime.artifact.store import read_description
from tempo_runtime.errors import ArtifactError, EnvironmentFailed
from tests.helpers import pipelines
from tests.helpers.packed_environment import PACKAGE, Project

# One small package with nothing that serves it: seconds, where a whole one takes many.
SMALL = Needs("venv", "what the test asks for", f"{PACKAGE}\n", ())


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    """Pack only the packages that are asked for, without those that serve an artifact."""
    monkeypatch.setattr(sources, "_added", lambda *_: ())


def artifact(folder: Path, requirements: str = f"{PACKAGE}\n") -> Path:
    folder.mkdir()
    (folder / "requirements.txt").write_text(requirements)
    return Path(save(pipelines.double, str(folder)))


def digests(folder: Path) -> dict[str, str]:
    return {
        path: atomic_files.sha256_of(str(folder), path) for path in atomic_files.walk(str(folder))
    }


@pytest.mark.parametrize("maker", ["uv", "pip"])
def test_uv_and_pip_make_an_environment_that_works_elsewhere(
    maker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if maker == "pip":
        monkeypatch.setattr(tools, "find", lambda *names: None)
    lock = tmp_path / "lock"
    lock.write_text(venv.resolve(SMALL, str(tmp_path), str(tmp_path)))
    venv.make(str(lock), str(tmp_path), str(tmp_path / "made"))
    venv.pack(str(tmp_path / "made"), str(tmp_path), {"note": b"more"})
    (tmp_path / "made").rename(tmp_path / "no longer there")
    python = unpack(str(tmp_path / TARBALL), str(tmp_path / "elsewhere"))
    code = f"import {PACKAGE}, sys; print(sys.prefix, {PACKAGE}.__cached__ is not None)"
    seen = subprocess.check_output([python, "-I", "-c", code], text=True)
    assert seen.split() == [str(tmp_path / "elsewhere"), "True"]
    assert (tmp_path / "elsewhere" / "note").read_bytes() == b"more"


def test_a_second_save_takes_it_from_the_cache(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = artifact(tmp_path / "double")
    before = read_description(str(folder))
    monkeypatch.setattr(tools, "run", lambda *_: pytest.fail("a program was run"))
    save(pipelines.double, str(folder))
    assert read_description(str(folder)) == before


def test_another_artifact_of_the_same_lock_shares_it(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = artifact(tmp_path / "first"), tmp_path / "second"
    second.mkdir()
    (second / "requirements.txt").write_text(f"{PACKAGE}\n")
    (second / LOCK).write_bytes((first / LOCK).read_bytes())
    monkeypatch.setattr(tools, "run", lambda *_: pytest.fail("a program was run"))
    save(pipelines.double, str(second))
    assert (second / TARBALL).read_bytes() == (first / TARBALL).read_bytes()


def test_a_folder_may_be_relative(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/more.txt").write_text(f"{PACKAGE}\n")
    assert PACKAGE in (artifact(Path("double"), "-r ../lists/more.txt\n") / LOCK).read_text()


def test_a_lock_that_was_removed_is_resolved_again(small: None, tmp_path: Path) -> None:
    folder = artifact(tmp_path / "double")
    (folder / LOCK).unlink()
    save(pipelines.double, str(folder))
    assert (folder / LOCK).exists()


def test_saved_without_one_its_files_and_its_setting_go(small: None, tmp_path: Path) -> None:
    folder = artifact(tmp_path / "double")
    save(pipelines.double, str(folder), environment=None)
    assert not (folder / TARBALL).exists()
    assert not (folder / LOCK).exists()
    assert read_description(str(folder)).environment is None
    assert "environment_tarball" not in (folder / "model-settings.json").read_text()


def test_an_environment_packed_by_hand_stays(tmp_path: Path) -> None:
    (tmp_path / TARBALL).write_bytes(b"by hand")
    save(pipelines.double, str(tmp_path))
    assert (tmp_path / TARBALL).read_bytes() == b"by hand"


def test_a_package_that_does_not_resolve_is_refused_in_one_line_and_the_old_artifact_stays(
    small: None, tmp_path: Path
) -> None:
    folder = artifact(tmp_path / "double")
    (folder / "requirements.txt").write_text("tempo-runtime-no-such-package==7\n")
    before = digests(folder)
    with pytest.raises(EnvironmentFailed, match="tempo-runtime-no-such-package") as raised:
        save(pipelines.double, str(folder))
    assert "\n" not in str(raised.value)
    assert digests(folder) == before
    assert not [name for name in os.listdir(cache.root()) if name.startswith("building-")]


def test_an_unknown_choice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        EnvironmentFailed, match="environment is 'pip'; it is 'auto', 'conda', 'venv'"
    ):
        save(pipelines.double, str(tmp_path), environment="pip")


def test_without_conda_it_says_what_there_is_to_do(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conda.yaml").write_text("dependencies: [python=3.11]\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentFailed, match="no conda, mamba, micromamba on PATH; install one"):
        save(pipelines.double, str(tmp_path))


def test_a_save_that_is_killed_leaves_the_old_artifact_and_the_next_one_cleans_up(
    tmp_path: Path, own_cache: Path
) -> None:
    folder = tmp_path / "double"
    save(pipelines.double, str(folder))
    before = (folder / "tempo.json").read_bytes()
    code = (
        "import sys, tempo_runtime; from tests.helpers import pipelines; "
        "tempo_runtime.save(pipelines.double, sys.argv[1], environment='venv')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], start_new_session=True, stderr=subprocess.DEVNULL
    )
    root = Path(cache.root())
    try:
        while not [*root.glob("building-*/environment/bin/python")]:
            assert process.poll() is None
            signal.sigtimedwait([], 0.02)  # as long as it takes, without spinning
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert (folder / "tempo.json").read_bytes() == before
    assert not (folder / TARBALL).exists()
    assert [*root.glob("building-*")]
    with cache.building() as building:
        assert [*root.glob("building-*")] == [Path(building)]


def test_a_full_disk_is_reported_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    tiny = tmp_path / "tiny"
    tiny.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", tiny], check=False)
    if mounted.returncode != 0:
        pytest.skip("a disk that is full needs the right to mount one")
    try:
        monkeypatch.setenv(cache.VARIABLE, str(tiny))
        with pytest.raises(EnvironmentFailed, match="No space left on device"):
            artifact(tmp_path / "double")
        assert os.listdir(cache.root()) == []
        with pytest.raises(
            ArtifactError, match=r"cannot be written: No space left on device; the artifact"
        ):
            save(pipelines.double, _with_large_environment(tmp_path, tiny, monkeypatch))
    finally:
        subprocess.run(["umount", tiny], check=True)


def _with_large_environment(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    large = tmp_path / "large"
    large.write_bytes(os.urandom(4 << 20))
    described = {"maker": "venv", "python": "3.11"}
    packed = environment.Packed(str(large), "0" * 64, b"", described)
    monkeypatch.setattr(store, "prepare", lambda *_: packed)
    folder = tiny / "artifact"
    folder.mkdir()
    return str(folder)


@settings(max_examples=30)
@given(st.lists(st.binary(max_size=3000)), st.integers(1, 4))
def test_any_number_of_threads_compresses_to_the_same_single_gzip_stream(
    parts: list[bytes], threads: int
) -> None:
    size, gzip_stream._BLOCK = gzip_stream._BLOCK, 1000
    try:
        written = []
        for count in (1, threads):
            output = io.BytesIO()
            writer = gzip_stream.Writer(output, count)
            for part in parts:
                writer.write(part)
            writer.close()
            written.append(output.getvalue())
    finally:
        gzip_stream._BLOCK = size
    assert written[0] == written[1]
    assert gzip.decompress(written[0]) == b"".join(parts)


def test_a_package_of_ours_in_an_index_is_not_taken_for_this_one() -> None:
    others = "numpy==1 \\\n    --hash=sha256:ab\n"
    lock = "tempo-runtime==0.1 \\\n    --hash=sha256:cd \\\n    --hash=sha256:ef\n" + others
    expected = "tempo-runtime==0.1 \\\n    --hash=sha256:12\n" + others
    assert venv.only("tempo-runtime", "12", lock) == expected


@pytest.mark.parametrize(
    "first",
    [
        b"#!/tmp/made here/bin/python\n",
        b"#!/tmp/made here/bin/python3.11 -E\n",
        b"#!/bin/sh\n'''exec' \"/tmp/made here/bin/python3\" \"$0\" \"$@\"\n' '''\n",
    ],
)
def test_a_script_looks_for_the_python_beside_it(first: bytes, tmp_path: Path) -> None:
    (tmp_path / "python").symlink_to(sys.executable)
    script = tmp_path / "script"
    script.write_bytes(relocated(first + b"import sys\nprint(sys.argv[1:])\n", "/tmp/made here"))
    script.chmod(0o755)
    assert subprocess.check_output([script, "a b"], text=True) == "['a b']\n"


@given(st.binary())
def test_other_files_are_left_as_they_are(content: bytes) -> None:
    assert relocated(content, "/tmp/made") == content


def test_the_oldest_of_many_are_forgotten(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_KEPT", 2)
    for number, key in enumerate("abc"):
        with cache.building() as building:
            Path(building, TARBALL).write_bytes(key.encode())
            cache.add(key, building)
        os.utime(Path(cache.root(), key), (number, number))
    with cache.building() as building:
        Path(building, TARBALL).write_bytes(b"d")
        cache.add("d", building)
    assert sorted(os.listdir(cache.root())) == ["c", "d"]


def test_every_entry_of_the_tarball_belongs_to_nobody_and_has_no_time(project: Project) -> None:
    with tarfile.open(project.artifact / TARBALL) as tar:
        for entry in tar:
            assert (entry.uid, entry.gid, entry.uname) == (0, 0, "")
            assert entry.mtime == 315532800
