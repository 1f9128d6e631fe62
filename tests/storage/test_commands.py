"""`tempo-runtime upload` and `tempo-runtime download`."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.helpers.artifacts import answer
from tests.helpers.command_line import run
from tests.storage.conftest import Save
from tests.storage.s3 import S3

MODULE = """
from tempo_runtime import Model
forest = Model("forest", local_folder="forest", uri={uri!r})
"""


def test_an_artifact_goes_to_a_uri_and_back(s3: S3, uri: str, save: Save, tmp_path: Path) -> None:
    folder = save("here")
    code, printed, told = run("upload", str(folder), uri)
    assert (code, printed) == (0, "")
    assert told.splitlines()[-2].startswith(f"✓ {folder} is at {uri} (3 files, ")
    code, printed, told = run("download", uri, str(tmp_path / "got"))
    assert (code, printed) == (0, "")
    assert told.splitlines()[-2].startswith(f"✓ {uri} is in {tmp_path / 'got'} (3 files, ")
    assert answer(tmp_path / "got") == "here"


def test_the_last_line_of_each_is_a_command_that_works(
    s3: S3, uri: str, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save("here")
    monkeypatch.chdir(tmp_path)
    line = run("upload", str(folder), uri)[2].splitlines()[-1]
    assert line == f"  Get it anywhere:  tempo-runtime download {uri} copies/{folder.name}"
    code, _, told = run(*shlex.split(line.rpartition("  ")[2])[1:])
    assert code == 0
    line = told.splitlines()[-1]
    assert line == f"  Check it:  tempo-runtime check copies/{folder.name}"
    assert run(*shlex.split(line.rpartition("  ")[2])[1:])[0] == 0


def test_the_digest_goes_into_the_uri_where_that_is_asked_for(
    s3: S3, uri: str, save: Save, tmp_path: Path
) -> None:
    folder = save("here")
    code, printed, _ = run("upload", folder, uri, "--digest", "--json")
    assert code == 0
    named = json.loads(printed)["uri"]
    assert re.fullmatch(rf"{re.escape(uri)}@sha256:[0-9a-f]{{64}}", named)
    assert (
        run("upload", folder, uri, "--digest")[2]
        .splitlines()[0]
        .endswith(f" is at {named} (unchanged)")
    )
    assert run("download", named, tmp_path / "got")[0] == 0
    assert answer(tmp_path / "got") == "here"


def test_an_upload_that_is_already_there_is_reported(s3: S3, uri: str, save: Save) -> None:
    folder = save("here", uri=uri)
    run("upload", str(folder))
    next_line = f"  Get it anywhere:  tempo-runtime download {uri} copies/{folder.name}\n"
    told = f"✓ {folder} is at {uri} (unchanged)\n{next_line}"
    assert run("upload", str(folder)) == (0, "", told)


def test_the_result_can_be_printed_as_json(s3: S3, uri: str, save: Save) -> None:
    folder = save("here", gone=b"gone")
    run("upload", str(folder), uri)
    (folder / "gone").unlink()
    save("there")
    code, printed, _ = run("upload", str(folder), uri, "--json")
    assert code == 0
    done = json.loads(printed)
    assert done.pop("bytes") > 0
    sent = ["pipeline.dill", "tempo.json"]
    named = {"folder": str(folder), "uri": uri}
    assert done == {**named, "sent": sent, "removed": ["gone"], "pruned": []}


def test_a_name_in_a_module_is_imported(
    s3: S3, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("declared_here.py").write_text(MODULE.format(uri=uri))
    Path("forest").mkdir()
    Path("forest/model.joblib").write_bytes(b"model")
    assert run("upload", "declared_here:forest")[0] == 0
    Path("forest/model.joblib").unlink()
    assert run("download", "declared_here:forest")[0] == 0
    assert Path("forest/model.joblib").read_bytes() == b"model"


def test_a_failed_upload_is_one_line_and_exits_with_1(s3: S3, save: Save) -> None:
    folder = save("here")
    told = f"Error: {folder}: there is no uri to upload it to; give one\n"
    assert run("upload", str(folder)) == (1, "", told)
    code, printed, told = run("upload", str(folder), "s3://absent/x")
    assert (code, printed) == (1, "")
    assert told == (
        "Error: s3://absent/x: there is no bucket 'absent'; create it (`rclone mkdir s3:absent`), or "
        "correct the uri\n"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["download", "no-uri", "got"], "'no-uri' is neither a folder nor MODULE:NAME"),
        (["upload", "absent_module:x"], "there is no module 'absent_module' here"),
        (["upload", "json:absent"], "module 'json' has no attribute 'absent'"),
    ],
)
def test_a_command_that_was_not_understood_exits_with_2(arguments: list[str], words: str) -> None:
    code, _, told = run(*arguments)
    assert code == 2
    assert words in told


def test_the_help_has_examples_one_a_line() -> None:
    for command in ("upload", "download", "inspect"):
        _, printed, _ = run(command, "--help")
        assert "Example" in printed
        assert [line for line in printed.splitlines() if line.startswith("      tempo-runtime ")]
        assert "\\b" not in printed
