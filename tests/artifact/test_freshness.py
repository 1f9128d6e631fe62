"""Whether an artifact is still what its pipeline would be saved as."""

# mypy: disable-error-code="no-any-return, attr-defined"

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import types
import unittest.mock
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tempo_runtime
from tempo_runtime import ArtifactError, model, predictmethod
from tempo_runtime.artifact.freshness import check_uploaded, ensure
from tests.helpers.artifacts import answer, contents
from tests.helpers.source_tree import imported
from tests.helpers.source_tree import source_tree as source_tree  # a fixture

Tree = Callable[..., Path]

GOOD = """
from __future__ import annotations
import os
from tempo_runtime import PipelineModels, pipeline, predictmethod
from own.limits import LIMIT
from own.petals import petals

HERE = os.path.dirname(__file__)

@pipeline(
    "flowers",
    local_folder=os.path.join(HERE, "flowers"),
    models=PipelineModels(petals=petals),
)
class Flowers:
    def __init__(self, more: int = 1) -> None:
        self.more = more

    @predictmethod
    def predict(self, value: int) -> int:
        return self.models.petals(value) + LIMIT + self.more
"""
PETALS = """
import os
from tempo_runtime import model

@model("petals", local_folder=os.path.join(os.path.dirname(__file__), "petals"))
def petals(value: int) -> int:
    return value
"""
FILES = {
    "own/__init__.py": "",
    "own/limits.py": "LIMIT = 5\n",
    "own/petals.py": PETALS,
    "own/good.py": GOOD,
}


@pytest.fixture
def root(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source tree with a pipeline and its child, both saved; the current folder."""
    folder = tree(FILES)
    monkeypatch.chdir(folder)
    good = imported("own.good")
    tempo_runtime.save(good.petals)
    tempo_runtime.save(good.Flowers)
    return folder


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "tempo.json").read_text())


def edited(tree: Tree, file: str, old: str, new: str) -> Any:
    """The pipelines' module, imported again once a file of the tree has been edited."""
    tree({**FILES, file: FILES[file].replace(old, new)})
    return imported("own.good")


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if "saved it again" in each.getMessage()]


def test_an_unchanged_artifact_is_left_as_it_is(root: Path) -> None:
    before = contents(root / "own/flowers")
    ensure(imported("own.good").Flowers)
    assert contents(root / "own/flowers") == before


def test_a_module_that_was_edited_is_named_and_saved_again(
    root: Path, tree: Tree, caplog: pytest.LogCaptureFixture
) -> None:
    ensure(edited(tree, "own/limits.py", "5", "6").Flowers)
    assert told(caplog) == ["own/limits.py changed since own/flowers was saved; saved it again"]
    assert (root / "own/flowers/code/own/limits.py").read_text() == "LIMIT = 6\n"


def test_it_is_refused_where_that_is_asked_for(root: Path, tree: Tree) -> None:
    good = edited(tree, "own/limits.py", "5", "6")
    before = contents(root / "own/flowers")
    with pytest.raises(ArtifactError, match=r"own/limits\.py changed since own/flowers was saved"):
        ensure(good.Flowers, "refuse")
    assert contents(root / "own/flowers") == before


def test_uploading_a_stale_artifact_is_refused_with_the_command(root: Path, tree: Tree) -> None:
    good = edited(tree, "own/limits.py", "5", "6")
    with pytest.raises(ArtifactError, match=r"do `tempo-runtime upload own\.good:Flowers` first"):
        check_uploaded(good.Flowers)


