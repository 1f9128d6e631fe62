"""`tempo-runtime graph`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tempo_runtime import save
from tests.helpers import pipelines
from tests.helpers.command_line import run

SECRETS = {
    "TEMPO_RUNTIME_BASE_URL": "http://models:8080",
    "TEMPO_RUNTIME_MODELS__DOUBLE__HEADERS": '{"authorization": "Bearer SECRET"}',
    "TEMPO_RUNTIME_PROXY": "http://me:SECRET@proxy",
}


@pytest.fixture
def artifact(tmp_path: Path) -> str:
    return save(pipelines.SyncParent, str(tmp_path / "parent"))


@pytest.mark.parametrize("options", [(), ("--format", "mermaid"), ("--format", "svg"), ("--json",)])
def test_a_graph_shows_urls_and_no_secrets(
    options: tuple[str, ...], artifact: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    code, printed, told = run("graph", artifact, *options)
    assert code == 0
    assert "sync-parent" in printed
    assert "http://models:8080" in printed
    assert "SECRET" not in printed + told


def test_a_tree_is_for_people(artifact: str) -> None:
    _, printed, _ = run("graph", artifact)
    first, second, third = printed.splitlines()
    assert first.startswith("sync-parent  pipeline")
    assert second == "└── double: double  custom, same server"
    assert third == "    ✗ it has no folder"


@pytest.mark.parametrize(
    ("name", "begins"), [("g.svg", "<svg"), ("g.mmd", "flowchart LR"), ("g.txt", "sync-parent")]
)
def test_the_extension_of_the_file_chooses_the_format(
    name: str, begins: str, artifact: str, tmp_path: Path
) -> None:
    assert run("graph", artifact, "-o", tmp_path / name) == (0, "", "")
    assert (tmp_path / name).read_text().startswith(begins)


def test_a_pipeline_of_a_module_is_drawn() -> None:
    code, printed, _ = run("graph", "tests.helpers.pipelines:grandparent", "--json")
    assert code == 0
    assert [edge["alias"] for edge in json.loads(printed)["edges"]] == ["parent", "aparent"]


@pytest.mark.parametrize(
    ("target", "expected", "told"),
    [
        ("nowhere", 2, "'nowhere' is neither a folder nor MODULE:NAME, such as shop:Shop"),
        ("no_such_module:X", 2, "there is no module 'no_such_module'"),
        ("tests.helpers.pipelines:nothing", 2, "has no attribute 'nothing'"),
        ("tests.helpers.pipelines:Order", 1, "is not a pipeline"),
        ("own_fault:X", 1, "cannot be imported: ZeroDivisionError"),
    ],
)
def test_an_invalid_target_is_reported(
    target: str, expected: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_fault.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    code, _, said = run("graph", target)
    assert code == expected
    assert told in said
    assert "Traceback" not in said


def test_an_empty_folder_is_reported(tmp_path: Path) -> None:
    code, _, said = run("graph", tmp_path)
    assert (code, said.count("\n")) == (1, 1)
    assert "there is no artifact in" in said
