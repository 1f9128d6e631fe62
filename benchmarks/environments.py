"""Measure environments: saving with one, saving again, packing compared with venv-pack and conda-pack.

    python benchmarks/environments.py [--quick]

It needs venv-pack: `pip install venv-pack2`.

The pipeline is the income explainer's kind: alibi, scikit-learn, MLServer. `--quick` leaves alibi out.
conda-pack gets a prefix made of a copy of this Python with the same packages and conda's records, because
conda itself may not be here; it packs it as any other.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import numpy as np

from tempo_runtime import pipeline, predictmethod, save
from tempo_runtime.artifact.environment import cache, venv
from tempo_runtime.artifact.environment.unpacking import unpack

QUICK = ["scikit-learn", "mlserver-sklearn"]
WHOLE = ["alibi==0.9.6", *QUICK]
REPEATS = 3


def timed(work):
    start = time.monotonic()
    with contextlib.redirect_stderr(io.StringIO()):
        work()
    return time.monotonic() - start


def size(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:6.1f} MB"


def saving(folder: Path, packages: list[str]) -> None:
    artifact = folder / "artifact"
    artifact.mkdir()
    (artifact / "requirements.txt").write_text("\n".join(packages) + "\n")

    @pipeline("mean", local_folder=str(artifact))
    class Mean:
        @predictmethod
        def mean(self, x: np.ndarray) -> float:
            return float(np.mean(x))

    first = timed(lambda: save(Mean))
    again = [timed(lambda: save(Mean)) for _ in range(REPEATS)]
    (artifact / "environment.lock").unlink()
    resolved = timed(lambda: save(Mean))
    print(f"save, first                      {first:7.2f} s")
    print(
        f"save, nothing changed            {min(again):7.2f} s   1/{first / min(again):.0f} of it"
    )
    print(f"save, lock removed, in the cache {resolved:7.2f} s")
    print(f"environment.tar.gz              {size(artifact / cache.TARBALL)}")
    print("(packages were in uv's cache before, or not: run it twice to compare)\n")


def packing(folder: Path, packages: list[str]) -> None:
    import conda_pack
    import venv_pack

    from tempo_runtime import __version__
    from tempo_runtime.artifact.environment import wheel
    from tempo_runtime.artifact.environment.sources import Needs

    wheels = folder / "wheels"
    wheel.build(str(wheels))
    needs = Needs(
        "venv", "the benchmark", "\n".join(packages) + "\n", (f"tempo-runtime=={__version__}",)
    )
    lock = folder / "lock"
    lock.write_text(venv.resolve(needs, str(wheels), str(folder)))
    prefix = folder / "prefix"
    venv.make(str(lock), str(wheels), str(prefix))
    conda = folder / "conda"
    as_conda(prefix, conda)
    out = folder / "out"
    out.mkdir()
    total = sum(file.stat().st_size for file in prefix.rglob("*") if file.is_file())
    print(f"packing the same packages, {total / 1e6:.0f} MB, one after the other:")
    packed = out / cache.TARBALL
    print_row("ours, venv", lambda: venv.pack(str(prefix), str(out), {}), packed)
    other = out / "venv-pack.tar.gz"
    print_row(
        "venv-pack", lambda: venv_pack.pack(str(prefix), output=str(other), force=True), other
    )
    other = out / "conda-pack.tar.gz"
    # What `save` calls for a conda prefix, so there is no other figure to compare it with.
    print_row(
        "conda-pack",
        lambda: conda_pack.pack(prefix=str(conda), output=str(other), n_threads=-1, force=True),
        other,
    )


def importing(folder: Path, packed: Path) -> None:
    """Measure the use of bytecode in the tarball, which MLServer unpacks again at each start."""
    prefix = folder / "unpacked"
    python = unpack(str(packed), str(prefix))
    command = [python, "-c", "import mlserver, sklearn"]
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    run = functools.partial(subprocess.run, command, env=environ, check=True)
    with_bytecode = min(timed(run) for _ in range(REPEATS))
    for compiled in prefix.rglob("__pycache__"):
        shutil.rmtree(compiled)
    without = min(timed(run) for _ in range(REPEATS))
    print(f"import mlserver, sklearn: {with_bytecode:.2f} s, without bytecode {without:.2f} s\n")


def print_row(name: str, work, packed: Path) -> None:
    times = [timed(work) for _ in range(REPEATS)]
    print(f"{name:12} {min(times):6.2f} s (of {REPEATS})  {size(packed)}")


def as_conda(prefix: Path, conda: Path) -> None:
    """A prefix with this Python in it, and the packages of the other."""
    version = sysconfig.get_python_version()
    library = f"lib/python{version}"
    ignored = shutil.ignore_patterns("*-packages", "test", "__pycache__", "config-*")
    shutil.copytree(Path(sys.base_prefix) / library, conda / library, ignore=ignored)
    (conda / "bin").mkdir()
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


def main() -> None:
    packages = QUICK if "--quick" in sys.argv else WHOLE
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ[cache.VARIABLE] = str(folder / "cache")
        saving(folder, packages)
        importing(folder, folder / "artifact" / cache.TARBALL)
        packing(folder, packages)


if __name__ == "__main__":
    main()
