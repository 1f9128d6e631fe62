"""Kustomize, by itself or in kubectl: the parser of YAML that Kubernetes' own tools have."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

_COMMANDS = (["kustomize", "build"], ["kubectl", "kustomize"])


def kustomized(folder: Path) -> subprocess.CompletedProcess[str]:
    """Render a folder with kustomize; skip the test if it is not installed."""
    for command in _COMMANDS:
        if shutil.which(command[0]):
            return subprocess.run([*command, folder], capture_output=True, text=True, check=False)
    pytest.skip("there is neither kustomize nor kubectl here")