def test_the_state_of_an_instance_counts(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = imported("own.good")
    flowers = good.Flowers(more=2)
    ensure(flowers)
    assert len(told(caplog)) == 1
    assert tempo_runtime.load("own/flowers").predict(1) == 8
    ensure(flowers)
    assert len(told(caplog)) == 1


def test_the_state_of_an_instance_is_not_lost_for_its_class(root: Path) -> None:
    good = imported("own.good")
    tempo_runtime.save(good.Flowers(more=2))
    before = contents(root / "own/flowers")
    with pytest.raises(ArtifactError, match=r"an instance was saved there, and its state would be"):
        ensure(good.Flowers)
    assert contents(root / "own/flowers") == before
    tempo_runtime.save(good.Flowers)
    ensure(good.Flowers)


def test_saving_a_class_over_an_instance_warns_that_its_state_is_dropped(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = imported("own.good")
    tempo_runtime.save(good.Flowers(more=2))
    tempo_runtime.save(good.Flowers(more=3))
    assert "drops" not in caplog.text
    tempo_runtime.save(good.Flowers)
    tempo_runtime.save(good.Flowers)
    assert caplog.text.count("saving its class over it drops the instance's state") == 1


def test_a_child_that_is_an_object_of_this_process_is_saved_again(
    root: Path, tree: Tree, caplog: pytest.LogCaptureFixture
) -> None:
    ensure(edited(tree, "own/petals.py", "return value", "return value * 2").Flowers)
    assert [each.split(" was saved")[0] for each in told(caplog)] == [
        "own/petals.py changed since own/petals",
        "own/petals.py changed since own/flowers",
    ]
    assert tempo_runtime.load("own/petals")(3) == 6


def test_a_child_that_is_at_a_url_is_left_as_it_is(root: Path, tree: Tree) -> None:
    good = edited(tree, "own/petals.py", "return value", "return value * 2")
    before = contents(root / "own/petals")
    ensure(good.Flowers, environ={"TEMPO_RUNTIME_MODELS__PETALS__URL": "http://localhost:1"})
    assert contents(root / "own/petals") == before


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ('"flowers",\n', '"flowers",\n    uri="s3://flowers",\n', "the uri"),
        ("value: int) -> int", "value: int) -> float", "the signature"),
        ("petals=petals", "leaves=petals", "the children"),
    ],
)  # fmt: skip
def test_a_changed_declaration_counts_as_a_change(
    root: Path, tree: Tree, old: str, new: str, part: str
) -> None:
    good = edited(tree, "own/good.py", old, new)
    with pytest.raises(ArtifactError, match=rf"own/good\.py, {part} changed since"):
        ensure(good.Flowers, "refuse", {})


def test_a_file_of_its_folder_counts(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "own/flowers/weights").write_text("new")
    ensure(imported("own.good").Flowers)
    assert told(caplog) == ["weights changed since own/flowers was saved; saved it again"]
    tempo_runtime.load("own/flowers").get_tempo().release()


@pytest.mark.parametrize("damaged", ["pipeline.dill", "code/own/limits.py"])
def test_an_artifact_that_was_damaged_is_saved_again(root: Path, damaged: str) -> None:
    (root / "own/flowers" / damaged).write_text("damaged")
    ensure(imported("own.good").Flowers)
    tempo_runtime.load("own/flowers").get_tempo().release()


def test_a_folder_is_what_it_is(root: Path, tree: Tree) -> None:
    edited(tree, "own/limits.py", "5", "6")
    before = contents(root / "own/flowers")
    ensure("own/flowers", "refuse")
    assert contents(root / "own/flowers") == before


def test_a_pipeline_loaded_from_an_artifact_is_that_artifact(root: Path, tree: Tree) -> None:
    loaded = tempo_runtime.load("own/flowers")
    edited(tree, "own/limits.py", "5", "6")
    ensure(loaded, "refuse")


def test_where_nothing_was_saved_nothing_is(root: Path, tmp_path: Path) -> None:
    @model("new", local_folder=str(tmp_path / "new"))
    def new() -> int:
        return 1

    ensure(new)
    assert not (tmp_path / "new").exists()


def test_an_artifact_of_before_this_was_recorded_is_compared_by_what_it_holds(
    root: Path, tree: Tree
) -> None:
    for folder in (root / "own/flowers", root / "own/petals"):
        old = manifest(folder)
        del old["source"]
        (folder / "tempo.json").write_text(json.dumps(old))
    ensure(imported("own.good").Flowers, "refuse")
    good = edited(tree, "own/limits.py", "5", "6")
    with pytest.raises(ArtifactError, match=r"own/limits\.py changed"):
        ensure(good.Flowers, "refuse")


