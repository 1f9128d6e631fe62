"""A pickle names only the author's code, public names of this package, and the few in `saved`."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

import tempo_runtime
from tempo_runtime import ArtifactError, model
from tempo_runtime.artifact import pickle_imports, saved
from tempo_runtime.artifact.store import read_description
from tests.helpers.source_tree import imported
from tests.helpers.source_tree import saved as save_in
from tests.helpers.source_tree import source_tree as source_tree  # the fixture `tree`

NAMES = {
    "ChildReference",
    "details",
    "fill_function_pipeline",
    "function_pipeline",
    "model",
    "models",
    "pipeline_class",
    "pipeline_of",
    "predict_method",
    "signature",
}

MODULE = """
from __future__ import annotations
import os
import pydantic
from typing import TypedDict
from tempo_runtime import Model, ModelFramework, PipelineModels, model, pipeline, predictmethod

HERE = os.path.dirname(os.path.abspath(__file__))

class Order(pydantic.BaseModel):
    item: str
    amount: int = 1

class Total(TypedDict):
    total: int

line = Model(
    "line", platform=ModelFramework.SKLearn, local_folder=os.path.join(HERE, "line"), uri="s3://line"
)

@model(os.environ.get("INNER_NAME", "inner"), local_folder=os.path.join(HERE, "inner"))
class Inner:
    @predictmethod
    def predict(self, x: int, order: Order | None = None) -> Total:
        return {"total": x * (order.amount if order else 1)}

@model("twice", local_folder=os.path.join(HERE, "twice"))
def twice(x: int) -> int:
    return 2 * x

@pipeline("outer", models=PipelineModels(line=line, inner=Inner, twice=twice))
class Outer:
    @predictmethod
    def predict(self, x: int) -> int:
        return self.models.twice(x)
"""

# Each is made in __main__, as in a notebook; CALL says how it is called where it was loaded.
NOTEBOOK = """
from __future__ import annotations
import json, sys
from dataclasses import dataclass
from typing import NamedTuple
import numpy as np
import pandas as pd
import tempo_runtime
import tempo_runtime.testing
from tempo_runtime import (
    ChildUnavailable, Model, ModelFramework, PipelineModels, TempoError,
    loadmethod, model, pipeline, predictmethod, save,
)
import own.main as main

line = Model(
    "line", platform=ModelFramework.SKLearn, local_folder=main.line.details.local_folder,
    inputs={"a": np.ndarray}, outputs=np.ndarray[tuple[int, int], np.dtype[np.float32]],
)
children = PipelineModels(line=line, inner=main.Inner, twice=main.twice)

class Out(NamedTuple):
    label: str
    score: float = 0.5

@dataclass
class Point:
    x: int = 0

class Base:
    def __init__(self, plus=1):
        self.plus = plus

@pipeline("valued", models=children, description="By value.")
class Valued(Base):
    @loadmethod
    def load(self):
        self.loaded = True

    @predictmethod
    def predict(self, x: int, point: Point, order: main.Order | None = None) -> Out:
        try:
            return Out(type(self).__name__, x + self.plus + self.models.twice(point.x))
        except ChildUnavailable as error:
            raise TempoError("no") from error

@pipeline("held", models=children)
class Held:
    def __init__(self):
        self.twice, self.all, self.tempo = self.models.twice, self.models, self.get_tempo()
        self.bound, self.line, self.details = self.predict, line, line.details
        self.kind = ModelFramework.SKLearn
        self.signature = self.get_tempo().signature

    @predictmethod
    def predict(self, x: int) -> tuple[int, str]:
        assert self.signature == self.tempo.signature
        assert self.tempo is self.get_tempo()
        return self.twice(x) + self.all.twice(x), self.line.details.name + self.details.name

@model("asynchronous")
class Asynchronous:
    @predictmethod
    async def predict(self, x: np.ndarray) -> dict[str, np.ndarray]:
        return {"sum": x.sum(keepdims=True)}

@model("streams")
class Streams:
    __slots__ = ("times",)

    @predictmethod
    def predict(self, x: int):
        yield from [x, x]

class Derived(Valued):
    pass

@model("overrides")
class Overrides(main.Inner):
    @predictmethod
    def predict(self, x: int, order: main.Order | None = None) -> main.Total:
        return super().predict(x + 1, order)

