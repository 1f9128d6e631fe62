"""docs/architecture.md names files that are there, and tests mirror the package."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tempo_runtime"
BESIDE = {"cluster", "containers", "data", "errors", "fidelity", "fuzz", "helpers", "integration"}
BESIDE |= {"benchmarks", "examples", "integrity", "interop", "typing", "scripts"}


def test_every_file_that_the_architecture_names_exists() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    packages = {folder.name for folder in PACKAGE.iterdir() if folder.is_dir()}
    named = {
        path
        for path in re.findall(r"`([a-z_]+(?:/[a-z_0-9]+)+/?(?:\.py)?)`", text)
        if path.partition("/")[0] in packages
    }
    assert len(named) > 30
    missing = {
        path
        for path in named
        if not (PACKAGE / path).exists() and not (PACKAGE / path).with_suffix(".py").exists()
    }
    assert missing == set()


def test_folders_of_tests_mirror_the_package() -> None:
    tests = ROOT / "tests"
    folders = {
        str(folder.relative_to(tests))
        for folder in tests.rglob("*")
        if folder.is_dir() and "__pycache__" not in folder.parts
    }
    unknown = {
        folder
        for folder in folders
        if folder.partition("/")[0] not in BESIDE and not (PACKAGE / folder).is_dir()
    }
    assert unknown == set()