def keys(folder: Path) -> tuple[str, str]:
    private, public = folder / "key.pem", folder / "key.pub"
    for command in (
        ["genpkey", "-algorithm", "ed25519", "-out", str(private)],
        ["pkey", "-in", str(private), "-pubout", "-out", str(public)],
    ):
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    return str(private), str(public)


def test_a_signed_artifact_is_refused_with_how_to_sign(
    root: Path, tree: Tree, tmp_path: Path
) -> None:
    private, _ = keys(tmp_path)
    tempo_runtime.save(imported("own.good").Flowers, sign=private)
    good = edited(tree, "own/limits.py", "5", "6")
    before = contents(root / "own/flowers")
    with pytest.raises(
        ArtifactError, match=r"the artifact is signed, .*: save\(\.\.\., sign=KEY\)"
    ):
        ensure(good.Flowers)
    assert contents(root / "own/flowers") == before


def test_an_artifact_without_the_demanded_digest_is_not_saved(root: Path, tree: Tree) -> None:
    digest = tempo_runtime.artifact.store.inspect("own/flowers").digest
    good = edited(tree, "own/limits.py", "5", "6")
    before = contents(root / "own/flowers")
    with pytest.raises(
        ArtifactError, match=r"own/limits\.py changed .* is not saved again: .*demands"
    ):
        ensure(good.Flowers, environ={"TEMPO_RUNTIME_EXPECTED_DIGEST": digest})
    assert contents(root / "own/flowers") == before


# -- the file on the disk, and the module in memory -------------------------------------------------


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [("own/limits.py", "5", "6"), ("own/good.py", "+ self.more", "+ 2 * self.more")],
)
def test_a_module_that_changed_on_disk_since_it_was_imported_is_refused(
    root: Path, file: str, old: str, new: str
) -> None:
    good = imported("own.good")
    (root / file).write_text(FILES[file].replace(old, new))
    said = rf"{file} changed on disk since it was imported: restart Python, or reload"
    with pytest.raises(ArtifactError, match=said):
        ensure(good.Flowers)
    with pytest.raises(ArtifactError, match=said):
        tempo_runtime.save(good.Flowers)


def test_once_it_is_reloaded_it_is_saved(root: Path) -> None:
    limits, good = imported("own.limits"), imported("own.good")
    (root / "own/limits.py").write_text("LIMIT = 6\n")
    importlib.reload(limits)
    good = importlib.reload(good)
    ensure(good.Flowers)
    assert (root / "own/flowers/code/own/limits.py").read_text() == "LIMIT = 6\n"


@pytest.mark.parametrize("is_replaced", [True, False])
def test_code_that_autoreload_put_into_a_module_counts_as_its_files(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_replaced: bool
) -> None:
    text = "def add(value):\n    return value + 1\n"
    folder = tree({"own/__init__.py": "", "own/plus.py": text})
    plus = imported("own.plus")

    @model("adds", local_folder=str(tmp_path / "adds"))
    def adds(value: int) -> int:
        return plus.add(value)

    name = "IPython.extensions.autoreload"
    monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    (folder / "own/plus.py").write_text(text.replace("1", "2"))
    if is_replaced:
        scope: dict[str, Any] = {}
        exec(compile(text.replace("1", "2"), plus.__file__, "exec"), scope)
        plus.add.__code__ = scope["add"].__code__
        tempo_runtime.save(adds)
        assert tempo_runtime.load(str(tmp_path / "adds"))(1) == 3
    else:
        with pytest.raises(ArtifactError, match=r"own/plus\.py changed on disk"):
            tempo_runtime.save(adds)


CONFIG = """
from __future__ import annotations
import enum
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace

LIMIT = 2 * 5
TABLE = {"a": 1}
FROM_ENVIRONMENT = int("3")
calls = 0
cache = {}

@dataclass(slots=True)
class Point:
    x: int = 3

@dataclass
class Options:
    factor: int = 2
    names: list[str] | None = None

class Color(enum.Enum):
    RED = 1

class Plain:
    unit = 1

    @cached_property
    def twice(self):
        return 2 * self.unit

    def other(self):
        return self.unit

options = Options(factor=3)
space = SimpleNamespace(limit=4)
plain = Plain()

def count(value):
    global calls
    calls += 1
    cache[value] = calls
    return plain.twice + Point().x

def add(value):
    return value + LIMIT + TABLE["a"]
"""


