"""Children of a pipeline without a server are connected when they are first called."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from tempo_runtime import (
    Children,
    Model,
    ModelFramework,
    PipelineModels,
    SettingsError,
    model,
    pipeline,
    predictmethod,
)
from tempo_runtime.execution.loading import LoadedPipeline
from tempo_runtime.request.portal import background
from tempo_runtime.settings import PipelineSettings
from tempo_runtime.testing import fake_children, record_calls

ROWS = np.arange(6.0).reshape(3, 2)


def untrained(**folder: str) -> Any:
    """A pipeline of a model of scikit-learn, and of one without a folder."""
    sklearn = Model("sklearn", platform=ModelFramework.SKLearn, **folder)

    @pipeline("shop", models=PipelineModels(sklearn=sklearn, custom=Model("custom")))
    class Shop:
        models: Children

        @predictmethod
        def total(self, rows: np.ndarray) -> float:
            return float(self.models.sklearn(rows).sum())

        def custom(self, rows: np.ndarray) -> Any:
            return self.models.custom(rows)

    return Shop


def save_model(folder: Path) -> None:
    folder.mkdir()
    joblib.dump(LinearRegression().fit(ROWS, ROWS.sum(axis=1)), folder / "model.joblib")


def test_a_child_is_replaced_before_anything_is_trained() -> None:
    shop = untrained()()
    shop.models.sklearn = lambda rows: rows[:, 0]
    assert shop.total(ROWS) == 6.0


def test_a_replacement_can_be_taken_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    save_model(tmp_path / "sklearn")
    shop = untrained(local_folder=str(tmp_path / "sklearn"))()
    with monkeypatch.context() as patch:
        patch.setattr(shop.models, "sklearn", lambda rows: rows[:, 0])
        assert shop.total(ROWS) == 6.0
    assert shop.total(ROWS) == pytest.approx(ROWS.sum())


async def test_an_async_pipeline_takes_an_async_replacement() -> None:
    @pipeline("shop", models=PipelineModels(sklearn=Model("sklearn")))
    async def shop(rows: np.ndarray) -> float:
        return float((await shop.models.sklearn(rows)).sum())

    async def first_column(rows: Any) -> Any:
        return rows[:, 0]

    shop.models.sklearn = first_column
    assert await shop(ROWS) == 6.0


def test_the_folder_of_a_child_is_needed_only_by_its_first_call(tmp_path: Path) -> None:
    shop = untrained(local_folder=str(tmp_path / "sklearn"))()
    assert "not connected" in repr(shop.models.sklearn)
    with pytest.raises(SettingsError, match=r"cannot locate child 'sklearn'.*does not exist"):
        shop.total(ROWS)
    save_model(tmp_path / "sklearn")
    assert shop.total(ROWS) == pytest.approx(ROWS.sum())  # the next call tries again
    assert "not connected" not in repr(shop.models.sklearn)


def test_a_child_that_was_not_replaced_cannot_be_taken_back() -> None:
    with pytest.raises(AttributeError, match="'sklearn' was not replaced"):
        del untrained()().models.sklearn


def test_a_child_without_a_folder_is_named_by_the_first_call() -> None:
    shop = untrained(local_folder="/nowhere")()
    with pytest.raises(SettingsError, match=r"cannot locate child 'custom'.*has no folder"):
        shop.custom(ROWS)


def test_invalid_settings_are_named_by_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPO_RUNTIME_MODELS", json.dumps({"sklearn": {"url": "ftp://host"}}))
    child = untrained()().models.sklearn
    with pytest.raises(SettingsError, match="ftp://host"):
        child(ROWS)


def test_a_child_that_is_submitted_to_is_connected(tmp_path: Path) -> None:
    save_model(tmp_path / "sklearn")
    shop = untrained(local_folder=str(tmp_path / "sklearn"))()
    assert shop.models.sklearn.submit(ROWS).result() == pytest.approx(ROWS.sum(axis=1))


class Constructions:
    """A pipeline whose construction can be held, and what is known of each construction."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.begun, self.goes_on = threading.Event(), threading.Event()

    def pipeline(self) -> Any:
        constructions = self

        @pipeline("inner")
        class Inner:
            def __init__(self) -> None:
                constructions.threads.append(threading.current_thread())
                constructions.begun.set()
                assert constructions.goes_on.wait(30)

            @predictmethod
            def twice(self, x: float) -> float:
                return 2 * x

        return Inner


