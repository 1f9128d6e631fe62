"""Whatever an artifact's JSON files hold, each command and `load` read it, or refuse it in one line."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tempo_runtime
from tempo_runtime import ArtifactDamaged, TempoError, save
from tempo_runtime.artifact import store
from tempo_runtime.cli.calling import checking
from tempo_runtime.servers import model_set, repository
from tests.fuzz import anything as some
from tests.fuzz.amounts import examples
from tests.helpers import pipelines
from tests.helpers.command_line import run

FILES = ("tempo.json", "model-settings.json", "settings.json", "example.json")
LONGEST = 1500  # characters of an error

RAW = {
    "empty": b"",
    "cut": b'{"format_version": 1, "files": {"a',
    "text": b"not JSON",
    "NUL bytes": bytes(100),
    "NUL in JSON": b'{"a": "\0"}',
    "not UTF-8": b'{"a": "\xff\xfe"}',
    "UTF-16": '{"format_version": 1}'.encode("utf-16"),
    "a list": b"[]",
    "null": b"null",
    "deep lists": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "rather deep": b'{"a":' * 200 + b"1" + b"}" * 200,
    "not closed": b"[" * 100_000,
    "a huge number": b'{"format_version": ' + b"9" * 100_000 + b"}",
    "a huge float": b'{"format_version": 1e999999}',
    "a name twice": b'{"format_version": 1, "format_version": 2}',
    "half a pair": b'{"format_version": 1, "name": "\\ud800"}',
    "half a pair as a name": b'{"\\udfff": 1}',
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact that calls another, with each of the files."""
    root = tmp_path_factory.mktemp("whole")
    folder = Path(save(pipelines.SyncParent, str(root / "parent")))
    (folder / "settings.json").write_text('{"debug": false, "parallel_workers": 0}')
    tensor = {"name": "x", "shape": [1], "datatype": "FP64", "data": [1.0]}
    example = {"request": {"inputs": [tensor]}, "response": {"model_name": "", "outputs": []}}
    (folder / "example.json").write_text(json.dumps(example))
    return folder


@contextlib.contextmanager
def damaged(whole: Path, name: str, content: bytes) -> Iterator[Path]:
    path = whole / name
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield whole
    finally:
        path.write_bytes(before)


def read_all(folder: Path) -> list[str]:
    """Return the error of reading an artifact without running it; let other exceptions through."""
    readers: list[Any] = [
        lambda: store.inspect(str(folder)),
        lambda: tempo_runtime.load(str(folder)).get_tempo().release(),
        lambda: model_set.gather([str(folder)], environ={}),
        lambda: repository.server_settings(folder),
        lambda: checking.example(str(folder)),
    ]
    told = []
    for reader in readers:
        try:
            reader()
        except TempoError as error:
            told.append(str(error))
    for text in told:
        assert len(text) < LONGEST
        assert "\n" not in text
    return told


def commands(folder: Path) -> Iterator[tuple[object, ...]]:
    """Each command that reads an artifact and starts nothing if that is damaged."""
    yield "inspect", folder
    yield "inspect", folder, "--json"
    yield "graph", folder
    yield "doctor", folder
    yield "check", folder
    yield "predict", folder, "--arg", "x=[1.0]"
    yield "serve", folder, "--port", "0"
    yield "manifest", folder
    yield "deploy", folder
    yield "upload", folder, "--digest"


@pytest.mark.parametrize("case", RAW)
def test_a_description_that_is_not_one_is_refused_by_each_command_in_one_line(
    case: str, whole: Path
) -> None:
    with damaged(whole, "tempo.json", RAW[case]) as folder:
        assert any("tempo.json" in text for text in read_all(folder))
        with pytest.raises(ArtifactDamaged):
            tempo_runtime.load(str(folder))
        for command in commands(folder):
            code, printed, told = run(*command)
            assert code == 1, (command, printed, told)
            assert "Traceback" not in printed + told
            assert "unexpected" not in told
            assert len(told.splitlines()) == 1, (command, told)
            assert told.startswith("Error: ")
            assert len(told) < LONGEST


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("case", RAW)
def test_a_file_that_is_not_json_is_refused_or_not_read(case: str, name: str, whole: Path) -> None:
    with damaged(whole, name, RAW[case]) as folder:
        read_all(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["folder", "pipe", "link to itself", "link to nothing"])
def test_anything_other_than_a_file_in_the_place_of_one_is_refused(
    kind: str, name: str, whole: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "copy"))
    (folder / name).unlink()
    make = {
        "folder": os.mkdir,
        "pipe": os.mkfifo,
        "link to itself": lambda path: os.symlink(path, path),
        "link to nothing": lambda path: os.symlink("nothing", path),
    }
    make[kind](folder / name)
    told = read_all(folder)
    assert kind == "link to nothing" or any(name in text for text in told)


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to itself", "link to nothing"])
def test_a_pickle_that_is_not_a_file_is_refused(kind: str, whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "copy"))
    (folder / "pipeline.dill").unlink()
    make = {
        "folder": os.mkdir,
        "pipe": os.mkfifo,
        "link to itself": lambda path: os.symlink(path, path),
        "link to nothing": lambda path: os.symlink("nothing", path),
    }
    make[kind](folder / "pipeline.dill")
    with pytest.raises(ArtifactDamaged, match=r"pipeline\.dill"):
        tempo_runtime.load(str(folder))


# -- other values in their places ------------------------------------------------------------------

_odd = st.one_of(
    some.anything,
    st.sampled_from(
        [
            *(None, True, -1, 10**30, 1.5, "", "a" * 5000, "\0", "../..", "/etc/passwd"),
            *("\x1b[31m", "a\nb", [], {}, [[]], {"": None}, "sha256:", "0" * 64),
            some.nested(40),
            some.nested_objects(300),
        ]
    ),
)


def _places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    parts = content.items() if isinstance(content, dict) else ()
    parts = enumerate(content) if isinstance(content, list) else parts
    for key, part in parts:
        yield from _places(part, (*path, key))


def _changed(content: Any, path: tuple[Any, ...], value: Any, action: str) -> Any:
    if not path:
        return value
    found = copy.deepcopy(content)
    holder = found
    for key in path[:-1]:
        holder = holder[key]
    if action == "remove":
        del holder[path[-1]]
    elif action == "rename" and isinstance(holder, dict):
        holder[str(value)] = holder.pop(path[-1])
    else:
        holder[path[-1]] = value
    return found


@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
@examples(25)
def test_another_value_at_any_place_is_read_or_refused(
    name: str, data: st.DataObject, whole: Path
) -> None:
    content = json.loads((whole / name).read_text())
    for _ in range(data.draw(st.integers(1, 2))):
        places = list(_places(content))
        path = data.draw(st.sampled_from(places))
        action = data.draw(st.sampled_from(["set", "set", "remove", "rename"]))
        content = _changed(content, path, data.draw(_odd), action)
    with damaged(whole, name, json.dumps(content).encode()) as folder:
        read_all(folder)
        if name == "tempo.json":
            for command in ("inspect", "graph", "manifest"):
                code, printed, told = run(command, folder)
                assert code in (0, 1)
                assert "unexpected" not in told, told
                assert "Traceback" not in printed + told
                assert "\x1b" not in printed + told


@given(content=st.binary(max_size=200))
@examples(20)
def test_any_bytes_are_refused(content: bytes, whole: Path) -> None:
    with damaged(whole, "tempo.json", content) as folder, pytest.raises(ArtifactDamaged):
        store.read_description(str(folder))
