"""Fake children in this process, and records of a pipeline's calls."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tempo_runtime import Model, ModelFramework, PipelineModels, pipeline, predictmethod
from tempo_runtime.errors import (
    ChildFailed,
    ChildNotFound,
    ChildUnavailable,
    DeadlineExceeded,
    PayloadError,
    TempoError,
)
from tempo_runtime.request import context
from tempo_runtime.testing import (
    Answer,
    Delay,
    Fail,
    Hang,
    Step,
    fake_children,
    record_calls,
)
from tests.helpers.pipelines import SyncParent, async_parent, double, grandparent

scores = Model("scores", platform=ModelFramework.SKLearn, inputs={"rows": np.ndarray})
frames = Model("frames", inputs={"frame": pd.DataFrame})
ROWS = np.arange(4.0).reshape(2, 2)


@pipeline("best", models=PipelineModels(scores=scores, double=double, frames=frames))
class Best:
    @predictmethod
    def predict(self, rows: np.ndarray) -> int:
        return int(np.argmax(self.models.scores(rows)))

    def ask(self, alias: str, *args: Any) -> Any:
        return getattr(self.models, alias)(*args)


# -- Fakes -----------------------------------------------------------------------------------------


def test_a_fake_answers_for_a_model_that_does_not_exist() -> None:
    with fake_children(Best, scores=lambda rows: rows[:, 0], frames=1) as calls:
        assert Best().predict(ROWS) == 1
    [call] = calls
    assert call.alias == "scores"
    assert call.inputs["rows"].tolist() == ROWS.tolist()
    assert call.output.tolist() == [0.0, 2.0]
    assert call.error is None
    assert call.seconds > 0


def test_a_class_and_its_instances_share_fakes() -> None:
    best = Best()
    with fake_children(best, scores=ROWS[0], frames=1), fake_children(Best, scores=-ROWS[0]):
        assert best.predict(ROWS) == 0


def test_an_async_function_pipeline_awaits_its_fakes() -> None:
    with fake_children(async_parent, double=Delay(0.01, Answer(ROWS)), other=-ROWS) as calls:
        assert asyncio.run(async_parent(ROWS)).tolist() == np.zeros((2, 2)).tolist()
    assert {call.alias for call in calls} == {"double", "other"}


async def test_an_async_pipeline_can_be_faked_inside_a_running_loop() -> None:
    with fake_children(async_parent, double=ROWS, other=ROWS):
        assert (await async_parent(ROWS)).tolist() == (ROWS * 2).tolist()


def test_other_children_are_not_replaced() -> None:
    with fake_children(grandparent, parent=lambda x: x) as calls:
        assert grandparent(np.ones(2)).tolist() == [5.0, 5.0]
    assert {call.alias: call.output.tolist() for call in calls} == {
        "parent": [1.0, 1.0],
        "aparent": [4.0, 4.0],
    }
    assert asyncio.run(async_parent(np.ones(2))).tolist() == [4.0, 4.0]


def test_after_the_block_the_children_are_back() -> None:
    with fake_children(SyncParent, double=np.zeros(2)):
        assert SyncParent().predict(np.ones(2)).tolist() == [1.0, 1.0]
    assert SyncParent().predict(np.ones(2)).tolist() == [3.0, 3.0]
    with fake_children(SyncParent, double=np.zeros(2)):  # now that they are connected
        assert SyncParent().predict(np.ones(2)).tolist() == [1.0, 1.0]
    assert SyncParent().predict(np.ones(2)).tolist() == [3.0, 3.0]


def test_a_fake_gets_a_frame_if_the_model_takes_one() -> None:
    frame = pd.DataFrame({"n": [1, 2], "x": [1.5, 2.5]})
    with fake_children(
        Best, scores=1, frames=lambda frame: frame.assign(n=frame["n"] * 2)
    ) as calls:
        found = Best().ask("frames", frame)
    pd.testing.assert_frame_equal(found, frame.assign(n=[2, 4]))
    pd.testing.assert_frame_equal(calls[0].inputs["frame"], frame)


def test_a_column_is_squeezed_as_with_mlserver() -> None:
    with fake_children(Best, scores=np.array([[1], [2]]), frames=1) as calls:
        assert Best().ask("scores", ROWS).tolist() == [1, 2]
    assert calls[0].output.tolist() == [1, 2]


def test_a_value_that_cannot_travel_fails() -> None:
    with fake_children(Best, scores=object(), frames=1), pytest.raises(ChildFailed, match="travel"):
        Best().predict(ROWS)
    with fake_children(Best, scores=1, frames=1), pytest.raises(PayloadError):
        Best().ask("scores", object())


def test_an_answer_that_is_not_of_the_models_type_fails() -> None:
    with fake_children(SyncParent, double={"a": 1}), pytest.raises(ChildFailed):
        SyncParent().predict(ROWS)


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (Fail(503, "busy"), ChildUnavailable),
        (Fail(429), ChildUnavailable),
        (Fail(404), ChildNotFound),
        (Fail(504), DeadlineExceeded),
        (Fail(500), ChildFailed),
        (Fail(502), ChildFailed),
    ],
)
def test_a_step_fails_as_a_child_does(step: Step, kind: type[TempoError]) -> None:
    with fake_children(Best, scores=step, frames=1) as calls, pytest.raises(kind) as caught:
        Best().predict(ROWS)
    assert type(caught.value) is kind
    assert calls[0].error is caught.value
    assert calls[0].output is None


def test_a_list_of_steps_has_one_for_each_call() -> None:
    script = [Fail(503), Answer(np.array([0.0, 1.0]))]
    with fake_children(Best, scores=script, frames=1):
        with pytest.raises(ChildUnavailable):
            Best().predict(ROWS)
        assert Best().predict(ROWS) == 1
        with pytest.raises(ChildFailed, match="no answer left"):
            Best().predict(ROWS)


@pytest.mark.parametrize("step", [Hang(), Delay(3600)])
def test_a_child_that_hangs_ends_with_the_deadline(step: Step) -> None:
    with (
        fake_children(Best, scores=step, frames=1),
        context.serving(0.05, {}),
        pytest.raises(DeadlineExceeded, match="child 'scores' did not answer"),
    ):
        Best().predict(ROWS)


def test_a_child_that_hangs_can_be_released() -> None:
    held = Hang(Answer(ROWS[0]))
    with fake_children(Best, scores=held, frames=1), ThreadPoolExecutor() as threads:
        calls = [threads.submit(Best().predict, ROWS) for _ in range(2)]
        held.release()
        assert [call.result() for call in calls] == [1, 1]


def test_a_fake_for_an_unknown_child_is_refused() -> None:
    told = "no model 'score' to fake; it has scores, double, frames"
    with pytest.raises(TypeError, match=told), fake_children(Best, score=1):
        pass


# -- The record ------------------------------------------------------------------------------------


def test_a_record_changes_nothing_and_has_every_call() -> None:
    x = np.ones(2)
    with record_calls(SyncParent()) as calls:
        assert SyncParent().predict(x).tolist() == [3.0, 3.0]
        x[:] = 7.0
        SyncParent().predict(x)
    SyncParent().predict(x)
    assert [call.inputs["x"].tolist() for call in calls] == [[1.0, 1.0], [7.0, 7.0]]
    assert [call.output.tolist() for call in calls] == [[2.0, 2.0], [14.0, 14.0]]
    assert {call.alias for call in calls} == {"double"}


def test_a_record_has_calls_that_failed() -> None:
    with record_calls(SyncParent()) as calls, pytest.raises(TempoError) as caught:
        SyncParent().predict(np.array(["text"]))
    [call] = calls
    assert call.error is caught.value
    assert call.output is None


def test_a_record_has_the_calls_of_an_async_pipeline_and_of_fakes() -> None:
    with record_calls(async_parent) as outer, fake_children(async_parent, double=ROWS) as inner:
        asyncio.run(async_parent(ROWS))
    assert sorted(call.alias for call in inner) == ["double", "other"]
    assert [call.alias for call in outer] == ["other"]


def test_a_child_that_the_test_has_replaced_stays_replaced() -> None:
    missing = Model("missing", platform=ModelFramework.SKLearn, local_folder="/not/there")

    @pipeline("both", models=PipelineModels(one=missing, two=missing))
    def both(x: float) -> np.ndarray:
        return both.models.one(x) + both.models.two(x)

    both.models.one = lambda x: 1.0
    with fake_children(both, two=2.0):
        assert both(3.0).tolist() == [3.0]
    assert both.models.one(3.0) == 1.0
