"""Linting of whole files: lines, what is passed over, and the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempo_runtime.deploy.lint import lint, table
from tests.cli.run import run
from tests.deploy.lint.test_rules import KSERVE, SELDON
from tests.income import ROOT

SHARED = ROOT.parent / "shared"


def blocks(path: Path, start: str) -> list[str]:
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    found = re.findall(rf"^{start}\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)
    assert found
    return list(found)


def test_the_missions_own_manifest_is_reported_at_its_line() -> None:
    mission = SHARED / "mission/model-explainer-example.md"
    if not mission.is_file():
        pytest.skip(f"{mission} is not here")
    _, _, rest = mission.read_text().partition("!kustomize build k8s\n```\n\n")
    printed, _, _ = rest.partition("\n\n\n")
    text = re.sub(r"^    ", "", printed, flags=re.MULTILINE)
    (named,) = (each for each in lint(text) if each.rule == "seldon-container-name")
    assert named.severity == "error"
    assert text.splitlines()[named.line - 1].strip() == "- name: classifier"
    assert (named.kind, named.name) == ("SeldonDeployment", "income-explainer")


def test_the_platforms_examples_are_free_of_errors() -> None:
    for text in blocks(SHARED / "docs/platforms.md", "```yaml"):
        assert [each for each in lint(text) if each.severity == "error"] == []


def test_what_is_of_other_kinds_is_passed_over() -> None:
    assert lint("kind: Deployment\napiVersion: apps/v1\nmetadata: {name: UPPER}\n") == []
    assert lint("kind: Model\napiVersion: other.io/v1\nmetadata: {name: UPPER}\n") == []
    assert lint("") == []


def test_a_comment_or_an_annotation_passes_over_a_rule() -> None:
    text = SELDON.replace(
        "  protocol: kfserving\n", "  protocol: v3 # tempo-lint: disable=seldon-protocol\n"
    )
    assert lint(text) == []
    text = SELDON.replace("protocol: kfserving", "protocol: v3").replace(
        "  annotations:\n", "  annotations:\n    tempo-runtime/lint-disable: seldon-protocol\n", 1
    )
    assert lint(text) == []


@given(st.text())
def test_no_text_makes_it_fail(text: str) -> None:
    lint(text)


@given(st.data())
def test_no_manifest_that_lost_a_line_makes_it_fail(data: st.DataObject) -> None:
    lines = (SELDON + "---" + KSERVE).splitlines()
    del lines[data.draw(st.integers(0, len(lines) - 1))]
    lint("\n".join(lines))


def test_the_command_shows_where_what_then_and_the_fix(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(SELDON.replace("protocol: kfserving", "protocol: v3"))
    code, printed, _ = run("lint", path)
    assert code == 1
    line = SELDON.splitlines().index("  protocol: kfserving") + 1
    assert printed.startswith(f"{path}:{line}: error seldon-protocol: protocol 'v3' is none of")
    assert "\n    then: " in printed
    assert "\n    fix:  " in printed
    assert printed.endswith("1 error\n")
    (one,) = json.loads(run("lint", path, "--json")[1])
    assert (one["rule"], one["line"], one["path"]) == ("seldon-protocol", line, "spec.protocol")


def test_warnings_are_errors_where_they_are_to_be(tmp_path: Path) -> None:
    text = SELDON.replace("    progressDeadlineSeconds: 600\n", "")
    assert run("lint", "-", stdin=text)[0] == 0
    assert run("lint", "-", "--warnings-as-errors", stdin=text)[0] == 1
    assert run("lint", "-", stdin=SELDON) == (0, "Nothing was found\n", "")


def test_a_file_that_is_not_there_is_told() -> None:
    code, _, told = run("lint", "nowhere.yaml")
    assert code == 2
    assert "nowhere.yaml" in told
    assert run("lint")[0] == 2


def test_the_page_has_the_rules() -> None:
    assert table() in (ROOT / "docs/lint.md").read_text()
    assert run("lint", "--rules")[1] == table() + "\n"
