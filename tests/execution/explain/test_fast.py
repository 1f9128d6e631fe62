"""Anchors in less time: what alibi gives, to the last digit."""

from __future__ import annotations

import json
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import pytest

from tempo_runtime.errors import BudgetExceeded, PayloadError, PipelineFailed
from tempo_runtime.execution.explain.accelerated import TESTED, is_fast
from tempo_runtime.execution.explain.isolation import isolated
from tempo_runtime.execution.explain.randomness import stream
from tempo_runtime.explain import fast
from tempo_runtime.request import context
from tempo_runtime.request.budget import RequestBudget

with warnings.catch_warnings():  # of alibi and what it imports, about themselves
    warnings.simplefilter("ignore")
    import alibi
    import spacy
    from alibi.explainers import AnchorTabular, AnchorText
    from alibi.utils.mapping import ord_to_ohe

pytestmark = [
    # alibi warns of averages of nothing where an anchor holds for no row.
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.skipif(
        alibi.__version__ not in TESTED, reason=f"alibi {alibi.__version__} has no fast class"
    ),
]
CATEGORIES = {1: ["a", "b", "c"], 4: ["no", "yes"]}


class Predictor:
    """A rule over all columns, which counts what it is asked."""

    def __init__(self, kind: str = "labels") -> None:
        self.kind = kind
        self.sizes: list[int] = []

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        self.sizes.append(len(rows))
        score = rows @ np.linspace(-1, 1, rows.shape[1]) + (rows[:, 0] > 0.4) * rows[:, -1]
        labels = (score > np.linspace(0, 0.6, 3)[:, None]).sum(axis=0)
        return np.eye(4)[labels] if self.kind == "probabilities" else labels


def data(kind: str, count: int = 400) -> np.ndarray:
    random = np.random.RandomState(0)
    numbers = random.rand(count, 5)
    if kind == "numbers":
        return numbers
    numbers[:, 1], numbers[:, 4] = random.randint(0, 3, count), random.randint(0, 2, count)
    if kind == "mixed":
        return numbers
    rare = (10 * numbers).astype(int)  # integers, and categories that few rows have
    rare[:, 1], rare[:, 4] = random.choice(3, count, p=[0.98, 0.01, 0.01]), numbers[:, 4]
    return rare


def make(kind: str, predictor: Any, rows: np.ndarray | None = None, **options: Any) -> Any:
    rows = data(kind) if rows is None else rows
    if kind != "numbers":
        options.setdefault("categorical_names", CATEGORIES)
    names = [f"f{column}" for column in range(5)]
    return AnchorTabular(predictor, names, seed=1, **options).fit(rows)


@cache
def tokenizer() -> Any:
    """One for all: alibi adds a table of a million words to each."""
    return spacy.blank("en")


def texts(asked: list[int]) -> Any:
    """An explainer of a rule about words, which notes how many texts it is asked about."""

    def predict(given: list[str]) -> np.ndarray:
        asked.append(len(given))
        return np.array(
            [each.count("good") + each.count("warm") > each.count("bad") for each in given]
        )

    made = AnchorText(predict, sampling_strategy="unknown", nlp=tokenizer(), seed=1)
    asked.clear()
    return made


def alone(explainer: Any, row: Any, seed: int, **options: Any) -> dict[str, Any]:
    np.random.seed(seed)
    return json.loads(explainer.explain(row, **options).to_json())


def ours(explainer: Any, row: Any, seed: int, **options: Any) -> dict[str, Any]:
    with stream(seed):
        return json.loads(fast(explainer).explain(row, **options).to_json())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"threshold": 0.99, "delta": 0.05},
        {"threshold": 0.8, "tau": 0.1, "batch_size": 30},
        {"beam_size": 3, "max_anchor_size": 2},
        {"min_samples_start": 1, "coverage_samples": 500, "n_covered_ex": 3},
        {"binary_cache_size": 2, "cache_margin": 10, "stop_on_first": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["numbers", "mixed", "rare"])
