"""The examples of docs/testing.md run, and with them the plugin's fixtures."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tempo_runtime import testing
from tests.helpers.income import ROOT

DOC = (ROOT / "docs" / "testing.md").read_text()


def test_its_examples_pass(tmp_path: Path) -> None:
    names = []
    for name, block in re.findall(r"^```python\n# (\S+)\n(.*?)^```", DOC, re.DOTALL | re.MULTILINE):
        (tmp_path / name).write_text(block)
        names.append(name)
    tests = ["test_shop.py", "test_shop_alone.py", "conftest.py", "test_served.py"]
    assert names == ["shop.py", *tests]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "4 passed" in done.stdout, done.stdout + done.stderr


def test_it_names_everything_public() -> None:
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`[^`\n]+`", DOC))))
    assert set(testing.__all__) - named == set()
