"""What scikit-learn's transformers compute, without what it wraps around each call.

Each class stands for one of scikit-learn's and does the same arithmetic in the same order, so that
its numbers are the same to the last bit. scikit-learn's classes are known by name, not imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tempo_runtime.execution.sklearn_fast.base import (
    DTYPES,
    Unsure,
    kind,
    refuse_infinity,
    refused,
    unfold,
)

if TYPE_CHECKING:
    from tempo_runtime.execution.sklearn_fast.base import Array, Step, Values

_EXACT = 2**53  # integers up to here are floats, too
_WIDEST = 4096  # columns of categories; they are not sparse here


class Chain:
    """Transformers one after the other; none is the identity. A `Step` itself.

    Args:
        models: Fitted, with their names.
        takes: Columns the first is given.

    Raises:
        NoFastPath: If nothing here does what one of them does.
    """

    def __init__(self, models: list[tuple[str, Any]], takes: int) -> None:
        self.steps: list[Step] = []
        self.takes = self.gives = takes
        self.is_sparse = False
        for name, model in models:
            make = _TRANSFORMERS.get(kind(model))
            if make is None:
                raise refused(name, model, "has no fast path")
            if self.is_sparse:
                raise refused(name, model, "takes a sparse matrix, for which it has no fast path")
            output = getattr(model, "_sklearn_output_config", {})
            if output.get("transform", "default") != "default":
                raise refused(name, model, "makes DataFrames: set_output")
            step = make(name, model)
            self.steps.append(step)
            self.gives, self.is_sparse = step.gives, step.is_sparse

    def __call__(self, x: Array) -> Array:
        """See `Step`."""
        for step in self.steps:
            x = step(x)
        return x

    def back(self, values: Values) -> Values:
        """See `Step`."""
        for step in reversed(self.steps):
            values = step.back(values)
        return values


class _Imputer:
    """`SimpleImputer`."""

    is_sparse = False

    def __init__(self, name: str, model: Any) -> None:
        missing = model.missing_values
        if not isinstance(missing, float) or missing == missing or model.add_indicator:
            raise refused(name, model, "has a fast path for NaN only, and without an indicator")
        self._fitted = np.dtype(model._fit_dtype)
        if self._fitted not in DTYPES:
            raise refused(name, model, "was fitted to something else than numbers")
        self._known = np.asarray(model.statistics_)
        if self._known.dtype.kind == "O":  # some strategies keep Python's numbers
            self._known = self._known.astype(self._fitted)
        if not np.isfinite(self._known).all():
            raise refused(name, model, "leaves out columns that had no value when it was fitted")
        self.takes = self.gives = len(self._known)
        self._strategy = model.strategy

    def __call__(self, x: Array) -> Array:
        refuse_infinity(x)
        if self._strategy == "constant" and x.dtype != self._fitted:
            raise Unsure
        if x.dtype.kind != "f":
            return x if self._strategy in ("constant", "most_frequent") else x.astype(np.float64)
        missing = np.isnan(x)
        return np.where(missing, self._known.astype(x.dtype), x) if missing.any() else x

    def back(self, values: Values) -> Values:
        return [np.append(each, [known, np.nan]) for each, known in zip(values, self._known)]


class _Scaler:
    """`StandardScaler`."""

    is_sparse = False

    def __init__(self, name: str, model: Any) -> None:
        self.takes = self.gives = model.n_features_in_
        self._mean = np.asarray(model.mean_) if model.with_mean else None
        self._scale = np.asarray(model.scale_) if model.with_std else None
        # Versions differ in whether float32 is scaled by numbers of float32: rows tell.
        self._casts = True
        rows = np.stack(self.back([np.linspace(-3, 3, 99)] * self.takes), 1).astype(np.float32)
        self._casts = np.array_equal(self(rows), model.transform(rows))

    def __call__(self, x: Array) -> Array:
        refuse_infinity(x)
        x = x.astype(x.dtype if x.dtype.kind == "f" else np.float64)
        if self._mean is not None:
            x -= self._mean.astype(x.dtype) if self._casts else self._mean
        if self._scale is not None:
            x /= self._scale.astype(x.dtype) if self._casts else self._scale
        return x

    def back(self, values: Values) -> Values:
        means = np.zeros(self.takes) if self._mean is None else self._mean
        scales = np.ones(self.takes) if self._scale is None else self._scale
        rows = zip(values, means, scales)
        return [np.append(each, (-1, 0, 1)) * scale + mean for each, mean, scale in rows]


class _OneHot:
    """`OneHotEncoder`: a column for each category, which says whether a value is that."""

    def __init__(self, name: str, model: Any) -> None:
        rare = model.max_categories is not None or model.min_frequency is not None
        if rare or model.drop is not None or model.handle_unknown not in ("error", "ignore"):
            without = "`drop`, `min_frequency` and `max_categories`"
            known = "handle_unknown='error' or 'ignore'"
            raise refused(name, model, f"has a fast path for {known}, and without {without}")
        self._ignores = model.handle_unknown == "ignore"
        self._each = [np.asarray(each) for each in model.categories_]
        self._dtype = np.dtype(model.dtype)
        dtypes = {each.dtype for each in self._each}
        if len(dtypes) != 1 or not {self._dtype, *dtypes} <= DTYPES:
            raise refused(name, model, "has categories that are not numbers of one type")
        self._all = np.concatenate(self._each)
        inexact = self._all.dtype.kind != "f" and abs(self._all).max() > _EXACT
        if inexact or len(self._all) > _WIDEST:
            raise refused(name, model, f"has over {_WIDEST} categories, or some over {_EXACT}")
        self._dtypes = _comparable(self._all)
        self._nan = np.isnan(self._all)
        self.takes, self.gives = len(self._each), len(self._all)
        self.is_sparse = bool(model.sparse_output)
        self._columns = np.repeat(range(self.takes), [len(each) for each in self._each])

    def __call__(self, x: Array) -> Array:
        refuse_infinity(x)
        if x.dtype not in self._dtypes:
            raise Unsure
        repeated = x.take(self._columns, axis=1)
        found = repeated == self._all
        if self._nan.any():
            found |= self._nan & np.isnan(repeated)
        if not self._ignores and np.count_nonzero(found) != x.size:
            raise Unsure
        encoded: Array = found.astype(self._dtype)
        return encoded

    def back(self, values: Values) -> Values:
        return [self._tried(each.astype(np.float64)) for each in self._each]

    def _tried(self, known: Array) -> Array:
        if not self._ignores:
            return known
        first, last = np.nanmin(known), np.nanmax(known)
        return np.append(known, [first - 1, last + 1, (first + last) / 2])


def _comparable(categories: Array) -> frozenset[np.dtype[Any]]:
    """Return the types whose values equal a category whether numpy compares arrays or scalars.

    Versions before 2 compare an array with a scalar in the array's own precision.
    """
    wide = {np.dtype(name) for name in ("i4", "i8", "u4", "f8")}
    if np.array_equal(categories.astype(np.float32), categories, equal_nan=True):
        wide.add(np.dtype(np.float32))
    if categories.dtype.kind != "f":
        wide |= {dtype for dtype in DTYPES if dtype.kind != "f"}
    return frozenset((*wide, categories.dtype))


class _Columns:
    """`ColumnTransformer`: chains beside each other, each with columns of its own."""

    def __init__(self, name: str, model: Any) -> None:
        if model.transformer_weights:
            raise refused(name, model, "weighs its transformers")
        self.takes = model.n_features_in_
        self._parts: list[tuple[Array, Chain]] = []
        for part, within, columns in model.transformers_:
            if isinstance(within, str) and within == "drop":
                continue
            chosen = _positions(columns, self.takes)
            if chosen is None:
                raise refused(name, model, f"chooses those of {part!r} not as a list of positions")
            if len(chosen):
                chain = Chain(list(unfold(within, f"{name} > {part}")), len(chosen))
                self._parts.append((chosen, chain))
        if not self._parts:
            raise refused(name, model, "drops all columns")
        self.gives = sum(chain.gives for _, chain in self._parts)
        self.is_sparse = bool(model.sparse_output_)

    def __call__(self, x: Array) -> Array:
        return np.concatenate([chain(x.take(at, axis=1)) for at, chain in self._parts], axis=1)

    def back(self, values: Values) -> Values:
        found: list[Values] = [[] for _ in range(self.takes)]
        for columns, chain in self._parts:
            for column, each in zip(columns, chain.back(values[: chain.gives])):
                found[column].append(each)
            values = values[chain.gives :]
        return [np.concatenate(each) if each else np.arange(2.0) for each in found]


_TRANSFORMERS: dict[str, Any] = {
    "SimpleImputer": _Imputer,
    "StandardScaler": _Scaler,
    "OneHotEncoder": _OneHot,
    "ColumnTransformer": _Columns,
}


def _positions(columns: Any, width: int) -> Array | None:
    """Return the positions of the columns that a `ColumnTransformer` chooses; None if it cannot tell."""
    if isinstance(columns, slice):
        parts = (columns.start, columns.stop, columns.step)
        whole = all(part is None or isinstance(part, int | np.integer) for part in parts)
        return np.arange(width)[columns] if whole else None
    if isinstance(columns, str) or np.ndim(columns) != 1:
        return None
    chosen = np.array(list(columns))
    if not len(chosen):
        return chosen.astype(int)
    return np.arange(width)[chosen] if chosen.dtype.kind in "iub" else None