def test_an_explanation_is_alibis(kind: str, options: dict[str, Any]) -> None:
    explainer = make(kind, Predictor())
    for seed, row in enumerate(data(kind)[:3]):
        assert ours(explainer, row, seed, **options) == alone(explainer, row, seed, **options)


@pytest.mark.parametrize("kind", ["mixed", "rare"])
def test_so_it_is_for_values_that_no_training_row_has(kind: str) -> None:
    explainer = make(kind, Predictor(), data(kind)[data(kind)[:, 1] != 1])
    row = data(kind)[0]
    row[1] = 1
    assert ours(explainer, row, 3) == alone(explainer, row, 3)


def test_so_it_is_for_one_hot_columns() -> None:
    rows = data("mixed")[:, [0, 2, 3, 1, 4]]
    categories = {3: CATEGORIES[1], 4: CATEGORIES[4]}
    encoded = ord_to_ohe(rows, {3: 3, 4: 2})[0]
    explainer = make("mixed", Predictor(), encoded, ohe=True, categorical_names=categories)
    assert ours(explainer, encoded[0], 3) == alone(explainer, encoded[0], 3)


def test_so_it_is_for_a_predictor_of_probabilities() -> None:
    rows = data("mixed")
    explainer = make("mixed", Predictor("probabilities"))
    own = fast(explainer)
    own.reset_predictor(Predictor("probabilities"))
    with stream(5):
        found = json.loads(own.explain(rows[0]).to_json())
    assert found == alone(explainer, rows[0], 5)
    assert found["data"]["raw"]["prediction"] == [int(Predictor()(rows[:1])[0])]


def test_so_it_is_for_training_data_with_missing_numbers() -> None:
    rows = data("numbers")
    rows[::7, 2] = np.nan

    def predict(asked: np.ndarray) -> np.ndarray:
        return Predictor()(np.nan_to_num(asked))

    explainer = make("numbers", predict, rows)
    assert ours(explainer, rows[1], 3) == alone(explainer, rows[1], 3)


def test_candidates_are_predicted_together() -> None:
    plain, quick = Predictor(), Predictor()
    explainer = make("numbers", plain)
    row = data("numbers")[4]
    plain.sizes.clear()
    expected = alone(explainer, row, 1)
    own = fast(explainer)
    own.samplers[0].predictor = quick
    with stream(1):
        assert json.loads(own.explain(row).to_json()) == expected
    assert sum(quick.sizes) == sum(plain.sizes)
    assert len(quick.sizes) <= len(plain.sizes) / 2 + 1


def test_setting_a_predictor_calls_it_not() -> None:
    explainer, probe = make("numbers", Predictor()), Predictor()
    own = fast(explainer)
    own.predictor = probe
    assert probe.sizes == []


@pytest.mark.parametrize("options", [{}, {"threshold": 0.8, "beam_size": 2, "batch_size": 40}])
@pytest.mark.parametrize("text", ["a good film", "bad and good and warm and bad again", "film"])
def test_an_explanation_of_a_text_is_alibis(text: str, options: dict[str, Any]) -> None:
    asked: list[int] = []
    explainer = texts(asked)
    expected = alone(explainer, text, 3, **options)
    apart = len(asked)
    assert ours(explainer, text, 3, **options) == expected
    assert len(asked) - apart <= apart


def test_candidates_of_a_text_are_predicted_together() -> None:
    asked: list[int] = []
    explainer = texts(asked)
    text, options = "bad and good and warm and bad again", {"threshold": 0.999, "tau": 0.02}
    expected = alone(explainer, text, 3, **options)
    apart = len(asked)
    assert ours(explainer, text, 3, **options) == expected
    assert len(asked) - apart < apart * 0.6
    assert sum(asked[apart:]) == sum(asked[:apart])


