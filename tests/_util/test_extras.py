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
        (
            {
                "url": "https://example.com/x.git",
                "vcs_info": {"vcs": "git", "commit_id": "7fd1a60b01f91b314f59955a4e4d4e80d8edf11d"},
            },
            "pip install 'tempo_runtime[k8s] @ git+https://example.com/x.git"
            "@7fd1a60b01f91b314f59955a4e4d4e80d8edf11d'",
        ),
        (
            {"url": "https://example.com/tempo_runtime-0.1.0.tar.gz", "archive_info": {}},
            "pip install 'tempo_runtime[k8s] @ https://example.com/tempo_runtime-0.1.0.tar.gz'",
        ),
    ],
    ids=["an index", "a folder", "an editable folder", "a wheel", "a repository", "an archive"],
)
def test_the_command_installs_from_the_same_place(origin: dict[str, Any], command: str) -> None:
    assert extras._command("k8s", origin) == command


def test_without_an_extra_it_installs_the_package_alone() -> None:
    assert extras._command(None, {}) == "pip install 'tempo_runtime'"
    clone = {"url": "file:///home/ada/clone", "dir_info": {}}
    assert extras._command(None, clone) == "pip install '/home/ada/clone'"


def test_in_a_clone_it_names_the_clone() -> None:
    assert extras.command("k8s").endswith("[k8s]'")
