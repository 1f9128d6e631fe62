"""scikit-learn models that are computed in less time: the same answers, or a reason why not."""

from __future__ import annotations

import copy
import functools
import gc
import json
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    _forest,
)
from sklearn.impute import SimpleImputer
from sklearn.impute._base import _BaseImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier

from tempo_runtime import Model, ModelFramework, PipelineModels, pipeline, save
from tempo_runtime.clients.child import Child
from tempo_runtime.errors import ChildFailed, ChildUnavailable, SettingsError
from tempo_runtime.execution.loading import ChildResolver
from tempo_runtime.execution.sklearn_fast import FastModel, accelerate
from tempo_runtime.execution.sklearn_fast.base import NoFastPath
from tempo_runtime.execution.sklearn_fast.trees import Trees
from tempo_runtime.request.portal import background
from tempo_runtime.settings import PipelineSettings
from tempo_runtime.testing import serve

_RANDOM = np.random.RandomState(0)
NUMBERS, KINDS = [0, 4, 5], [1, 2, 3]
# As the census: whole numbers, three columns of categories among them.
X = np.column_stack(
    [_RANDOM.randint(low, high, 300) for low, high in ((17, 90), (0, 9), (0, 2), (3, 7))]
    + [(_RANDOM.gamma(0.1, 20000, 300)).astype(int), _RANDOM.randint(1, 99, 300)]
)
Y = (X[:, 0] + 9 * X[:, 1] + _RANDOM.normal(0, 20, 300) > 80).astype(int)
GAPS = np.where(_RANDOM.rand(*X.shape) < 0.1, np.nan, X)
FOREST: dict[str, Any] = {"n_estimators": 7, "random_state": 0}
BINNED: dict[str, Any] = {"max_iter": 5, "random_state": 0}


def census(**encoder: Any) -> Pipeline:
    impute = SimpleImputer(strategy="median")
    encode = OneHotEncoder(**({"handle_unknown": "ignore"} | encoder))
    preprocess = ColumnTransformer(
        [
            ("num", make_pipeline(impute, StandardScaler()), NUMBERS),
            ("cat", make_pipeline(impute, encode), KINDS),
        ]
    )
    return Pipeline([("preprocess", preprocess), ("model", RandomForestClassifier(**FOREST))])


def before_forest(*steps: Any, **options: Any) -> Pipeline:
    return make_pipeline(*steps, RandomForestClassifier(**{**FOREST, **options}))


def columns(*parts: Any, **options: Any) -> Pipeline:
    return before_forest(make_column_transformer(*parts, **options))