def test_of_a_text_too_the_best_anchor_so_far_is_given_and_marked() -> None:
    asked: list[int] = []
    own = fast(texts(asked))

    def spent(given: list[str]) -> np.ndarray:
        if len(asked) > 3:
            raise BudgetExceeded("no more calls")
        asked.append(len(given))
        return np.array([sum(map(ord, each)) % 2 for each in given])  # no word decides it

    own.predictor = spent
    allowance = RequestBudget(allow_incomplete_anchors=True)
    with stream(3), context.serving(None, {}, limits=allowance):
        found = json.loads(own.explain("a good and bad film", tau=0.01).to_json())
    assert found["meta"]["incomplete"] == "no more calls"
    assert set(found["data"]["anchor"]) < {"a", "good", "and", "bad", "film"}


def test_without_a_stream_an_explanation_is_alibis_too() -> None:
    explainer = make("mixed", Predictor())
    row = data("mixed")[2]
    expected = alone(explainer, row, 9)
    np.random.seed(9)
    assert json.loads(fast(explainer).explain(row).to_json()) == expected


def test_eight_threads_each_get_what_alibi_gives_alone() -> None:
    explainer = make("mixed", Predictor())
    rows = data("mixed")[:12]
    expected = [alone(explainer, row, seed) for seed, row in enumerate(rows)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda n: ours(explainer, rows[n], n), range(12))) == expected


def test_many_rows_are_explained_in_order_each_as_if_it_had_come_alone() -> None:
    predictor = Predictor()
    explainer = make("mixed", predictor)
    rows = data("mixed")[:10]
    singly = [ours(explainer, row, 4) for row in rows[:, None]]
    apart = len(predictor.sizes)
    assert ours(explainer, rows, 4) == singly
    assert len(predictor.sizes) - apart < apart * 0.7  # and share calls, until the last is done


def test_many_rows_are_explained_in_order_by_alibis_own_code() -> None:
    explainer = make("mixed", Predictor())
    rows = data("mixed")[:3]
    with stream(4):
        found = isolated(explainer, fast=False).explain(rows)
    assert json.loads(found.to_json()) == [alone(explainer, row, 4) for row in rows[:, None]]


def test_a_failure_for_many_rows_is_raised_once_and_leaves_no_thread() -> None:
    def fail(rows: np.ndarray) -> np.ndarray:
        raise PipelineFailed("no")

    own = fast(make("mixed", Predictor()))
    own.samplers[0].predictor = fail
    with stream(1), pytest.raises(PipelineFailed, match="no"):
        own.explain(data("mixed")[:9])


@pytest.mark.parametrize(
    ("answer", "told"),
    [(np.zeros((3, 2, 2)), "shape"), (np.zeros(1), "one label for each"), ([1, 2], "numpy array")],
)
def test_an_answer_without_a_label_for_each_row_is_reported(answer: Any, told: str) -> None:
    own = fast(make("mixed", Predictor()))
    own.reset_predictor(lambda rows: answer)
    with stream(1), pytest.raises((PipelineFailed, PayloadError), match=told):
        own.explain(data("mixed")[0])


def test_another_sampler_and_a_derived_class_keep_their_own_code() -> None:
    class Mine(AnchorTabular):  # type: ignore[misc]
        pass

    rows = data("numbers")
    mine = Mine(Predictor(), [f"f{n}" for n in range(5)], seed=1).fit(rows)
    assert not is_fast(mine)
    other = make("numbers", Predictor())
    other.samplers = [type("Other", (type(other.samplers[0]),), {})(*[None] * 6)]
    assert not is_fast(other)


def test_the_class_of_the_explainer_that_was_given_is_not_changed() -> None:
    explainer = make("numbers", Predictor())
    assert type(fast(explainer)) is not AnchorTabular
    assert isinstance(fast(explainer), AnchorTabular)
    assert type(explainer) is AnchorTabular
    assert type(explainer.samplers[0]).__module__.startswith("alibi.")


def test_alibis_module_is_not_changed() -> None:
    fast(make("numbers", Predictor()))
    module = sys.modules["alibi.explainers.anchors.anchor_tabular"]
    assert module.AnchorBaseBeam.__module__ == "alibi.explainers.anchors.anchor_base"
