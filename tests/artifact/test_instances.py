"""An instance is saved as it is: its state, whatever kind of class it is of, and nothing of ours."""

from __future__ import annotations

import concurrent.futures
import copy
import gc
import io
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tempo_runtime
from tempo_runtime import ArtifactError, AuthoringError, model, predictmethod
from tempo_runtime.authoring.instances import Beside, attributes
from tempo_runtime.authoring.models import pipelines
from tempo_runtime.testing import Server, serve
from tests.helpers import class_kinds
from tests.helpers.artifacts import contents

FACTORED = {
    name: kind
    for name, kind in vars(class_kinds).items()
    if isinstance(kind, type)
    and hasattr(kind, "get_tempo")
    and kind
    not in (class_kinds.Base, class_kinds.Fitted, class_kinds.Loading, class_kinds.Counting)
}


def saved(target: Any, folder: Path) -> Any:
    """The saved object, loaded again."""
    return tempo_runtime.load(tempo_runtime.save(target, str(folder)))


def described(instance: Any) -> dict[str, Any]:
    return {name: value for name, value in attributes(instance).items() if name != "left_out"}


# -- its state -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FACTORED)
def test_an_instance_has_after_loading_the_state_it_was_saved_with(
    name: str, tmp_path: Path
) -> None:
    made = FACTORED[name](factor=3.0)
    assert made.predict(2.0) == 6.0  # called before it is saved
    loaded = saved(made, tmp_path)
    assert type(loaded).__name__ == type(made).__name__
    assert described(loaded) == described(made)
    assert loaded.predict(2.0) == 6.0
    assert loaded.get_tempo() is loaded.get_tempo()
    assert loaded.get_tempo().details.local_folder == str(tmp_path)


@pytest.mark.parametrize("name", FACTORED)
def test_two_saves_of_an_instance_write_the_same_bytes(name: str, tmp_path: Path) -> None:
    made = FACTORED[name](factor=3.0)
    getattr(made, "twice", None)  # a cached property is written by its first call
    tempo_runtime.save(made, str(tmp_path))
    before = contents(tmp_path)
    made.predict(2.0)
    tempo_runtime.save(made, str(tmp_path))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", FACTORED)
def test_a_call_writes_nothing_on_an_instance(name: str) -> None:
    made = FACTORED[name](factor=3.0)
    getattr(made, "twice", None)  # a cached property is written by its first call
    before = described(made)
    made.predict(2.0)
    assert (described(made), made.get_tempo() is made.get_tempo()) == (before, True)


@pytest.mark.parametrize("by_value", [False, True])
def test_the_state_it_got_after_the_constructor_is_saved(tmp_path: Path, by_value: bool) -> None:
    made = _by_value_fitted() if by_value else class_kinds.Fitted()
    made.fit(2.0)
    assert saved(made, tmp_path).predict(3.0) == 6.0


def _by_value_fitted() -> Any:
    @model("fitted")
    class Fitted:
        def __init__(self) -> None:
            self.weights = [0.0]

        def fit(self, weight: float) -> None:
            self.weights = [weight]

        @predictmethod
        def predict(self, x: float) -> float:
            return x * self.weights[0]

    return Fitted()


def test_the_constructor_does_not_run_again(tmp_path: Path) -> None:
    made = class_kinds.Plain(factor=2.0)
    loaded = saved(made, tmp_path)
    assert type(loaded).made == 0  # of the artifact's own module
    assert loaded.factor == 2.0


def test_pydantic_models_keep_private_attributes_extras_and_what_was_set(tmp_path: Path) -> None:
    private = class_kinds.Pydantic(factor=2.0)
    private._plus = 0.5
    assert saved(private, tmp_path / "private").predict(1.0) == 2.5
    extra = class_kinds.PydanticExtra(factor=2.0, colour="red")  # type: ignore[call-arg]
    loaded = saved(extra, tmp_path / "extra")
    assert (loaded.model_extra, loaded.model_fields_set) == (
        {"colour": "red"},
        {"factor", "colour"},
    )
    assert loaded.model_dump() == extra.model_dump()