ONE_HOT = OneHotEncoder(handle_unknown="ignore")
DENSE = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
TEXTS = np.array(["at most", "more"])[Y]
MODELS: dict[str, tuple[Any, Any, Any]] = {
    "census": (census(), X, Y),
    "census of floats": (census(), GAPS, Y),
    "census of float32": (census(), GAPS.astype(np.float32), Y),
    "census, strict": (census(handle_unknown="error"), X, Y),
    "census, dense": (census(sparse_output=False, dtype=np.float32), X, Y),
    "three classes": (census(), X, X[:, 0] // 30),
    "texts": (census(), X, TEXTS),
    "objects": (census(), X, TEXTS.astype(object)),
    "one class": (census(), X, np.zeros(len(X), np.int8)),
    "truths": (census(), X, Y.astype(bool)),
    "forest": (RandomForestClassifier(**FOREST), X, Y),
    "forest, one job": (RandomForestClassifier(**FOREST, n_jobs=1), X / 7, Y),
    "forest of gaps": (RandomForestClassifier(**FOREST), GAPS, Y),
    "extra trees": (ExtraTreesClassifier(**FOREST), X / 7, Y),
    "tree": (DecisionTreeClassifier(random_state=0, max_depth=4), X, Y),
    "extra tree": (ExtraTreeClassifier(random_state=0), X, Y),
    "numbers of a forest": (RandomForestRegressor(**FOREST), X, X[:, 4] / 3),
    "numbers of extra trees": (ExtraTreesRegressor(**FOREST), X, -X[:, 4] / 3),
    "numbers of a tree": (make_pipeline(StandardScaler(), DecisionTreeRegressor()), X, X[:, 4] / 3),
    "forest, two jobs": (RandomForestClassifier(**FOREST, n_jobs=2), X, Y),
    "two outputs": (RandomForestClassifier(**FOREST), X, np.column_stack([Y, X[:, 1]])),
    "two outputs of a tree": (DecisionTreeClassifier(random_state=0), X, np.array([TEXTS, Y]).T),
    "two outputs of numbers": (ExtraTreesRegressor(**FOREST), X, X[:, 3:5] / 3),
    "two outputs of a tree of numbers": (DecisionTreeRegressor(random_state=0), X, X[:, 3:5] / 3),
    "boosted": (GradientBoostingClassifier(**FOREST), X, TEXTS),
    "boosted, three classes": (GradientBoostingClassifier(**FOREST), X / 7, X[:, 0] // 30),
    "boosted, exponential": (GradientBoostingClassifier(**FOREST, loss="exponential"), X, Y),
    "boosted from zero": (GradientBoostingClassifier(**FOREST, init="zero"), X, Y),
    "boosted numbers": (
        make_pipeline(SimpleImputer(), GradientBoostingRegressor(**FOREST)),
        GAPS,
        X[:, 4] / 3,
    ),
    "binned": (HistGradientBoostingClassifier(**BINNED), GAPS, TEXTS),
    "binned, three classes": (HistGradientBoostingClassifier(**BINNED), GAPS, X[:, 0] // 30),
    "binned numbers": (HistGradientBoostingRegressor(**BINNED, loss="poisson"), GAPS, X[:, 4] / 3),
    "scaled and binned": (
        make_pipeline(StandardScaler(), HistGradientBoostingRegressor(**BINNED)),
        GAPS,
        X[:, 4],
    ),
    "scaled": (before_forest(StandardScaler()), X, Y),
    "centred": (before_forest(StandardScaler(with_std=False)), X, Y),
    "spread": (before_forest(StandardScaler(with_mean=False)), X, Y),
    "as it is": (before_forest(StandardScaler(with_mean=False, with_std=False)), X, Y),
    "one hot": (before_forest(ONE_HOT), X[:, :4], Y),
    "one hot of gaps": (before_forest(DENSE), GAPS[:, :4], Y),
    "one hot of fractions": (before_forest(ONE_HOT), X[:, :4] / 10, Y),
    "mean": (before_forest(SimpleImputer()), GAPS, Y),
    "mean of float32": (before_forest(SimpleImputer()), (GAPS / 7).astype(np.float32), Y),
    "most frequent": (before_forest(SimpleImputer(strategy="most_frequent")), X, Y),
    "constant": (before_forest(SimpleImputer(strategy="constant", fill_value=-1)), GAPS, Y),
    "constant of integers": (before_forest(SimpleImputer(strategy="constant")), X, Y),
    "dropped and left": (columns((ONE_HOT, [1]), ("drop", [0]), remainder="passthrough"), X, Y),
    "a remainder of its own": (columns((ONE_HOT, [1]), remainder=StandardScaler()), X, Y),
    "slices": (columns((StandardScaler(), slice(3, None)), ("passthrough", slice(-5, 2))), X, Y),
    "masks": (columns((DENSE, [False, True] * 3), ("passthrough", np.arange(6) < 1)), X, Y),
    "from the end": (columns((ONE_HOT, [-3]), ("passthrough", [-1, 0, -1])), X, Y),
    "none chosen": (columns((ONE_HOT, []), (StandardScaler(), [0]), remainder="drop"), X, Y),
    "chosen by a function": (columns((ONE_HOT, lambda x: [1, 2]), remainder="drop"), X, Y),
    "columns of columns": (
        columns((make_column_transformer((ONE_HOT, [0]), remainder="passthrough"), KINDS)),
        X,
        Y,
    ),
    "whole numbers left": (columns((DENSE, [1]), remainder="passthrough"), X * 10**8 + 1, Y),
    "nothing between": (before_forest("passthrough", FunctionTransformer(), None), X, Y),
    "pipelines within": (make_pipeline(StandardScaler(), before_forest(SimpleImputer())), GAPS, Y),
}
LINEAR = {"linear": (make_pipeline(MinMaxScaler(), LogisticRegression()), X, Y)}


@functools.cache
def fitted(name: str) -> Any:
    model, rows, labels = {**MODELS, **LINEAR}[name]
    return clone(model).fit(rows, labels)  # a pipeline fits the very transformers it is given


@functools.cache
def fast(name: str) -> tuple[Any, FastModel]:
    """A fast model, and what computes it."""
    model = copy.copy(fitted(name))
    return model, accelerate(model)


def outcome(function: Callable[..., Any], *args: Any) -> tuple[Any, ...]:
    """Return the result of a call, to the last bit, or the exception that it raises."""
    try:
        found = function(*args)
    except Exception as error:
        return type(error), str(error)
    if isinstance(found, list):  # probabilities of several outputs
        return tuple(outcome(lambda part=part: part) for part in found)
    bits = found.tolist() if found.dtype.kind == "O" else found.tobytes()
    return type(found), found.dtype, found.shape, bits


def assert_same(name: str, rows: Any) -> None:
    model, computed = fast(name)
    for method in computed.methods:
        mine, own = getattr(model, method), getattr(fitted(name), method)
        assert outcome(mine, rows) == outcome(own, rows)


def variants(rows: np.ndarray) -> Iterator[np.ndarray]:
    yield rows
    yield rows.astype(np.float64)
    yield rows.astype(np.float32)
    yield np.asfortranarray(rows)
    yield rows[::-2]
    yield np.nan_to_num(rows).astype(np.int32)


# -- the same answers ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_answers_are_scikit_learns_to_the_last_bit(name: str) -> None:
    for rows in variants(MODELS[name][1]):
        for size in (1, 2, 100, len(rows)):
            assert_same(name, rows[:size])


@pytest.mark.parametrize("name", MODELS)
def test_it_computes_them_itself(name: str) -> None:
    rows = np.nan_to_num(MODELS[name][1])
    known = name not in ("census, strict", "one hot of gaps", "constant")
    rows = rows if known else MODELS[name][1]
    for method in fast(name)[1].methods:
        assert fast(name)[1].answer(method, rows) is not None


@pytest.mark.parametrize(
    "name",
    [
        "census",
        "forest, two jobs",
        "two outputs",
        "boosted, three classes",
        "binned, three classes",
    ],
)
def test_many_rows_are_computed_in_parts(name: str) -> None:
    rows = np.tile(X, (8, 1))
    assert fast(name)[1].answer("predict", rows) is not None
    assert_same(name, rows)


@pytest.mark.parametrize("jobs", [2, -1])
def test_a_forest_of_several_jobs_adds_up_its_trees_in_their_order(jobs: int) -> None:
    forest = RandomForestRegressor(n_estimators=30, min_samples_leaf=5, random_state=0)
    model = forest.fit(X, X[:, 4] / 3)
    rows = np.tile(X, (8, 1))
    expected = outcome(model.predict, rows)
    model.n_jobs = jobs
    accelerate(model)
    assert outcome(model.predict, rows) == expected
    assert outcome(model.predict, rows[:1])[3] == expected[3][:8]


def test_thresholds_themselves_are_on_the_same_side() -> None:
    model = fitted("forest, one job")
    limits = np.concatenate([each.tree_.threshold for each in model.estimators_]).astype(np.float32)
    for end in (-np.inf, np.inf):
        rows = np.stack([np.nextafter(limits, np.float32(end)), limits] * 3, axis=1)
        assert_same("forest, one job", rows)


# Numbers that models know, that none does, and those at which arithmetic ends.
_NUMBERS = st.one_of(
    st.sampled_from([*range(10), 17, 42, 89, 0.5, 0.1, 1e9, 3e38, 4e38, 1e308, -1e308, -0.0]),
    st.sampled_from([np.nan, np.inf, -np.inf]),
    st.floats(-100, 100),
)
_INTEGERS = st.one_of(st.integers(0, 9), st.integers(0, 255))
_DTYPES = [np.float64, np.float32, np.float16, ">f8", np.int64, np.int8, np.uint8, np.uint64, bool]


@st.composite
def some_rows(draw: st.DrawFn) -> np.ndarray:
    dtype = np.dtype(draw(st.sampled_from([*_DTYPES, ">i4", object])))
    shape = (draw(st.integers(0, 4)), draw(st.sampled_from([6, 6, 6, 6, 4, 5, 7])))
    elements = _INTEGERS if dtype.kind in "iub" else _NUMBERS
    rows = draw(hnp.arrays(object, shape, elements=elements))
    with np.errstate(all="ignore"):
        return rows.astype(np.int64).astype(dtype) if dtype.kind in "iub" else rows.astype(dtype)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=25, deadline=None)
@given(rows=some_rows())
def test_whatever_the_rows_are_the_outcome_is_scikit_learns(name: str, rows: np.ndarray) -> None:
    assert_same(name, rows)


@pytest.mark.parametrize(
    "rows",
    [
        X[0],
        X[np.newaxis],
        X[:3].tolist(),
        X[:3].astype(str),
        X[:3].astype(complex),
        np.ma.masked_array(X[:3]),
        sparse.csr_matrix(X[:3]),
        pd.DataFrame(X[:3]),
        None,
        "rows",
    ],
    ids=lambda rows: type(rows).__name__ + str(getattr(rows, "dtype", "")),
)
@pytest.mark.parametrize("name", ["census", "forest"])
def test_rows_that_are_not_a_matrix_of_numbers_are_left_to_scikit_learn(
    name: str, rows: Any
) -> None:
    assert_same(name, rows)


def test_an_unknown_category_raises_what_scikit_learn_raises() -> None:
    rows = X[:2].copy()
    rows[1, 1] = 77
    with pytest.raises(ValueError, match="Found unknown categories"):
        fast("census, strict")[0].predict(rows)
    assert fast("census")[1].answer("predict", rows) is not None


def test_a_regressor_has_no_probabilities() -> None:
    with pytest.raises(AttributeError, match="predict_proba"):
        fast("numbers of a forest")[0].predict_proba(X)


def test_rows_are_left_as_they_are_and_numpys_generator_too() -> None:
    rows, state = X.astype(float), np.random.get_state()
    accelerate(copy.copy(fitted("scaled"))).answer("predict", rows)
    np.testing.assert_array_equal(rows, X)
    np.testing.assert_equal(np.random.get_state(), state)


# -- names of columns ------------------------------------------------------------------------------

FRAME = pd.DataFrame(X, columns=list("abcdef"))
NAMED: dict[str, Any] = {
    "forest": RandomForestClassifier(**FOREST),
    "tree": DecisionTreeRegressor(random_state=0),
    "steps": before_forest(SimpleImputer(), StandardScaler()),
    "columns": census(),
}


@functools.cache
def fitted_to_frame(name: str) -> tuple[Any, Any]:
    """A model, and a fast copy of it."""
    model = clone(NAMED[name]).fit(FRAME, Y)
    quick = copy.copy(model)
    assert accelerate(quick).compute("predict", X) is not None
    return model, quick


def warned(model: Any, rows: Any) -> list[tuple[Any, ...]]:
    """Predict, and return the warnings and the outcome."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = outcome(model.predict, rows)
    return [(str(w.message), w.category, w.filename, w.lineno) for w in caught] + [result]


@pytest.mark.parametrize(
    "rows",
    [X, FRAME, FRAME[list("bacdef")], FRAME.rename(columns={"a": "z"}), X[:, :5], FRAME[["a"]]],
    ids=["array", "frame", "other order", "other names", "too few", "too few names"],
)
@pytest.mark.parametrize("name", NAMED)
def test_warnings_and_errors_about_names_are_scikit_learns(name: str, rows: Any) -> None:
    model, quick = fitted_to_frame(name)
    expected = warned(model, rows)
    assert warned(quick, rows) == expected


@pytest.mark.parametrize("name", NAMED)
def test_a_warning_that_is_an_error_is_raised_as_by_scikit_learn(name: str) -> None:
    model, quick = fitted_to_frame(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = outcome(model.predict, X)
        assert expected[0] is UserWarning
        assert outcome(quick.predict, X) == expected


@pytest.mark.parametrize("name", NAMED)
def test_making_a_model_fast_does_not_warn(name: str) -> None:
    model = clone(NAMED[name]).fit(FRAME, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        accelerate(model)


# -- refusals --------------------------------------------------------------------------------------


class Own(StandardScaler):
    pass


class OwnForest(RandomForestClassifier):
    pass


TEXT_ROWS = np.array([["a", "b"], ["b", "a"]] * 150, object)
REFUSED: dict[str, tuple[Any, Any, str]] = {
    "adaptively boosted": (AdaBoostClassifier(n_estimators=2), X, "AdaBoostClassifier has no"),
    "boosted from a model": (
        GradientBoostingClassifier(n_estimators=2, init=LogisticRegression()),
        X / 100,
        "GradientBoostingClassifier has `init`, a model that is computed before its trees",
    ),
    "binned categories": (
        HistGradientBoostingRegressor(max_iter=2, categorical_features=[1]),
        X,
        "HistGradientBoostingRegressor has categorical features",
    ),
    "numbered": (
        before_forest(OrdinalEncoder()),
        X[:, :4],
        r"step 'ordinalencoder' \(OrdinalEncoder\) has no fast path",
    ),
    "linear": (
        make_pipeline(StandardScaler(), LogisticRegression()),
        X,
        r"step 'logisticregression' \(LogisticRegression\) has no fast path",
    ),
    "unknown": (before_forest(MinMaxScaler()), X, r"step 'minmaxscaler' \(MinMaxScaler\) has no"),
    "unknown within": (
        columns((make_pipeline(SimpleImputer(), MinMaxScaler()), [0])),
        X,
        "step 'columntransformer > pipeline > minmaxscaler'",
    ),
    "subclass": (before_forest(Own()), X, r"step 'own' \(Own\) has no fast path"),
    "own forest": (OwnForest(**FOREST), X, "OwnForest has no fast path"),
    "function": (before_forest(FunctionTransformer(np.abs)), X, "FunctionTransformer"),
    "indicator": (before_forest(SimpleImputer(add_indicator=True)), GAPS, "an indicator"),
    "zero is missing": (before_forest(SimpleImputer(missing_values=0)), X, "for NaN only"),
    "first dropped": (before_forest(OneHotEncoder(drop="first")), X[:, :4], "without `drop`"),
    "rare": (before_forest(OneHotEncoder(min_frequency=3)), X[:, :4], "min_frequency"),
    "texts": (before_forest(OneHotEncoder()), TEXT_ROWS, "are not numbers of one type"),
    "many": (before_forest(OneHotEncoder()), np.arange(5000)[:, np.newaxis], "more than 4096"),
    "huge": (before_forest(OneHotEncoder()), X[:, :4] + 2**60, f"above {2**53}"),
    "scaled categories": (
        before_forest(OneHotEncoder(), StandardScaler(with_mean=False)),
        X[:, :4],
        "'standardscaler'.*takes a sparse matrix",
    ),
    "objects": (
        before_forest(SimpleImputer(strategy="most_frequent")),
        X.astype(object),
        "was fitted to values other than numbers",
    ),
    "nothing left": (
        columns((make_column_transformer(("drop", [0])), KINDS), remainder="passthrough"),
        X,
        "'columntransformer > columntransformer'.*drops all columns",
    ),
    "slice of names": (
        columns((ONE_HOT, slice("b", "c"))),
        pd.DataFrame(X, columns=list("abcdef")),
        "does not select the columns of '.*' by their positions",
    ),
    "weights": (
        columns((ONE_HOT, [1]), remainder="passthrough").set_params(
            columntransformer__transformer_weights={"onehotencoder": 2}
        ),
        X,
        "has transformer_weights",
    ),
    "names": (
        columns((ONE_HOT, ["b"])),
        pd.DataFrame(X, columns=list("abcdef")),
        "does not select the columns of 'onehotencoder' by their positions",
    ),
    "frames": (before_forest(StandardScaler().set_output(transform="pandas")), X, "set_output"),
}


@pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_a_step_without_a_fast_path_is_named(name: str) -> None:
    model, rows, told = REFUSED[name]
    with pytest.raises(NoFastPath, match=told):
        accelerate(model.fit(rows, np.arange(len(rows)) % 2))


def test_columns_that_never_had_a_value_are_refused() -> None:
    rows = np.column_stack([GAPS, np.full(len(X), np.nan)])
    model = before_forest(SimpleImputer())
    with pytest.warns(UserWarning, match="Skipping features"):
        model.fit(rows, Y)
    with pytest.raises(NoFastPath, match="did not have a value when it was fitted"):
        accelerate(model)


def test_a_model_that_is_not_fitted_is_refused() -> None:
    with pytest.raises(NoFastPath, match="RandomForestClassifier is not fitted"):
        accelerate(RandomForestClassifier())


def test_a_model_that_does_not_predict_is_refused() -> None:
    with pytest.raises(NoFastPath, match="Pipeline has no step that predicts"):
        accelerate(make_pipeline("passthrough").fit(X))
    with pytest.raises(NoFastPath, match=r"step 'standardscaler' \(StandardScaler\)"):
        accelerate(make_pipeline(StandardScaler()).fit(X))


def test_a_model_whose_own_answers_are_others_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_forest, "_accumulate_prediction", lambda *args: None)
    with pytest.raises(NoFastPath, match="answers to `predict` differ from its own"):
        accelerate(RandomForestClassifier(**FOREST).fit(X, Y))


def test_a_model_that_fails_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(_forest, "_accumulate_prediction")
    with pytest.raises(NoFastPath, match="answers to `predict` differ from its own"):
        accelerate(RandomForestClassifier(**FOREST).fit(X, Y))


def test_a_step_whose_own_numbers_are_others_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = before_forest(SimpleImputer()).fit(X, Y)
    monkeypatch.setattr(_BaseImputer, "_concatenate_indicator", lambda self, x, _: x + 1e-9)
    with pytest.raises(
        NoFastPath, match=r"step 'simpleimputer' .* whose numbers differ from its own"
    ):
        accelerate(model)


def test_a_model_with_a_method_of_its_own_is_refused() -> None:
    model = RandomForestClassifier(**FOREST).fit(X, Y)
    model.predict = model.predict
    with pytest.raises(NoFastPath, match="has a method `predict` that is not scikit-learn's"):
        accelerate(model)


def test_a_step_with_a_method_of_its_own_is_refused() -> None:
    model = columns((StandardScaler(), [0, 1])).fit(X, Y)
    [(_, scaler, _), _] = model[0].transformers_
    scaler.transform = scaler.transform
    reason = "step 'columntransformer > standardscaler' .*method `transform` that is not"
    with pytest.raises(NoFastPath, match=reason):
        accelerate(model)


def test_a_tree_with_a_method_of_its_own_is_refused() -> None:
    model = RandomForestClassifier(**FOREST).fit(X, Y)
    model.estimators_[3].predict_proba = model.estimators_[3].predict_proba
    with pytest.raises(NoFastPath, match="has a method `predict_proba` that is not"):
        accelerate(model)


@pytest.mark.parametrize("estimator", [RandomForestClassifier, Pipeline, ColumnTransformer])
def test_a_patched_class_is_refused(estimator: type, monkeypatch: pytest.MonkeyPatch) -> None:
    model = columns((StandardScaler(), [0, 1])).fit(X, Y)
    method = "transform" if estimator is ColumnTransformer else "predict_proba"
    original = getattr(estimator, method)

    @functools.wraps(original)
    def patched(*args: Any) -> Any:
        return original(*args)

    monkeypatch.setattr(estimator, method, patched)
    with pytest.raises(NoFastPath, match=f"has a method `{method}` that is not scikit-learn's"):
        accelerate(model)


@pytest.mark.parametrize("version", ["1.3.2", "2.0.0"])
def test_an_unknown_version_of_scikit_learn_is_refused(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sklearn, "__version__", version)
    with pytest.raises(NoFastPath, match=f"is of scikit-learn {version}; only 1.4 or newer"):
        accelerate(RandomForestClassifier(**FOREST).fit(X, Y))


def test_any_error_while_it_is_made_fast_is_a_refusal() -> None:
    model = RandomForestClassifier(**FOREST).fit(X, Y)
    model.n_features_in_ = "six"
    with pytest.raises(NoFastPath, match="is not fitted, or not as expected: "):
        accelerate(model)


@pytest.mark.parametrize(
    "unfitted",
    [
        RandomForestClassifier(**FOREST),
        GradientBoostingClassifier(**FOREST),
        HistGradientBoostingClassifier(**BINNED),
    ],
)
def test_a_model_is_released_with_its_last_reference(unfitted: Any) -> None:
    model = clone(unfitted).fit(pd.DataFrame(X, columns=list("abcdef")), Y)
    accelerate(model)
    reference = weakref.ref(model)
    gc.disable()
    try:
        del model
        assert reference() is None
    finally:
        gc.enable()


# -- the setting -----------------------------------------------------------------------------------


Connect = Callable[..., Child]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes a child of a folder; closes it at the end."""
    connectors = []

    def connected(folder: Path, environ: dict[str, str] | None = None, **settings: Any) -> Child:
        options = PipelineSettings.read({"models": {"child": settings}}, environ or {})
        connectors.append(ChildResolver(options, background(), inside=["pipeline"]))
        model = Model(
            folder.name.replace("_", "-"), platform=ModelFramework.SKLearn, local_folder=str(folder)
        )
        return connectors[-1].child("child", model)

    yield connected
    for connector in connectors:
        background().run(connector.close())


@functools.cache
def _saved(root: Path, name: str) -> Path:
    folder = root / name.replace(" ", "-").replace(",", "")
    folder.mkdir()
    joblib.dump(fitted(name), folder / "model.joblib")
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Writes a model to a folder, once."""
    return functools.partial(_saved, tmp_path_factory.mktemp("models"))


def called(child: Child, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
    """Return a child's result or exception, without the parts that differ between calls."""
    return outcome(functools.partial(child, *args, **kwargs))


SERVED = ["census", "texts", "three classes", "numbers of a forest"]
CALLS: dict[str, Any] = {
    "integers": X[:150],
    "floats": GAPS[:150],
    "float32": X[:2].astype(np.float32),
    "one row": X[:1],
    "no rows": X[:0],
    "reversed": X[9::-1],
    "big endian": X[:2].astype(">i4"),
    "booleans": X[:2] > 3,
    "infinite": np.full((1, 6), np.inf),
    "too narrow": X[:2, :3],
    "rank 1": X[0],
    "a list": X[:2].tolist(),
    "a frame": pd.DataFrame(X[:2], columns=list("abcdef")),
    "texts": X[:2].astype(str),
}


@pytest.mark.parametrize("output", [None, "predict", "predict_proba", "transform", "nothing"])
@pytest.mark.parametrize("name", SERVED)
def test_a_fast_child_answers_as_a_slow_one(
    name: str, output: str | None, saved: Callable[[str], Path], connect: Connect
) -> None:
    slow, fast = (connect(saved(name), fast_sklearn=fast, output=output) for fast in (False, None))
    for call, rows in CALLS.items():
        assert called(fast, rows) == called(slow, rows), call
        # Once the runtime has answered with numbers, the model is called with arrays.
        assert called(fast, rows) == called(slow, rows), call


@pytest.mark.parametrize(
    ("name", "setting", "computed"),
    [
        ("census", None, "without scikit-learn's checks in each call, with the same answers"),
        ("census", True, "without scikit-learn's checks in each call, with the same answers"),
        ("census", False, "by scikit-learn, because `fast_sklearn` is false"),
        ("linear", None, "by scikit-learn: step 'logisticregression' (LogisticRegression) has no"),
    ],
)
def test_the_log_says_how_a_model_is_computed_and_why(
    name: str,
    setting: bool | None,
    computed: str,
    saved: Callable[[str], Path],
    connect: Connect,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "mlserver")
    connect(saved(name), fast_sklearn=setting)
    [message] = caplog.messages
    assert message.startswith(f"child {name!r} in this process is computed {computed}")


def test_a_model_whose_fast_answers_would_differ_is_computed_by_scikit_learn(
    saved: Callable[[str], Path], connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = outcome(fitted("census").predict, X)
    monkeypatch.setattr(Trees, "__call__", lambda self, x: np.eye(2)[np.ones(len(x), int)])
    child = connect(saved("census"))
    assert called(child, X) == expected
    told = "census' .*cannot be loaded with `fast_sklearn`: .*differ from its own"
    with pytest.raises(SettingsError, match=told):
        connect(saved("census"), fast_sklearn=True)


@pytest.fixture(scope="module")
def server(saved: Callable[[str], Path]) -> Iterator[Any]:
    """The models of `SERVED`, as MLServer serves them."""
    for name in SERVED:
        folder = saved(name)
        implementation = "mlserver_sklearn.SKLearnModel"
        stated = {"name": folder.name, "implementation": implementation}
        (folder / "model-settings.json").write_text(
            json.dumps({**stated, "parameters": {"uri": "./model.joblib"}})
        )
    with serve(*map(saved, SERVED)) as running:
        yield running


@pytest.mark.parametrize("output", [None, "predict_proba"])
@pytest.mark.parametrize("name", SERVED)
def test_a_fast_child_answers_as_one_on_a_server(
    name: str,
    output: str | None,
    server: Any,
    saved: Callable[[str], Path],
    connect: Connect,
) -> None:
    fast = connect(saved(name), fast_sklearn=True, output=output)
    there = connect(saved(name), url=server.url, output=output, unavailable_timeout=0)
    for rows in (X[:150], GAPS[:5], X[:1]):
        if output and name == "numbers of a forest":
            for child in (fast, there):
                with pytest.raises(ChildFailed, match="models do not support"):
                    child(rows)
        else:
            assert called(fast, rows) == called(there, rows)


def test_most_calls_need_no_scikit_learn(saved: Callable[[str], Path], connect: Connect) -> None:
    child = connect(saved("census"))
    transport: Any = child._transport
    # Requests that only scikit-learn can answer now fail.
    del transport._runtime._model._model.steps
    np.testing.assert_array_equal(child(X), fitted("census").predict(X))
    with pytest.raises(ChildFailed, match="This 'Pipeline' has no attribute 'predict'"):
        child(X > 3)


def test_its_settings_choose_the_output_as_on_a_server(tmp_path: Path, connect: Connect) -> None:
    joblib.dump(fitted("census"), tmp_path / "model.joblib")
    stated = {"parameters": {"extra": {"predict_fn": "predict_proba"}}}
    (tmp_path / "model-settings.json").write_text(json.dumps(stated))
    fast = connect(tmp_path, fast_sklearn=True)
    assert called(fast, X) == outcome(fitted("census").predict_proba, X)


def test_tensors_that_its_settings_describe_are_mlservers(tmp_path: Path, connect: Connect) -> None:
    joblib.dump(fitted("census"), tmp_path / "model.joblib")
    described = [{"name": "rows", "datatype": "FP32", "shape": [-1, 6]}]
    described[0]["parameters"] = {"content_type": "np"}
    (tmp_path / "model-settings.json").write_text(json.dumps({"inputs": described}))
    slow, fast = (connect(tmp_path, fast_sklearn=fast) for fast in (False, True))
    assert called(fast, rows=X) == called(slow, rows=X)


def test_both_outputs_can_be_asked_for(saved: Callable[[str], Path], connect: Connect) -> None:
    child = connect(saved("census"), fast_sklearn=True)
    child._outputs = ["predict", "predict_proba"]
    found = child(X)
    assert outcome(lambda: found["predict"]) == outcome(fitted("census").predict, X)
    assert outcome(lambda: found["predict_proba"]) == outcome(fitted("census").predict_proba, X)


def test_a_fast_child_and_a_slow_one_of_a_folder_do_not_share(
    saved: Callable[[str], Path], connect: Connect
) -> None:
    one, two, other = (
        connect(saved("census"), fast_sklearn=fast)._transport for fast in (True, True, False)
    )
    runtimes: list[Any] = [one, two, other]
    assert runtimes[0]._runtime is runtimes[1]._runtime
    assert runtimes[0]._runtime is not runtimes[2]._runtime


def test_the_environment_makes_a_child_fast(saved: Callable[[str], Path], connect: Connect) -> None:
    child: Any = connect(saved("census"), {"TEMPO_RUNTIME_MODELS__CHILD__FAST_SKLEARN": "1"})
    assert "same answers bit for bit" in child._transport._runtime.evaluation


def test_an_async_pipeline_has_fast_children(
    saved: Callable[[str], Path], connect: Connect
) -> None:
    child = connect(saved("census"), fast_sklearn=True)
    assert outcome(child.submit(X).result) == called(child, X)


def test_a_model_that_cannot_be_fast_is_refused_at_load(tmp_path: Path, connect: Connect) -> None:
    joblib.dump(fitted("linear"), tmp_path / "model.joblib")
    told = (
        rf"child '.*' in {tmp_path} cannot be loaded with `fast_sklearn`: step 'logisticregression' "
        r"\(LogisticRegression\) has no fast path.*; remove the setting"
    )
    with pytest.raises(SettingsError, match=told):
        connect(tmp_path, fast_sklearn=True)
    assert connect(tmp_path)(X).shape == (len(X),)


def test_a_fast_child_whose_model_is_missing_is_reported(tmp_path: Path, connect: Connect) -> None:
    with pytest.raises(ChildUnavailable, match="cannot be loaded in this process"):
        connect(tmp_path, fast_sklearn=True)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "grpc://127.0.0.1:1"])
def test_a_child_on_a_server_is_not_made_fast(
    url: str, saved: Callable[[str], Path], connect: Connect
) -> None:
    with pytest.raises(
        SettingsError, match=f"`fast_sklearn` requires .* called over {url[:4]}; remove the setting"
    ):
        connect(saved("census"), url=url, fast_sklearn=True)


def test_another_runtime_is_not_made_fast(tmp_path: Path, connect: Connect) -> None:
    with pytest.raises(
        SettingsError, match=r"tests\.execution\.custom_runtimes\.Custom; remove the setting"
    ):
        connect(
            tmp_path, implementation="tests.execution.custom_runtimes.Custom", fast_sklearn=True
        )


def test_a_pipeline_is_not_made_fast(tmp_path: Path, connect: Connect) -> None:
    @pipeline("nested", models=PipelineModels())
    def nested(x: int) -> int:
        return x

    save(nested, str(tmp_path / "nested"))
    settings = PipelineSettings.read({"models": {"child": {"fast_sklearn": True}}}, {})
    child = Model(
        "nested", platform=ModelFramework.TempoPipeline, local_folder=str(tmp_path / "nested")
    )
    for model in (child, nested.get_tempo()):
        with pytest.raises(
            SettingsError, match=r"`fast_sklearn` requires .* it is a pipeline; remove the setting"
        ):
            ChildResolver(settings, background(), inside=["pipeline"]).child("child", model)
