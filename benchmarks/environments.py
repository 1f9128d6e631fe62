"""Environments: saving with one, saving again, and packing beside venv-pack and conda-pack.

The pipeline is the income explainer's kind: alibi, scikit-learn, MLServer; `--quick` leaves alibi out.
venv-pack takes part where `venv-pack2` is installed. conda-pack gets a prefix made of a copy of this
Python with the same packages and conda's records, because conda itself may not be here.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

import numpy as np

from benchmarks.harness.bench import Bench
from benchmarks.harness.turns import in_turns, ratio
from tempo_runtime import __version__, pipeline, predictmethod, save
from tempo_runtime.artifact.environment import cache, venv, wheel
from tempo_runtime.artifact.environment.sources import Needs
from tempo_runtime.artifact.environment.unpacking import unpack

QUICK = ["scikit-learn", "mlserver-sklearn"]
WHOLE = ["alibi==0.9.6", *QUICK]
TINY = ["six"]
REPEATS = 3
Work = Callable[[], object]


def run(bench: Bench) -> None:
    packages = QUICK if bench.scale.brief else WHOLE
    variables = {cache.VARIABLE: str(bench.folder / "cache")}
    bench.stack.enter_context(patch.dict(os.environ, variables))
    # A pipeline's own requirements alone would take a smoke run half a minute.
    if bench.scale.smoke:
        packing(bench, TINY, ())
        return
    if bench.wants("saving"):
        saving(bench, packages)
    if bench.wants("packing"):
        packing(bench, packages, (f"tempo-runtime=={__version__}",))


def timed(work: Work) -> float:
    start = time.monotonic()
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # conda-pack's, of a prefix that conda did not make
        work()
    return time.monotonic() - start


def size(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"


def saving(bench: Bench, packages: list[str]) -> None:
    artifact = bench.folder / "artifact"
    artifact.mkdir()
    (artifact / "requirements.txt").write_text("\n".join(packages) + "\n")

    @pipeline("mean", local_folder=str(artifact))
    class Mean:
        @predictmethod
        def mean(self, x: np.ndarray) -> float:
            return float(np.mean(x))

    bench.status("saving")
    first = timed(lambda: save(Mean))
    again = [timed(lambda: save(Mean)) for _ in range(REPEATS)]
    (artifact / "environment.lock").unlink()
    resolved = timed(lambda: save(Mean))
    packed = artifact / cache.TARBALL
    bench.report.note(
        f"save, first: {first:.1f} s; nothing changed: {min(again):.2f} s; lock removed, in the cache: "
        f"{resolved:.1f} s; environment.tar.gz: {size(packed)} (a first save is faster if uv has the "
        "packages in its cache)"
    )
    compared = ratio(again, [first] * REPEATS)
    bench.report.claim("save with an environment, nothing changed / first", "time", compared)
    importing(bench, packed)


def importing(bench: Bench, packed: Path) -> None:
    """Measure the use of bytecode in the tarball, which MLServer unpacks again at each start."""
    prefix = bench.folder / "unpacked"
    python = unpack(str(packed), str(prefix))
    command = [python, "-c", "import mlserver, sklearn"]
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    start = functools.partial(subprocess.run, command, env=environ, check=True)
    with_bytecode = [timed(start) for _ in range(REPEATS)]
    for compiled in prefix.rglob("__pycache__"):
        shutil.rmtree(compiled)
    without = [timed(start) for _ in range(REPEATS)]
    what = "import mlserver, sklearn: with the bytecode of the tarball / without"
    bench.report.claim(what, "time", ratio(with_bytecode, without))


def packing(bench: Bench, packages: list[str], own: tuple[str, ...]) -> None:
    import conda_pack

    folder = bench.folder
    bench.status("packing")
    wheels = folder / "wheels"
    if own:
        wheel.build(str(wheels))
    else:
        wheels.mkdir()
    needs = Needs("venv", "the benchmark", "\n".join(packages) + "\n", own)
    lock = folder / "lock"
    lock.write_text(venv.resolve(needs, str(wheels), str(folder)))
    prefix, conda, out = folder / "prefix", folder / "conda", folder / "out"
    venv.make(str(lock), str(wheels), str(prefix))
    as_conda(prefix, conda, whole=not bench.scale.smoke)
    out.mkdir()
    files = {
        "ours": out / cache.TARBALL,
        "conda-pack": out / "conda-pack.tar.gz",
        "venv-pack": out / "venv-pack.tar.gz",
    }
    ways: dict[str, Work] = {
        "ours": lambda: venv.pack(str(prefix), str(out), {}),
        "conda-pack": lambda: conda_pack.pack(
            prefix=str(conda), output=str(files["conda-pack"]), n_threads=-1, force=True
        ),
    }
    if find_spec("venv_pack"):
        venv_pack = importlib.import_module("venv_pack")
        ways["venv-pack"] = lambda: venv_pack.pack(
            str(prefix), output=str(files["venv-pack"]), force=True
        )
    else:
        bench.report.note("without venv-pack: venv-pack2 is not installed")
    turns = {name: functools.partial(timed, way) for name, way in ways.items()}
    found = in_turns(turns, min(REPEATS, bench.scale.rounds))
    total = sum(file.stat().st_size for file in prefix.rglob("*") if file.is_file())
    table = [(name, f"{min(times):.2f}", size(files[name])) for name, times in found.items()]
    bench.report.table((f"{total / 1e6:.0f} MB packed", "s", "size"), table)
    for name in (name for name in ways if name != "ours"):
        what = f"packing an environment, ours / {name}"
        bench.report.claim(what, "time", ratio(found["ours"], found[name]))


def as_conda(prefix: Path, conda: Path, whole: bool) -> None:
    """Make a prefix with the packages of another, and with this Python if it should be whole."""
    version = sysconfig.get_python_version()
    library = f"lib/python{version}"
    ignored = shutil.ignore_patterns("*-packages", "test", "__pycache__", "config-*")
    if whole:
        shutil.copytree(Path(sys.base_prefix) / library, conda / library, ignore=ignored)
    (conda / "bin").mkdir(parents=True)
    shutil.copy(os.path.realpath(sys.executable), conda / f"bin/python{version}")
    (conda / "bin/python").symlink_to(f"python{version}")
    files = [str(path.relative_to(conda)) for path in conda.rglob("*") if path.is_file()]
    shutil.copytree(prefix / library / "site-packages", conda / library / "site-packages")
    meta = conda / "conda-meta"
    meta.mkdir()
    (meta / "history").touch()
    record = {"name": "python", "version": version, "build": "0", "build_number": 0}
    paths = [{"_path": name, "path_type": "hardlink"} for name in files]
    record |= {"channel": "x", "url": "x", "files": files, "link": {"source": "", "type": 1}}
    record |= {"paths_data": {"paths_version": 1, "paths": paths}}
    (meta / "python-0.json").write_text(json.dumps(record))