def test_a_computed_cached_property_is_saved(tmp_path: Path) -> None:
    made = class_kinds.Pydantic(factor=2.0)
    assert made.twice == 4.0
    vars(made)["twice"] = 10.0
    assert saved(made, tmp_path).twice == 10.0


def test_an_instance_of_a_class_derived_from_a_pipeline_is_of_that_class(tmp_path: Path) -> None:
    assert saved(class_kinds.Derived(factor=3.0), tmp_path / "instance").twice == 6.0
    assert saved(class_kinds.Derived, tmp_path / "class").twice == 2.0


def test_a_bound_method_and_its_own_pipeline_may_be_attributes(tmp_path: Path) -> None:
    made = class_kinds.Plain(factor=3.0)
    made.itself, made.call = made.get_tempo(), made.predict  # type: ignore[attr-defined]
    loaded = saved(made, tmp_path)
    assert loaded.itself is loaded.get_tempo()
    assert loaded.itself.details.local_folder == str(tmp_path)
    loaded.factor = 4.0
    assert loaded.call(2.0) == 8.0


def test_a_pipeline_among_the_attributes_is_carried_as_it_is(tmp_path: Path) -> None:
    made, inner = class_kinds.Plain(), class_kinds.Loading(size=3)
    made.inner = inner  # type: ignore[attr-defined]
    assert inner.predict(1.0) == [3.0, 1, 20, True]
    assert saved(made, tmp_path).inner.predict(1.0) == [3.0, 1, 20, True]


def test_a_msgspec_struct_is_carried(tmp_path: Path) -> None:
    msgspec = pytest.importorskip("msgspec")

    @model("struct")
    class Struct(msgspec.Struct):  # type: ignore[misc, name-defined]
        factor: float = 1.0

        @predictmethod
        def predict(self, x: float) -> float:
            return x * self.factor

    assert saved(Struct(3.0), tmp_path).predict(2.0) == 6.0


def test_two_processes_save_a_set_as_the_same_bytes(tmp_path: Path) -> None:
    code = (
        "import sys, tempo_runtime; from tests.helpers import class_kinds; made = class_kinds.Plain();"
        "made.words = set('these are words'.split()); made.kept = frozenset(made.words);"
        "tempo_runtime.save(made, sys.argv[1])"
    )
    found = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.getcwd()}
        command = [sys.executable, "-c", code, str(tmp_path / seed)]
        subprocess.run(command, check=True, cwd=tmp_path, env=environment)
        found.append(contents(tmp_path / seed))
    assert found[0] == found[1]
    assert tempo_runtime.load(str(tmp_path / "1")).words == {"these", "are", "words"}


# -- a class ---------------------------------------------------------------------------------------