def test_a_child_that_two_threads_call_first_is_connected_once() -> None:
    held = Constructions()

    @pipeline("outer", models=PipelineModels(inner=held.pipeline()))
    def outer(x: float) -> float:
        return outer.models.inner(x)  # type: ignore[no-any-return]

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(outer, 1.0)
        assert held.begun.wait(30)
        two = pool.submit(outer, 2.0)
        held.goes_on.set()
        assert [one.result(30), two.result(30)] == [2.0, 4.0]
    assert len(held.threads) == 1


async def test_the_event_loop_does_not_wait_for_the_connection() -> None:
    held = Constructions()

    @pipeline("outer", models=PipelineModels(inner=held.pipeline()))
    async def outer(x: float) -> float:
        return await outer.models.inner(x)  # type: ignore[no-any-return]

    calls = asyncio.gather(outer(1.0), outer(2.0))
    await asyncio.to_thread(held.begun.wait, 30)  # which only a loop that goes on comes back from
    held.goes_on.set()
    assert await calls == [2.0, 4.0]
    assert held.threads != [threading.current_thread()]
    assert len(held.threads) == 1


def test_a_child_that_was_looked_up_is_the_same_before_and_after_its_first_call(
    tmp_path: Path,
) -> None:
    save_model(tmp_path / "sklearn")
    shop = untrained(local_folder=str(tmp_path / "sklearn"))()
    before = shop.models.sklearn
    shop.total(ROWS)
    assert before == shop.models.sklearn
    assert hash(before) == hash(shop.models.sklearn)
    assert before != shop.models.custom


def replace_in_request(outer: Any) -> None:
    outer.models.inner = 1


def replace_unknown(outer: Any) -> None:
    outer.models.inmer = 1


@pytest.mark.parametrize(
    ("replace", "message"),
    [
        (replace_in_request, "'inner' cannot be replaced in a request"),
        (replace_unknown, "no model 'inmer'; it has inner"),
    ],
)
def test_a_replacement_is_refused(replace: Callable[[Any], None], message: str) -> None:
    @model("inner")
    def inner(x: float) -> float:
        return x

    @pipeline("outer", models=PipelineModels(inner=inner))
    def outer(x: float) -> float:
        replace(outer)
        return x

    with pytest.raises(AttributeError, match=message):
        outer(1.0)


def test_a_server_connects_all_children_when_it_loads() -> None:
    shop = untrained(local_folder="/nowhere")
    with pytest.raises(SettingsError, match="cannot locate child 'sklearn'"):
        LoadedPipeline(shop.get_tempo(), PipelineSettings(), background())


def test_a_child_can_be_faked_after_it_was_looked_up() -> None:
    @pipeline("outer", models=PipelineModels(inner=Model("inner")))
    def outer(x: float) -> float:
        return outer.models.inner(x)  # type: ignore[no-any-return]

    looked_up = outer.models.inner
    with fake_children(outer, inner=lambda x: x + 1):
        assert outer(1.0) == 2.0
    assert outer.models.inner == looked_up


def test_a_replacement_is_not_recorded(tmp_path: Path) -> None:
    save_model(tmp_path / "sklearn")

    @model("inner")
    def inner(x: float) -> float:
        return x

    @pipeline("outer", models=PipelineModels(inner=inner, other=inner))
    def outer(x: float) -> float:
        return float(outer.models.inner(x) + outer.models.other(x))

    outer.models.other = lambda x: 10.0
    with record_calls(outer) as calls:
        assert outer(1.0) == 11.0
    assert [call.alias for call in calls] == ["inner"]
