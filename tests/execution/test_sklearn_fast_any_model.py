"""Any tree, forest or boosting, fast, returns for any rows what scikit-learn returns, bit by bit."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version
from scipy import sparse
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)

from tempo_runtime.execution.sklearn_fast import FastModel, accelerate
from tests.fuzz.amounts import examples

FORESTS = (
    RandomForestClassifier,
    RandomForestRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
)
TREES = (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)
DTYPES = [
    *("f8", "f4", "f2", ">f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">i4", "?", "O")
]
_EXTRA_TREES_TAKE_NAN = Version(sklearn.__version__) >= Version("1.6")
CLASSES: list[Sequence[Any]] = [
    [0],
    [0, 1],
    [7, -3, 12],
    [False, True],
    ["yes", "no"],
    [-1.0, 2.0, 1e6],
    list(range(5)),
]


@st.composite
def models(draw: st.DrawFn) -> Any:
    """A fitted tree or forest, alone or after transformers."""
    rows, labels = draw(training())
    model = draw(trees())
    if not hasattr(model, "predict_proba"):
        labels = np.unique(labels, return_inverse=True)[1] / 3
        if draw(st.booleans()):
            labels = labels - 5.0
    elif draw(st.booleans()):
        # The classes of a set are also weighted by numbers of their own.
        weights = {each: draw(st.sampled_from([0.1, 1, 7])) for each in np.unique(labels)}
        model.set_params(class_weight=draw(st.sampled_from(["balanced", weights])))
    has_gaps = rows.dtype.kind == "f" and bool(np.isnan(rows).any())
    # Before 1.6, extra trees do not take NaN.
    must_fill = has_gaps and "Extra" in type(model).__name__ and not _EXTRA_TREES_TAKE_NAN
    before = draw(transformers(rows.shape[1], must_fill=must_fill))
    model = make_pipeline(*before, model) if before else model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as one that a class is rare
        model.fit(rows, labels)
    if not before and type(model) in FORESTS and draw(st.booleans()):
        model.set_params(warm_start=True, n_estimators=model.n_estimators + 2).fit(rows, labels)
    return model, rows


@st.composite
def training(draw: st.DrawFn) -> tuple[Any, Any]:
    count, width = draw(st.integers(4, 40)), draw(st.integers(1, 4))
    random = np.random.RandomState(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([1e-30, 0.1, 1.0, 3.0, 1e7, 1e30]))
    rows = random.normal(0, scale, (count, width))
    if draw(st.booleans()):
        rows = np.round(random.normal(0, 3, (count, width)))
    rows = rows.astype(draw(st.sampled_from(["f8", "f4"])))
    if draw(st.sampled_from([False, False, True])):
        rows[random.rand(count, width) < 0.2] = np.nan
        rows[0] = 1.0  # each column has a value
    classes = np.array(draw(st.sampled_from(CLASSES)))
    return rows, classes[random.randint(0, len(classes), count)]


@st.composite
def trees(draw: st.DrawFn) -> Any:
    options = {
        "max_depth": draw(st.sampled_from([None, 1, 3])),
        "min_samples_leaf": draw(st.sampled_from([1, 3])),
        "max_leaf_nodes": draw(st.sampled_from([None, 4])),
        "max_features": draw(st.sampled_from([None, 1, "sqrt"])),
        "random_state": draw(st.integers(0, 99)),
    }
    if draw(st.booleans()):
        return draw(st.sampled_from(TREES))(**options)
    forest = draw(st.sampled_from(FORESTS))
    options["n_estimators"] = draw(st.sampled_from([1, 3, 6]))
    options["bootstrap"] = draw(st.booleans())
    return forest(**options, n_jobs=draw(st.sampled_from([None, 1])))


@st.composite
def transformers(
    draw: st.DrawFn, width: int, *, must_fill: bool, sparse_too: bool = True
) -> list[Any]:
    impute = SimpleImputer(strategy=draw(st.sampled_from(["mean", "median", "most_frequent"])))
    scale = StandardScaler(with_mean=draw(st.booleans()), with_std=draw(st.booleans()))
    is_sparse = sparse_too and draw(st.booleans())
    encode = OneHotEncoder(handle_unknown="ignore", sparse_output=is_sparse)
    split = draw(st.integers(1, max(1, width - 1)))
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(impute, scale), list(range(split))),
            ("categories", make_pipeline(impute, encode), slice(split, None)),
        ],
        sparse_threshold=0.3 if sparse_too else 0,
    )
    chains: list[list[Any]] = [[], [impute], [scale], [impute, scale], [impute, encode]]
    if width > 1:
        chains.append([columns])
    return draw(st.sampled_from([chain for chain in chains if impute in chain or not must_fill]))


@st.composite
def asked(draw: st.DrawFn, model: Any, trained: Any) -> Any:
    """Rows of numbers at which the answer may change."""
    width = draw(st.sampled_from([trained.shape[1]] * 9 + [trained.shape[1] + 1]))
    columns = [edges(model, trained, min(column, trained.shape[1] - 1)) for column in range(width)]
    count = draw(st.sampled_from([1, 2, 60]))
    random = np.random.RandomState(draw(st.integers(0, 2**32 - 1)))
    rows = np.stack([random.choice(column, count) for column in columns], axis=1)
    if draw(st.booleans()):
        special = [np.nan, np.inf, -np.inf, -0.0, 3.5e38, 1e308, 5e-324, 2.0**24 + 1]
        rows[random.randint(count), random.randint(width)] = draw(st.sampled_from(special))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    with np.errstate(all="ignore"):
        rows = np.nan_to_num(rows).astype("i8") if dtype.kind in "iu" else rows
        rows = rows.astype(dtype)
    return np.asfortranarray(rows) if draw(st.booleans()) else rows


def edges(model: Any, trained: Any, column: int) -> Any:
    """Numbers of a column at the thresholds of the trees, and next to them in both precisions."""
    known = trained[:, column].astype("f8")
    mean, scale = 0.0, 1.0
    if isinstance(model, Pipeline):
        scaler = model.steps[0][1]
        if isinstance(scaler, StandardScaler):
            mean = 0.0 if scaler.mean_ is None else scaler.mean_[column]
            scale = 1.0 if scaler.scale_ is None else scaler.scale_[column]
        model = model.steps[-1][1]
    if hasattr(model, "_predictors"):
        nodes = np.concatenate([tree.nodes for stage in model._predictors for tree in stage])
        features, limits = nodes["feature_idx"], nodes["num_threshold"]
    else:
        every = [tree.tree_ for tree in np.ravel(getattr(model, "estimators_", [model]))]
        features = np.concatenate([tree.feature for tree in every])
        limits = np.concatenate([tree.threshold for tree in every])
    limits = limits[features == column]
    limits = np.append(limits * scale + mean, known)
    narrow = limits.astype("f4")
    around = [np.nextafter(narrow, np.float32(end)) for end in (-np.inf, np.inf)]
    # Half way to the next float32, where a float64 is rounded to an even one.
    halves = [(narrow.astype("f8") + each) / 2 for each in around]
    near = [np.nextafter(each, end) for each in (limits, *halves) for end in (-np.inf, np.inf)]
    return np.concatenate([limits, narrow, *around, *halves, *near], dtype="f8")


def outcome(function: Callable[..., Any], rows: Any) -> tuple[Any, ...]:
    """The answer to the last bit, or the exception."""
    try:
        answer = function(rows)
    except Exception as error:
        return type(error), str(error)
    if isinstance(answer, list):  # probabilities of several outputs
        return tuple(outcome(lambda _, part=part: part, rows) for part in answer)
    bits = answer.tolist() if answer.dtype.kind == "O" else answer.tobytes()
    return type(answer), answer.dtype, answer.shape, bits


def assert_same(quick: Any, model: Any, computed: FastModel, rows: Any) -> None:
    for method in computed.methods:
        expected = outcome(getattr(model, method), rows)
        assert outcome(getattr(quick, method), rows) == expected


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@examples(60)
@given(data=st.data(), made=models())
def test_any_model_answers_any_rows_as_scikit_learn_does(data: st.DataObject, made: Any) -> None:
    model, trained = made
    quick = copy.copy(model)
    computed = accelerate(quick)
    for _ in range(3):
        rows = data.draw(asked(model, trained))
        assert_same(quick, model, computed, rows)
    assert_same(quick, model, computed, trained)
    if not np.isnan(trained).any():
        assert_same(quick, model, computed, sparse.csr_matrix(trained))


@examples(8)
@given(
    classes=st.sampled_from([2, 4]),
    seed=st.integers(0, 2**32 - 1),
    forest=st.sampled_from(FORESTS[::2]),
)
def test_classes_with_the_same_probability_are_chosen_as_by_scikit_learn(
    classes: int, seed: int, forest: Any
) -> None:
    some = np.random.RandomState(seed).normal(size=(8, 2))
    rows, labels = some.repeat(classes, axis=0), np.tile(range(classes), 8)
    model = forest(n_estimators=4, max_depth=2, bootstrap=False, random_state=seed % 99)
    model.fit(rows, labels)
    quick = copy.copy(model)
    assert_same(quick, model, accelerate(quick), rows)
    highest = np.sort(model.predict_proba(rows))[:, -2:]
    assert (highest[:, 0] == highest[:, 1]).all()


@st.composite
def boosting(draw: st.DrawFn) -> Any:
    """Fitted gradient boosting, alone or after transformers."""
    rows, labels = draw(training())
    labels[0], labels[1:3] = 0, 1  # at least two classes, whatever the labels are
    numbers = np.unique(labels, return_inverse=True)[1]
    options = {
        "max_depth": draw(st.sampled_from([1, 3])),
        "min_samples_leaf": draw(st.sampled_from([1, 3])),
        "learning_rate": draw(st.sampled_from([0.1, 1.0])),
        "random_state": draw(st.integers(0, 99)),
    }
    is_binned, classifies = draw(st.booleans()), draw(st.booleans())
    count = draw(st.sampled_from([1, 4]))
    model: Any
    if is_binned:
        chosen = HistGradientBoostingClassifier if classifies else HistGradientBoostingRegressor
        model = chosen(max_iter=count, **options)
    elif classifies:
        losses = ["log_loss", "exponential"] if len(np.unique(numbers)) == 2 else ["log_loss"]
        init = draw(st.sampled_from([None, "zero"]))
        options |= {"loss": draw(st.sampled_from(losses)), "init": init}
        model = GradientBoostingClassifier(n_estimators=count, **options)
    else:
        options["loss"] = draw(st.sampled_from(["squared_error", "huber", "quantile"]))
        model = GradientBoostingRegressor(n_estimators=count, **options)
    has_gaps = bool(np.isnan(rows).any())
    must_fill = has_gaps and not is_binned
    before = draw(transformers(rows.shape[1], must_fill=must_fill, sparse_too=not is_binned))
    model = make_pipeline(*before, model) if before else model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(rows, labels if classifies else numbers / 3 - 1)
    return model, rows


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@examples(25)
@given(data=st.data(), made=boosting())
def test_any_boosting_answers_any_rows_as_scikit_learn_does(data: st.DataObject, made: Any) -> None:
    model, trained = made
    quick = copy.copy(model)
    computed = accelerate(quick)
    for _ in range(3):
        assert_same(quick, model, computed, data.draw(asked(model, trained)))
    assert_same(quick, model, computed, trained)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@examples(20)
@given(data=st.data(), outputs=st.integers(2, 3), model=trees())
def test_any_model_of_several_outputs_answers_as_scikit_learn_does(
    data: st.DataObject, outputs: int, model: Any
) -> None:
    rows, first = data.draw(training())
    rows = np.nan_to_num(rows)
    shifted = [np.roll(first, shift) for shift in range(outputs - 1)]
    is_classifier = hasattr(model, "predict_proba")
    labels = np.column_stack([*shifted, np.where(np.arange(len(first)) % 2, first[0], first[-1])])
    if not is_classifier:
        labels = np.unique(labels, return_inverse=True)[1].reshape(labels.shape) / 3
    model.fit(rows, labels)
    quick = copy.copy(model)
    computed = accelerate(quick)
    for _ in range(2):
        assert_same(quick, model, computed, data.draw(asked(model, rows)))


@examples(8)
@given(data=st.data(), forest=st.sampled_from(FORESTS), jobs=st.sampled_from([2, 5, -1]))
def test_any_forest_of_several_jobs_answers_as_with_one(
    data: st.DataObject, forest: Any, jobs: int
) -> None:
    rows, labels = data.draw(training())
    rows = np.nan_to_num(rows)
    if not hasattr(forest, "predict_proba"):
        labels = np.unique(labels, return_inverse=True)[1] / 3
    model = forest(n_estimators=5, min_samples_leaf=3, random_state=0).fit(rows, labels)
    quick = copy.copy(model)
    quick.n_jobs = jobs
    computed = accelerate(quick)
    for method in computed.methods:
        expected = outcome(getattr(model, method), np.tile(rows, (300, 1)))
        assert outcome(getattr(quick, method), np.tile(rows, (300, 1))) == expected