def configured(tree: Tree) -> tuple[Any, Any]:
    tree({"own/__init__.py": "", "own/config.py": CONFIG})
    config = imported("own.config")

    @model("configured")
    def predict(value: int) -> int:
        return config.add(value)

    return config, predict


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("config.LIMIT = 3", "LIMIT"),
        ("config.LIMIT = None", "LIMIT"),
        ("config.TABLE['a'] = 2", "TABLE"),
        ("config.TABLE['b'] = 2", "TABLE"),
        ("config.Plain.unit = 5", "Plain.unit"),
        ("config.Plain.other = lambda self: 7", "Plain.other"),
        ("config.add = lambda value: 7", "add"),
        ("config.add = unittest.mock.Mock()", "add"),
        ("config.options.factor = 7", "options.factor"),
        ("config.space.limit = 7", "space.limit"),
        ("config.space.more = 7", "space.more"),
        ("config.plain.unit = 7", "plain.unit"),
    ],
)
def test_a_value_set_on_a_module_since_it_was_imported_is_refused_by_name(
    tree: Tree, tmp_path: Path, statement: str, name: str
) -> None:
    config, predict = configured(tree)
    tempo_runtime.save(predict, str(tmp_path / "configured"))
    exec(statement, {"config": config, "unittest": unittest})
    said = rf"own\.config\.{re.escape(name)} was set in this process, and what travels is the file"
    with pytest.raises(ArtifactError, match=said):
        tempo_runtime.save(predict, str(tmp_path / "configured"))


def test_a_value_that_a_module_changes_itself_is_not_refused(tree: Tree, tmp_path: Path) -> None:
    config, predict = configured(tree)
    config.count(3)
    tempo_runtime.save(predict, str(tmp_path / "configured"))
    importlib.reload(config)
    tempo_runtime.save(predict, str(tmp_path / "configured"))


def test_a_module_without_a_model_is_compared_by_its_functions(tree: Tree, tmp_path: Path) -> None:
    # It was reloaded after the models were declared, so its file is not known any more.
    text = "def add(value):\n    return value + 1\n"
    folder = tree({"own/__init__.py": "", "own/plus.py": text})
    plus = imported("own.plus")

    @model("adds", local_folder=str(tmp_path / "adds"))
    def adds(value: int) -> int:
        return plus.add(value)

    importlib.reload(plus)
    (folder / "own/plus.py").write_text("# a remark\n\n" + text)
    tempo_runtime.save(adds)
    (folder / "own/plus.py").write_text(text.replace("1", "2"))
    with pytest.raises(ArtifactError, match=r"own/plus\.py changed on disk"):
        tempo_runtime.save(adds)


# -- code by value ----------------------------------------------------------------------------------

BY_VALUE = '''
import sys
import numpy as np
import tempo_runtime
from tempo_runtime import model, predictmethod

KINDS = {"a", "b", "c", "d"}
LIMIT = int(sys.argv[2])

def fact(n):
    return 1 if n < 2 else n * fact(n - 1)

def make(offset, names):
    def helper(x):
        return x + offset if x not in {"q", "r", "s"} else len(names)

    @model("valued", local_folder=sys.argv[1])
    class Valued:
        """Something."""

        def __init__(self, weights=np.arange(3.0)) -> None:
            self.weights = weights

        @predictmethod
        def predict(self, x: int, y: int = 2) -> int:
            return helper(x) + fact(3) + len(KINDS) + LIMIT

    return Valued

Valued = make(3, {"k": [1, 2], "l": {"u", "v", "w"}})
if sys.argv[3:] == ["save"]:
    tempo_runtime.save(Valued)
else:
    from tempo_runtime.artifact.freshness import ensure
    ensure(Valued, "refuse")
'''