@pipeline("function", models=children)
def function(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(n=table["n"] + function.context.plus + helper(1) + function.bonus)

function.bonus = 100

@function.loadmethod
def load_function():
    function.context.plus = 10

@model("other")
def other(x: int) -> int:
    return x

def helper(x):
    return function.models.twice(x) + len(children) + other(x) + Inside().predict(x)

@pipeline("inside", models=children)
class Inside:
    @predictmethod
    def predict(self, x: int) -> int:
        return x

@model("context")
async def context(data: bytes) -> str:
    return context.context.text + data.decode()

context.context.text = "kept "

@model("direct")
def direct(x: list[float]) -> list[float]:
    return [float(v) for v in line(np.array([x])).ravel()]

@model("factory")
def factory(x: int) -> int:
    @model("made")
    def made(x: int) -> int:
        return tempo_runtime.testing.free_ports(1) and x
    return made(x)

point = {"x": 2}
KINDS = {
    "class": (Valued, "loaded.predict(1, Point(2))"),
    "instance": (Valued(5), "loaded.predict(1, Point(2))"),
    "held": (Held(), "loaded.predict(2)"),
    "async": (Asynchronous, "asyncio.run(loaded.predict(np.ones(3)))['sum'].tolist()"),
    "streaming": (Streams, "list(loaded.predict(3))"),
    "derived": (Derived(3), "loaded.predict(1, Point(2))"),
    "overriding": (Overrides, "loaded.predict(1)"),
    "function": (function, "loaded(pd.DataFrame({'n': [1]}))['n'].tolist()"),
    "with context": (context, "asyncio.run(loaded(b'data'))"),
    "with a model in its code": (direct, "loaded([1.0])"),
    "with decorators in its code": (factory, "loaded(4)"),
    "lambda": (pipeline("lambda")(lambda x: x), "loaded(7)"),
    "of a module": (main.Outer, "loaded.predict(4)"),
    "instance of a module": (main.Inner(), "loaded.predict(4)"),
    "function of a module": (main.twice, "loaded(4)"),
}
save(main.Inner)
save(main.twice)
for name, (target, _) in KINDS.items():
    save(target, f"{sys.argv[1]}/{name}")
print(json.dumps({name: call for name, (_, call) in KINDS.items()}))
"""
EXPECTED = {
    "class": ["Valued", 6],
    "instance": ["Valued", 10],
    "held": [8, "lineline"],
    "async": [3.0],
    "streaming": [3, 3],
    "derived": ["Derived", 8],
    "overriding": {"total": 2},
    "function": [118],
    "with context": "kept data",
    "with a model in its code": [4.0],
    "with decorators in its code": 4,
    "lambda": 7,
    "of a module": 8,
    "instance of a module": {"total": 4},
    "function of a module": 8,
}
CALL = """
import asyncio, json, sys
import numpy as np
import pandas as pd
import tempo_runtime

class Point(dict):
    def __init__(self, x):
        super().__init__(x=x)

answers = {}
for kind, call in json.loads(sys.argv[2]).items():
    loaded = tempo_runtime.load(f"{sys.argv[1]}/{kind}")
    answers[kind] = eval(call)
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with an artifact of each kind, and how each is called, as JSON."""
    root = tmp_path_factory.mktemp("notebook")
    for name, text in {
        "own/__init__.py": "",
        "own/main.py": MODULE,
        "notebook.py": NOTEBOOK,
    }.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    (root / "own/line").mkdir()
    fitted = LinearRegression().fit(np.array([[0.0], [1.0]]), np.array([1.0, 4.0]))
    joblib.dump(fitted, root / "own/line/model.joblib")
    command = [sys.executable, "-W", "error", str(root / "notebook.py"), str(root / "saved")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "which later versions" not in done.stderr
    return root / "saved", done.stdout


@pytest.mark.parametrize("kind", EXPECTED)
def test_a_pickle_names_nothing_of_this_package_that_can_move(
    kind: str, notebook: tuple[Path, str]
) -> None:
    folder = notebook[0] / kind
    references = pickle_imports.references((folder / "pipeline.dill").read_bytes())
    for module, name in references:
        if module.partition(".")[0] != "tempo_runtime":
            continue
        if module == saved.__name__:
            assert name in NAMES
        else:
            assert module in ("tempo_runtime", "tempo_runtime.testing")
            assert name in sys.modules[module].__all__


def test_each_kind_answers_the_same_in_another_process(
    notebook: tuple[Path, str], tmp_path: Path
) -> None:
    command = [sys.executable, "-W", "error", "-c", CALL, *map(str, notebook)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == EXPECTED


def test_the_names_that_never_move_are_these() -> None:
    source = inspect.getsource(saved)
    promised = source[source.index("# -- named by pickles") : source.index("# -----------")]
    parsed = ast.parse(promised.replace("# -- named", "#")).body
    names = {node.name for node in parsed if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert names == NAMES
    assert saved.__name__ == "tempo_runtime.artifact.saved"


def test_tempo_json_declares_how_the_pipeline_is_made(notebook: tuple[Path, Any]) -> None:
    made = {
        kind: read_description(str(notebook[0] / kind)).constructor
        for kind in ("class", "instance", "function")
    }
    found = {kind: (how.kind, how.predict, how.load) for kind, how in made.items() if how}
    assert found == {
        "class": ("class", "predict", "load"),
        "instance": ("instance", "predict", "load"),
        "function": ("function", None, None),
    }


# -- the declaration in the code, and that in tempo.json ------------------------------------------


@pytest.fixture
def inner(tree: Callable[..., Path]) -> Path:
    """The artifact of a class of a module."""
    root = tree({"own/__init__.py": "", "own/main.py": MODULE})
    return Path(save_in(imported("own.main").Inner, root))


def test_code_that_declares_another_name_where_it_is_loaded_is_refused(
    inner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INNER_NAME", "another")
    modules = set(sys.modules)
    with pytest.raises(ArtifactError) as refused:
        tempo_runtime.load(str(inner))
    assert "the name ('another', and 'inner' in tempo.json)" in str(refused.value)
    assert set(sys.modules) == modules


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        (("name",), "another", "the name ('inner', and 'another' in tempo.json)"),
        (("signature", "python", "inputs", 0, "kind"), "float", "the signature"),
        (("signature", "streams"), True, "the signature"),
        (("constructor", "predict"), "other", "the predict or load method"),
        (("children",), {"x": {"name": "x", "platform": "custom"}}, "the children"),
    ],
)
def test_a_description_that_declares_something_else_than_the_code_is_refused(
    inner: Path, place: tuple[Any, ...], value: Any, named: str
) -> None:
    path = inner / "tempo.json"
    description = json.loads(path.read_text())
    *outer, last = place
    part = description
    for key in outer:
        part = part[key]
    part[last] = value
    path.write_text(json.dumps(description))
    with pytest.raises(ArtifactError, match="declare different things") as refused:
        tempo_runtime.load(str(inner))
    assert named in str(refused.value)


@pytest.mark.parametrize("part", ["constructor", "platform"])
def test_a_description_of_format_2_without_its_declaration_is_refused(
    inner: Path, part: str
) -> None:
    path = inner / "tempo.json"
    description = json.loads(path.read_text())
    del description[part]
    path.write_text(json.dumps(description))
    with pytest.raises(ArtifactError, match="it lacks `constructor`, `platform`"):
        tempo_runtime.load(str(inner))


def test_fields_of_a_later_version_are_part_of_the_digest(inner: Path) -> None:
    before = read_description(str(inner)).digest
    path = inner / "tempo.json"
    description = json.loads(path.read_text())
    path.write_text(json.dumps({**description, "later": {"x": 1}}))
    found = read_description(str(inner))
    assert found.digest != before
    assert found.stored["later"] == {"x": 1}
    assert tempo_runtime.load(str(inner)).predict(4) == {"total": 4}


def test_a_private_object_of_this_package_is_saved_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from tempo_runtime.protocol.tensor import Tensor

    held = Tensor("x", "FP64", [1], np.ones(1))

    @model("private", local_folder=str(tmp_path))
    def private() -> str:
        return held.name

    tempo_runtime.save(private)
    assert "it holds tempo_runtime.protocol.tensor.Tensor, which later versions" in caplog.text
    assert tempo_runtime.load(str(tmp_path))() == "x"