def test_a_class_is_made_when_it_is_loaded(tmp_path: Path) -> None:
    loaded = saved(class_kinds.Plain, tmp_path)
    assert (type(loaded).made, loaded.factor) == (1, 1.0)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (class_kinds.Pydantic, "its constructor needs factor"),
        (class_kinds.New, "its constructor needs factor"),
        (class_kinds.Base, "it is abstract, and lacks scale"),
    ],
)
def test_a_class_that_cannot_be_made_without_arguments_is_refused_by_name(
    kind: Any, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(AuthoringError) as error:
        tempo_runtime.save(kind, str(tmp_path))
    assert f"the class {kind.__name__} cannot be saved, because {reason}" in str(error.value)
    assert f"save({kind.__name__}(...))" in str(error.value)
    assert list(tmp_path.iterdir()) == []


# -- the load method -------------------------------------------------------------------------------


def test_attributes_that_the_load_method_made_stay_behind_and_are_made_again(
    tmp_path: Path,
) -> None:
    made = class_kinds.Loading(size=3)
    assert made.predict(2.0) == [6.0, 1, 20, True]
    loaded = saved(made, tmp_path)
    assert attributes(loaded) == {"size": 3, "loads": 0, "limit": 10}
    assert loaded.predict(2.0) == [6.0, 1, 20, True]
    assert made.predict(2.0) == [6.0, 1, 20, True]


def test_an_attribute_set_after_the_load_method_is_saved(tmp_path: Path) -> None:
    made = class_kinds.Loading()
    made.predict(2.0)
    made.size, made.loads = 4, 5
    loaded = saved(made, tmp_path)
    assert attributes(loaded) == {"size": 4, "loads": 5, "limit": 10}
    assert loaded.predict(1.0) == [4.0, 6, 20, True]


def test_the_context_of_a_function_is_saved_but_for_what_its_load_method_made(
    tmp_path: Path,
) -> None:
    @model("words")
    def words(word: str) -> list[bool]:
        return [word in words.context.known, word in words.context.loaded]

    @words.loadmethod  # type: ignore[attr-defined]
    def load() -> None:
        words.context.loaded = (name for name in ["tensor"])  # type: ignore[attr-defined]

    words.context.known = {"cat"}  # type: ignore[attr-defined]
    assert words("cat") == [True, False]
    assert saved(words, tmp_path)("tensor") == [False, True]


# -- what cannot be pickled ------------------------------------------------------------------------


class Database:
    def __init__(self, pool: Any) -> None:
        self.pool = pool


def numbers() -> Any:
    yield 1


def held_lock() -> Any:
    lock = threading.Lock()
    lock.acquire()
    return lock


UNPICKLABLE: dict[str, Callable[[], Any]] = {
    "_thread.lock": held_lock,
    "sqlite3.Connection": lambda: sqlite3.connect(":memory:"),
    "socket.socket": socket.socket,
    "_io.TextIOWrapper": lambda: io.TextIOWrapper(io.FileIO(__file__)),  # type: ignore[arg-type]
    "_io.BufferedReader": lambda: io.BufferedReader(io.FileIO(__file__)),
    "_io.FileIO": lambda: io.FileIO(__file__),
    "generator": numbers,
    "concurrent.futures.thread.ThreadPoolExecutor": lambda: concurrent.futures.ThreadPoolExecutor(
        1
    ),
    "concurrent.futures._base.Future": concurrent.futures.Future,
    "threading.Thread": threading.Thread,
    "_thread._local": threading.local,
    "tempfile.TemporaryDirectory": tempfile.TemporaryDirectory,
    "memoryview": lambda: memoryview(b"x"),
}


@pytest.fixture(params=UNPICKLABLE)
def unpicklable(request: pytest.FixtureRequest) -> Any:
    found = UNPICKLABLE[request.param]()
    yield found, request.param
    end = getattr(found, "close", getattr(found, "cleanup", getattr(found, "shutdown", None)))
    if end is not None:
        end()


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("self.db", lambda value: {"db": value}),
        ("self.db.pool", lambda value: {"db": Database(value)}),
        ("self.steps[2]", lambda value: {"steps": [1, 2, value]}),
        ("self.by_name['a'][0].pool", lambda value: {"by_name": {"a": (Database(value),)}}),
    ],
)
def test_an_attribute_that_cannot_be_pickled_is_named_with_its_path_and_the_remedy(
    unpicklable: Any, path: str, place: Callable[[Any], dict[str, Any]], tmp_path: Path
) -> None:
    value, kind = unpicklable
    made = class_kinds.Plain()
    vars(made).update(place(value))
    with pytest.raises(ArtifactError) as error:
        tempo_runtime.save(made, str(tmp_path))
    message = str(error.value)
    assert (
        f"pipeline 'plain' cannot be saved: {path} is a {kind}, which cannot be pickled" in message
    )
    assert "make it in the load method" in message
    assert "__getstate__" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("made", "name", "path"),
    [
        (class_kinds.Slots(), "factor", "self.factor"),
        (class_kinds.AttrsSlots(), "factor", "self.factor"),
        (class_kinds.Pydantic(factor=1.0), "_plus", "self._plus"),
        (class_kinds.OfDict(), "extra", "self.extra"),
    ],
)
def test_the_way_is_named_in_any_kind_of_class(
    made: Any, name: str, path: str, tmp_path: Path
) -> None:
    setattr(made, name, np.array([0, numbers()], object))
    with pytest.raises(ArtifactError, match=rf"saved: {path}\[1\] is a generator, which"):
        tempo_runtime.save(made, str(tmp_path))


