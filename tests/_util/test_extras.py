"""The command that installs an extra works where the package came from."""

from __future__ import annotations

from typing import Any

import pytest

from tempo_runtime._util import extras


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        ({}, "pip install 'tempo_runtime[k8s]'"),
        (
            {"url": "file:///home/ada/a%20clone", "dir_info": {}},
            "pip install '/home/ada/a clone[k8s]'",
        ),
        (
            {"url": "file:///home/ada/clone", "dir_info": {"editable": True}},
            "pip install -e '/home/ada/clone[k8s]'",
        ),
        (
            {"url": "file:///tmp/tempo_runtime-0.1.0-py3-none-any.whl", "archive_info": {}},
            "pip install 'tempo_runtime[k8s] @ file:///tmp/tempo_runtime-0.1.0-py3-none-any.whl'",
        ),
        ({"url": "https://example.com/x.git", "vcs_info": {}}, "pip install 'tempo_runtime[k8s]'"),
    ],
    ids=["an index", "a folder", "an editable folder", "a wheel", "a repository"],
)
def test_the_command_installs_from_the_same_place(origin: dict[str, Any], command: str) -> None:
    assert extras._command("k8s", origin) == command


def test_in_a_clone_it_names_the_clone() -> None:
    assert extras.command("k8s").endswith("[k8s]'")
