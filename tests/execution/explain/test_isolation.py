"""Each request its own copy of an explainer."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest

from tempo_runtime import model, predictmethod
from tempo_runtime.errors import ChildUnavailable, PayloadError, PipelineFailed
from tempo_runtime.execution.explain.isolation import declared_seed, isolated, per_request
from tempo_runtime.execution.explain.randomness import stream


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


def test_state_that_a_call_changes_is_not_shared(explainer: Any) -> None:
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
def test_arguments_that_alibi_refuses_are_the_callers_error(
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
    with pytest.raises(PayloadError, match="rows of 2 columns, but its trees use column 3"):
        isolated(trees).explain(rows[:, :2])
    assert isolated(trees).explain(rows[:2]).shap_values


# -- one predictor in all places -------------------------------------------------------------------


def other(rows: np.ndarray) -> np.ndarray:
    return (rows[:, 1] > 0.5).astype(int)


ROW = np.array([[0.9, 0.1]])


def test_a_sampler_that_would_explain_the_old_model_is_refused(explainer: Any) -> None:
    own = isolated(explainer)
    own.predictor = other
    with pytest.raises(
        PipelineFailed, match=r"`predictor` is `other`, but `samplers.0..predictor`"
    ):
        own.explain(ROW)


def test_so_is_one_that_was_saved_so(explainer: Any) -> None:
    own = isolated(explainer)
    own.predictor = other
    with pytest.raises(PipelineFailed, match="reset_predictor"):
        isolated(own).explain(ROW)


@pytest.mark.parametrize(
    "give",
    [
        lambda own: own.reset_predictor(other),
        lambda own: set_both(own, other, other),
        lambda own: set_both(own, argmax(other), argmax(other)),
        lambda own: set_both(own, lambda rows: other(rows), lambda rows: 1 * other(rows)),
        lambda own: setattr(own.samplers[0], "predictor", Model().predict),
        lambda own: set_both(own, partial(other), partial(other)),
        lambda own: set_both(own, Model().predict, Model().predict),
    ],
    ids=[
        "reset",
        "both",
        "wrapped",
        "functions set on purpose",
        "the place alone",
        "partials",
        "methods",
    ],
)
def test_a_predictor_that_is_set_in_both_places_is_not(give: Any, explainer: Any) -> None:
    own = isolated(explainer)
    give(own)
    assert own.explain(ROW).raw["prediction"] == other(ROW)


def test_two_models_in_the_two_places_are_refused(explainer: Any) -> None:
    own = isolated(explainer)
    set_both(own, Model(1).predict, Model(2).predict)
    with pytest.raises(PipelineFailed, match="two predictors that differ"):
        own.explain(ROW)


def test_many_rows_have_one_predictor(explainer: Any) -> None:
    assert len(isolated(explainer).explain(np.array([[0.9, 0.1], [0.1, 0.9]]))) == 2


def test_the_variance_of_partial_dependence_asks_another_place() -> None:
    from alibi.explainers import PartialDependenceVariance

    own = isolated(PartialDependenceVariance(lambda rows: rows[:, 0]))
    own.predictor = lambda rows: rows[:, 1]
    with pytest.raises(PipelineFailed, match=r"set `explainer\.pd_explainer.predictor`"):
        own.explain(np.random.RandomState(0).rand(20, 2), grid_resolution=2)


def test_shaps_part_of_kernel_shap_is_looked_at() -> None:
    pytest.importorskip("shap", reason="shap is not installed")
    from alibi.explainers import KernelShap

    rows = np.random.RandomState(0).rand(20, 2)
    own = isolated(KernelShap(lambda rows: rows[:, 0]).fit(rows))
    own.predictor = lambda rows: rows[:, 1]
    with pytest.raises(PipelineFailed, match=r"_explainer\.model\.f"):
        own.explain(rows[:1], silent=True)


@pytest.mark.parametrize(("made", "called"), [(3, 1), (1, 3)])
def test_kernel_shap_called_with_another_output_than_it_was_made_with_names_the_setting(
    made: int, called: int
) -> None:
    pytest.importorskip("shap", reason="shap is not installed")
    from alibi.explainers import KernelShap

    def predictor(outputs: int) -> Callable[[np.ndarray], np.ndarray]:
        return lambda rows: np.repeat(rows[:, :1], outputs, axis=1)

    rows = np.random.RandomState(0).rand(20, 2)
    own = isolated(KernelShap(predictor(made)).fit(rows))
    own.predictor = own._explainer.model.f = predictor(called)
    with pytest.raises(PipelineFailed) as told:
        own.explain(rows[:2], silent=True)
    assert (
        f"predictor that returned {made} outputs for each row, but now its predictor returns {called};"
    ) in str(told.value)
    assert "correct its setting `output`: `predict_proba`" in str(told.value)


def test_the_trees_of_tree_shap_are_looked_at() -> None:
    pytest.importorskip("shap", reason="shap is not installed")
    from alibi.explainers import TreeShap
    from sklearn.tree import DecisionTreeRegressor

    rows = np.random.RandomState(0).rand(50, 4)
    trees = [DecisionTreeRegressor(random_state=0).fit(rows, rows[:, n]) for n in (0, 3)]
    own = isolated(TreeShap(trees[0]).fit())
    assert own.explain(rows[:2]).shap_values
    own.predictor = trees[1]
    with pytest.raises(PipelineFailed, match="reset_predictor"):
        own.explain(rows[:2])


class Model:
    """Equal to others with its number, as one that was read twice is."""

    def __init__(self, number: int = 0) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and other.number == self.number

    def __hash__(self) -> int:
        return self.number

    def predict(self, rows: np.ndarray) -> np.ndarray:
        return other(rows)


def argmax(predictor: Any) -> Any:
    from alibi.utils.wrappers import ArgmaxTransformer

    return ArgmaxTransformer(lambda rows: np.eye(2)[predictor(rows)])


def set_both(explainer: Any, main: Any, second: Any) -> None:
    explainer.predictor = main
    explainer.samplers[0].predictor = second


# -- what an instance holds ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [np.random.RandomState, np.random.default_rng, random.Random],
    ids=["RandomState", "Generator", "random"],
)
def test_a_generator_beside_an_explainer_starts_again_in_each_request(
    make: Any, explainer: Any
) -> None:
    holder = Holder(explainer)
    holder.generator = make(5)
    fresh = per_request(holder)

    def drawn() -> float:
        generator = fresh().generator
        return generator.random() if hasattr(generator, "random") else generator.rand()

    assert drawn() == drawn()


def test_numpys_shared_generator_is_the_requests_own(explainer: Any) -> None:
    holder = Holder(explainer)
    holder.generator = np.random.mtrand._rand
    with stream(3):
        assert per_request(holder)().generator.rand() == np.random.RandomState(3).rand()


def test_a_copy_has_what_is_not_saved(explainer: Any) -> None:
    class Careful(Holder):
        def __getstate__(self) -> dict[str, Any]:
            return {}

    holder = Careful(explainer)
    assert per_request(holder)().seen == 0


@dataclass(frozen=True)
class Frozen:
    explainer: Any


@dataclass(frozen=True, slots=True)
class Slotted:
    explainer: Any


@pytest.mark.parametrize("kind", [Frozen, Slotted])
def test_a_frozen_dataclass_is_copied(kind: Any, explainer: Any) -> None:
    made = kind(explainer)
    assert per_request(made)().explainer is not explainer
    assert made.explainer is explainer


# -- without a server ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["class", "function"])
def test_calls_without_a_server_explain_alike_in_any_order(kind: str, explainer: Any) -> None:
    if kind == "class":

        @model("anchors")
        class Anchors:
            def __init__(self) -> None:
                self.explainer = explainer

            @predictmethod
            def explain(self, row: np.ndarray, threshold: float) -> str:
                return str(self.explainer.explain(row, threshold=threshold).to_json())

        explain: Any = Anchors().explain
    else:

        @model("anchors")
        def explain(row: np.ndarray, threshold: float) -> str:
            return str(explain.context.explainer.explain(row, threshold=threshold).to_json())

        explain.context.explainer = explainer
    before = vars(explainer.samplers[0]).copy()
    asked = [(np.array([[x, y]]), z) for x, y in ((0.9, 0.1), (0.2, 0.8)) for z in (0.9, 0.99)]
    first = [explain(*each) for each in asked]
    assert [explain(*each) for each in reversed(asked)][::-1] == first
    assert vars(explainer.samplers[0]) == before
