"""The pipelines that users read first pass strict type checkers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tempo_runtime.cli.project import create

pytest.importorskip("mypy")
pytest.importorskip("pyright")
ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
_BLOCK = re.compile(r"```(?:python|py)[^\n]*\n(.*?)```", re.S)
_PIPELINE = re.compile(r"^@(?:\w+\.)?(?:pipeline|model)\(", re.M)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every whole pipeline of README and docs, and what `tempo-runtime init` writes."""
    folder = tmp_path_factory.mktemp("shown")
    for page in PAGES:
        for number, block in enumerate(_BLOCK.findall(page.read_text())):
            if _PIPELINE.search(block) and "import" in block:
                (folder / f"{page.stem.replace('-', '_')}_{number}.py").write_text(block)
    assert len(list(folder.glob("*.py"))) > 2
    create("shop", str(folder / "project"))
    for path in (folder / "project").rglob("*.py"):
        path.rename(folder / path.name)
    return folder


def test_shown_pipelines_pass_mypy_strict(shown: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(ROOT / ".mypy_cache")]
    options = ["--config-file", str(ROOT / "pyproject.toml"), *map(str, sorted(shown.glob("*.py")))]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_shown_pipelines_pass_pyright_strict(shown: Path) -> None:
    # The stubs of joblib and scikit-learn, which a project's training uses, are not complete.
    strict = [path.name for path in sorted(shown.glob("*.py")) if path.name != "train.py"]
    config = shown / "pyrightconfig.json"
    config.write_text(
        json.dumps({"include": ["*.py"], "strict": strict, "extraPaths": [str(ROOT)]})
    )
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "-p", str(config)]
    done = subprocess.run(command, cwd=shown, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
