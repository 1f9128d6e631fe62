"""Each request its own copy of an explainer."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from tempo_runtime.errors import ChildUnavailable, PayloadError
from tempo_runtime.explain.isolation import declared_seed, isolated, per_request


def predict(rows: np.ndarray) -> np.ndarray:
    return (rows[:, 0] > 0.5).astype(int)


@pytest.fixture(scope="module")
def explainer() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from alibi.explainers import AnchorTabular
    made = AnchorTabular(predict, ["a", "b"], seed=11)
    made.fit(np.random.RandomState(0).rand(500, 2))
    return made


class Holder:
    def __init__(self, explainer: Any) -> None:
        self.explainer = explainer
        self.seen = 0


def test_a_copy_explains_as_the_original_does(explainer: Any) -> None:
    row = np.array([[0.9, 0.1]])
    np.random.seed(1)
    expected = explainer.explain(row).to_json()
    np.random.seed(1)
    assert isolated(explainer).explain(row).to_json() == expected


def test_what_a_call_changes_is_not_shared(explainer: Any) -> None:
    own = isolated(explainer)
    before = {name: id(value) for name, value in vars(explainer.samplers[0]).items()}
    own.explain(np.array([[0.9, 0.1]]))
    own.predictor = lambda rows: np.zeros(len(rows), int)
    own.samplers[0].predictor = own.predictor
    assert {name: id(value) for name, value in vars(explainer.samplers[0]).items()} == before
    assert explainer.predictor is predict


def test_the_training_data_is_shared(explainer: Any) -> None:
    assert isolated(explainer).samplers[0].train_data is explainer.samplers[0].train_data


def test_a_pipeline_with_an_explainer_is_copied_for_each_request(explainer: Any) -> None:
    holder = Holder(explainer)
    fresh = per_request(holder)
    assert fresh() is not holder
    assert fresh().explainer is not fresh().explainer
    assert holder.explainer is explainer


def test_a_pipeline_without_one_is_shared() -> None:
    holder = Holder(None)
    assert per_request(holder)() is holder


def test_the_seed_an_explainer_was_made_with_is_known(explainer: Any) -> None:
    assert declared_seed(Holder(explainer)) == 11
    assert declared_seed(Holder(None)) is None


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"threshold": "high"}, "threshold='high'; it accepts: threshold, delta"),
        ({"tresholds": 0.9}, "did you mean 'threshold'"),
    ],
)
def test_what_alibi_refuses_is_the_callers_error(
    parameters: dict[str, Any], told: str, explainer: Any
) -> None:
    with pytest.raises(PayloadError, match=told):
        isolated(explainer).explain(np.array([[0.9, 0.1]]), **parameters)


def test_a_row_alibi_cannot_read_is_the_callers_error(explainer: Any) -> None:
    with pytest.raises(PayloadError, match="AnchorTabular rejected the request"):
        isolated(explainer).explain(np.array([[0.9]]))


def test_a_childs_failure_stays_what_it_is(explainer: Any) -> None:
    def down(rows: np.ndarray) -> np.ndarray:
        raise ChildUnavailable("down", model="m")

    own = isolated(explainer)
    own.samplers[0].predictor = down
    with pytest.raises(ChildUnavailable):
        own.explain(np.array([[0.9, 0.1]]))


def test_rows_that_lack_a_column_of_the_trees_are_refused() -> None:
    pytest.importorskip("shap", reason="shap is not installed")
    from alibi.explainers import TreeShap
    from sklearn.tree import DecisionTreeRegressor

    rows = np.random.RandomState(0).rand(50, 4)
    trees = TreeShap(DecisionTreeRegressor(random_state=0).fit(rows, rows[:, 3])).fit()
    with pytest.raises(PayloadError, match="rows of 2 columns, and its trees look at column 3"):
        isolated(trees).explain(rows[:, :2])
    assert isolated(trees).explain(rows[:2]).shap_values
