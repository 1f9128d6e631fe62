"""Options of request logs that an author declares are in the artifact; others are as before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import AuthoringError, InsightsOptions, insights, load, model, save
from tempo_runtime.authoring.decorators import describe

OPTIONS = InsightsOptions(sink="http://logs:8080", redact=("ssn",), sample_rate=0.5)


@model("declared", insights=OPTIONS)
def declared(ssn: str) -> str:
    insights.log({"ssn": ssn})
    return ssn


def test_declared_options_are_loaded_again(tmp_path: Path) -> None:
    save(declared, str(tmp_path))
    stored = json.loads((tmp_path / "tempo.json").read_text())
    assert stored["insights"] == {
        "sink": "http://logs:8080",
        "redact": ["ssn"],
        "sample_rate": 0.5,
    }
    loaded = load(str(tmp_path))
    assert describe(loaded).details.insights == OPTIONS
    assert loaded("1-2") == "1-2"


def test_a_model_that_declares_nothing_is_stored_as_before(tmp_path: Path) -> None:
    @model("plain")
    def plain() -> int:
        return 1

    save(plain, str(tmp_path))
    assert "insights" not in json.loads((tmp_path / "tempo.json").read_text())


def test_options_of_a_later_version_do_not_keep_an_artifact_from_loading(tmp_path: Path) -> None:
    save(declared, str(tmp_path))
    path = tmp_path / "tempo.json"
    stored = json.loads(path.read_text())
    stored["insights"]["later"] = 1
    path.write_text(json.dumps(stored))
    assert describe(load(str(tmp_path))).details.insights == OPTIONS


@pytest.mark.parametrize("value", [True, {"sink": "http://logs"}])
def test_anything_but_options_is_refused(value: Any) -> None:
    with pytest.raises(
        AuthoringError, match=r"m: insights is .*an InsightsOptions; write insights="
    ):
        model("m", insights=value)


def test_a_call_without_a_server_is_not_logged() -> None:
    assert declared("1-2") == "1-2"
    insights.log(object())