def run(script: Path, *arguments: Any, seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return done.stderr


def test_code_by_value_is_the_same_in_another_process_at_other_lines_in_another_file(
    tmp_path: Path,
) -> None:
    (tmp_path / "one.py").write_text(BY_VALUE)
    (tmp_path / "two.py").write_text("\n# a remark\n\n" + BY_VALUE)
    folder = tmp_path / "valued"
    assert run(tmp_path / "one.py", folder, 5, "save", seed="1") == ""
    source = manifest(folder)["source"]
    for seed in ("2", "3", "4"):
        assert run(tmp_path / "two.py", folder, 5, seed=seed) == ""
    assert run(tmp_path / "two.py", folder, 5, "save", seed="5") == ""
    assert manifest(folder)["source"] == source


@pytest.fixture(scope="module")
def valued(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of the script as it is."""
    folder = tmp_path_factory.mktemp("valued")
    (folder / "one.py").write_text(BY_VALUE)
    assert run(folder / "one.py", folder / "valued", 5, "save", seed="1") == ""
    return folder / "valued"


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("return helper(x) +", "return helper(x) -", r"Valued\.predict"),
        ("y: int = 2", "y: int = 3", r"Valued\.predict"),
        ("make(3,", "make(4,", r"Valued\.predict\.helper\.offset"),
        ('"l": {"u"', '"l": {"x"', r"Valued\.predict\.helper\.names\.l"),
        ("n * fact", "2 * fact", r"Valued\.predict\.fact"),
        ('KINDS = {"a"', 'KINDS = {"x"', r"Valued\.predict\.KINDS"),
        ("np.arange(3.0)", "np.arange(4.0)", r"Valued\.__init__|Valued"),
        ('"q", "r"', '"q", "z"', r"Valued\.predict\.helper"),
    ],
)
def test_changed_code_that_is_saved_by_value_is_named(
    valued: Path, tmp_path: Path, old: str, new: str, name: str
) -> None:
    script = tmp_path / "one.py"
    script.write_text(BY_VALUE.replace(old, new))
    last = run(script, valued, 5, seed="2").splitlines()[-1]
    assert "changed since" in last, last
    assert re.search(rf"ArtifactError: ({name})[ ,.]", last), last


def test_a_closure_of_this_process_counts(tmp_path: Path) -> None:
    def made(word: str) -> Any:
        @model("word", local_folder=str(tmp_path / "word"))
        def f() -> str:
            return word

        return f

    tempo_runtime.save(made("one"))
    ensure(made("one"), "refuse")
    ensure(made("two"))
    assert answer(tmp_path / "word") == "two"


def test_a_list_that_two_attributes_share_is_not_two_equal_ones(tmp_path: Path) -> None:
    @model("pair", local_folder=str(tmp_path / "pair"))
    class Pair:
        def __init__(self, one: list[int], other: list[int]) -> None:
            self.one, self.other = one, other

        @predictmethod
        def predict(self) -> int:
            self.one.append(1)
            return len(self.other)

    same: list[int] = []
    tempo_runtime.save(Pair(same, same))
    ensure(Pair(same, same), "refuse")
    with pytest.raises(ArtifactError, match="changed since"):
        ensure(Pair([], []), "refuse")


# -- its environment ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("packed", "requirements", "asked"),
    [
        (None, None, "auto"),
        (None, "requirements.txt", None),
        ("venv", "requirements.txt", "auto"),
        ("venv", None, "venv"),
    ],
)
def test_it_is_saved_again_with_an_environment_if_it_had_one(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    packed: str | None,
    requirements: str | None,
    asked: str | None,
) -> None:
    folder = root / "own/flowers"
    if requirements:
        (folder / requirements).write_text("numpy\n")
    tempo_runtime.save(imported("own.good").Flowers, environment=None)
    if packed:
        old = manifest(folder) | {"environment": {"maker": packed, "python": "3.11"}}
        (folder / "tempo.json").write_text(json.dumps(old))
    seen: list[Any] = []

    def prepare(_: str, wanted: str | None, *__: Any) -> None:
        seen.append(wanted)

    monkeypatch.setattr(tempo_runtime.artifact.store, "prepare", prepare)
    (folder / "weights").write_text("new")
    ensure(imported("own.good").Flowers)
    assert seen == [asked]
