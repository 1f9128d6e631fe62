"""`tempo-runtime lint`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tempo_runtime.lint import RULES
from tests.helpers.command_line import run
from tests.lint.manifests import SELDON


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "shop.yaml"
    path.write_text(SELDON)
    return path


def test_valid_manifests_have_no_findings(manifest: Path) -> None:
    assert run("lint", manifest) == (0, "no errors, no warnings\n", "")


def test_an_error_is_shown_with_its_line_consequence_and_fix(manifest: Path) -> None:
    manifest.write_text(SELDON.replace("protocol: v2", "protocol: v3", 1))
    code, printed, _ = run("lint", manifest)
    assert code == 1
    assert printed.split("\n")[:4] == [
        f"{manifest}:9  error  seldon-protocol  SeldonDeployment shop",
        "    spec.protocol: there is no protocol 'v3'",
        "    Consequence: The webhook refuses it: Invalid protocol.",
        "    Fix: protocol: v2 (kfserving before Core 1.13)",
    ]
    assert printed.endswith("1 error, no warnings\n")


def test_warnings_fail_only_when_asked(manifest: Path) -> None:
    manifest.write_text(SELDON.replace("registry/shop:1", "registry/shop"))
    assert run("lint", manifest)[0] == 0
    assert run("lint", manifest, "--warnings-as-errors")[0] == 1


def test_findings_can_be_printed_as_json(manifest: Path) -> None:
    manifest.write_text(SELDON.replace("registry/shop:1", "registry/shop"))
    code, printed, _ = run("lint", manifest, "--json")
    (found,) = json.loads(printed)
    assert code == 0
    assert found.pop("consequence")
    assert found.pop("fix")
    assert found == {
        "rule": "image-latest",
        "severity": "warning",
        "file": str(manifest),
        "line": 23,
        "kind": "SeldonDeployment",
        "name": "shop",
        "path": "spec.predictors[0].componentSpecs[0].spec.containers[0].image",
        "message": "'registry/shop' has no version",
    }


def test_standard_input_is_a_file() -> None:
    code, printed, _ = run("lint", "-", stdin=SELDON.replace("protocol: v2", "protocol: v3", 1))
    assert code == 1
    assert printed.startswith("-:9  error")


def test_rules_are_listed() -> None:
    code, printed, _ = run("lint", "--rules", "--json")
    assert code == 0
    assert [rule["id"] for rule in json.loads(printed)] == list(RULES)
    assert "seldon-container-name" in run("lint", "--rules")[1]


def test_a_missing_file_is_reported_on_one_line(tmp_path: Path) -> None:
    code, _, told = run("lint", tmp_path / "none.yaml")
    assert code == 2
    assert told == f"Error: {tmp_path}/none.yaml: No such file or directory; name a YAML file\n"


def test_it_needs_a_file() -> None:
    code, _, told = run("lint")
    assert code == 2
    assert "name a file, or - for standard input" in told


def test_a_folder_is_refused_with_the_command_that_renders_it(tmp_path: Path) -> None:
    code, _, told = run("lint", tmp_path)
    assert code == 2
    assert f"kustomize build {tmp_path} | tempo-runtime lint -" in told


def test_a_file_that_can_be_opened_but_not_read_is_reported() -> None:
    if not os.path.exists("/proc/self/mem"):
        pytest.skip("there is no /proc here")
    code, _, told = run("lint", "/proc/self/mem")
    assert code == 2
    assert told == "Error: /proc/self/mem: Input/output error; name a YAML file\n"