def test_the_way_in_a_function_names_what_it_uses(tmp_path: Path) -> None:
    held = Database(numbers())

    @model("holds")
    def holds(x: int) -> int:
        return next(held.pool) + x

    with pytest.raises(ArtifactError, match=r"saved: held.pool \(of .*holds\) is a generator"):
        tempo_runtime.save(holds, str(tmp_path))


def test_an_error_of_getstate_names_where_it_is(tmp_path: Path) -> None:
    class Closed:
        def __getstate__(self) -> Any:
            raise ValueError("already closed")

    made = class_kinds.Plain()
    made.inner = Closed()  # type: ignore[attr-defined]
    with pytest.raises(ArtifactError, match=r"self.inner is a .*Closed.*: already closed; make it"):
        tempo_runtime.save(made, str(tmp_path))


@pytest.mark.parametrize(
    ("value", "same"),
    [
        (threading.Lock(), lambda found: found.acquire(blocking=False)),
        (threading.RLock(), lambda found: found.acquire(blocking=False)),
        (io.BytesIO(b"bytes"), lambda found: found.read() == b"bytes"),
        (lambda x: x + 1, lambda found: found(1) == 2),
        (np, lambda found: found is np),
        (iter([1, 2]), lambda found: list(found) == [1, 2]),
        (sys.__stdout__, lambda found: found is not None),
        (np.random.default_rng(3), lambda found: found.integers(9) >= 0),
    ],
    ids=["lock", "rlock", "bytes", "lambda", "module", "iterator", "stdout", "generator"],
)
def test_an_object_that_is_the_same_elsewhere_is_carried(
    value: Any, same: Callable[[Any], bool], tmp_path: Path
) -> None:
    made = class_kinds.Plain()
    made.held = value  # type: ignore[attr-defined]
    assert same(saved(made, tmp_path).held)


def test_the_environments_variables_stay_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", "hidden-value")
    made = class_kinds.Plain()
    made.environ = os.environ  # type: ignore[attr-defined]
    loaded = saved(made, tmp_path)
    assert loaded.environ is os.environ
    assert b"hidden-value" not in (tmp_path / "pipeline.dill").read_bytes()


# -- what is known of an instance ------------------------------------------------------------------


@pytest.mark.parametrize("name", FACTORED)
def test_an_instance_that_ends_is_forgotten(name: str) -> None:
    gc.collect()
    before = len(pipelines._known)
    made = FACTORED[name](factor=3.0)
    made.predict(1.0)
    assert len(pipelines._known) == before + 1
    del made
    gc.collect()
    assert len(pipelines._known) == before


def test_a_copy_has_a_pipeline_of_its_own() -> None:
    made = class_kinds.Plain(factor=3.0)
    assert made.predict(1.0) == 3.0
    for other in (copy.copy(made), copy.deepcopy(made)):
        assert other.get_tempo() is not made.get_tempo()
        assert other.predict(1.0) == 3.0


def test_facts_known_of_an_object_are_not_known_of_an_equal_one() -> None:
    known: Beside[int] = Beside()
    one, other = class_kinds.Data(), class_kinds.Data()
    known.set(one, 1)
    assert one == other
    assert (known.get(one), known.get(other)) == (1, None)


# -- served ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[0, 2], ids=["in the server", "in two workers"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("served")
    for name in ("Plain", "Slots", "Pydantic", "PydanticData", "DataFrozen", "AttrsSlots"):
        tempo_runtime.save(FACTORED[name](factor=3.0), str(folder / name))
    fitted, loading = class_kinds.Fitted(), class_kinds.Loading(size=3)
    fitted.fit(3.0)
    loading.predict(1.0)
    tempo_runtime.save(fitted, str(folder / "fitted"))
    tempo_runtime.save(loading, str(folder / "loading"))
    with serve(folder, settings={"parallel_workers": request.param}) as server:
        yield server


@pytest.mark.parametrize(
    "name",
    ["plain", "slots", "pydantic", "pydantic-data", "data-frozen", "attrs-slots", "fitted"],
)
def test_a_served_instance_is_the_one_that_was_saved(server: Server, name: str) -> None:
    assert np.ravel(server.infer(name, x=2.0)) == [6.0]


def test_a_served_instance_runs_its_load_method_once(server: Server) -> None:
    assert server.infer("loading", x=2.0) == [6.0, 1, 20, True]
