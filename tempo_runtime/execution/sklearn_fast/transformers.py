"""Compute scikit-learn's transformers without its checks and conversions in each call.

Each class replaces one of scikit-learn's. It does the same arithmetic in the same order, so that its
numbers are the same to the last bit. scikit-learn is not imported; its classes are recognized by name.
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

_EXACT = 2**53  # integers up to here are exact as floats
_WIDEST = 4096  # columns of encoded categories, which are not sparse here


class Chain:
    """A sequence of transformers, which is a `Step` itself; an empty one is the identity.

    Args:
        models: The fitted transformers, with their names.
        takes: Number of input columns.

    Attributes:
        models: The transformers, with those within a `ColumnTransformer` in its place.

    Raises:
        NoFastPath: If one of the transformers is not implemented here.
    """

    def __init__(self, models: list[tuple[str, Any]], takes: int) -> None:
        self.steps: list[Step] = []
        self.models: list[Any] = []
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
                raise refused(name, model, "returns DataFrames (set_output)")
            step = make(name, model)
            self.steps.append(step)
            self.models += step.models if isinstance(step, _Columns) else [model]
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
            raise refused(name, model, "was fitted to values other than numbers")
        self._known = np.asarray(model.statistics_)
        if self._known.dtype.kind == "O":  # some strategies store Python's numbers
            self._known = self._known.astype(self._fitted)
        # Versions differ in whether they fill float64 rows with the precision of the fitted ones.
        self._known = self._known.astype(getattr(model, "_fill_dtype", self._known.dtype))
        if not np.isfinite(self._known).all():
            raise refused(name, model, "omits columns that did not have a value when it was fitted")
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
        pairs = zip(values, self._known)
        return [np.append(column, [known, np.nan]) for column, known in pairs]


class _Scaler:
    """`StandardScaler`."""

    is_sparse = False

    def __init__(self, name: str, model: Any) -> None:
        self.takes = self.gives = model.n_features_in_
        self._mean = np.asarray(model.mean_) if model.with_mean else None
        self._scale = np.asarray(model.scale_) if model.with_std else None
        # Versions differ in whether they scale float32 by float32 numbers, so it is tried out.
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
        return [np.append(column, (-1, 0, 1)) * scale + mean for column, mean, scale in rows]


class _OneHot:
    """`OneHotEncoder`: one column for each category, which is 1 for rows of this category."""

    def __init__(self, name: str, model: Any) -> None:
        rare = model.max_categories is not None or model.min_frequency is not None
        if rare or model.drop is not None or model.handle_unknown not in ("error", "ignore"):
            without = "`drop`, `min_frequency` and `max_categories`"
            known = "handle_unknown='error' or 'ignore'"
            raise refused(name, model, f"has a fast path for {known}, and without {without}")
        self._ignores = model.handle_unknown == "ignore"
        self._by_column = [np.asarray(categories) for categories in model.categories_]
        self._dtype = np.dtype(model.dtype)
        dtypes = {categories.dtype for categories in self._by_column}
        if len(dtypes) != 1 or not {self._dtype, *dtypes} <= DTYPES:
            raise refused(name, model, "has categories that are not numbers of one type")
        self._all = np.concatenate(self._by_column)
        inexact = self._all.dtype.kind != "f" and abs(self._all).max() > _EXACT
        if inexact or len(self._all) > _WIDEST:
            raise refused(name, model, f"has more than {_WIDEST} categories, or one above {_EXACT}")
        self._dtypes = _comparable(self._all)
        self._nan = np.isnan(self._all)
        self.takes, self.gives = len(self._by_column), len(self._all)
        self.is_sparse = bool(model.sparse_output)
        sizes = [len(categories) for categories in self._by_column]
        self._columns = np.repeat(range(self.takes), sizes)

    def __call__(self, x: Array) -> Array:
        refuse_infinity(x)
        if x.dtype not in self._dtypes:
            raise Unsure
        repeated = x.take(self._columns, axis=1)
        matches = repeated == self._all
        if self._nan.any():
            matches |= self._nan & np.isnan(repeated)
        if not self._ignores and np.count_nonzero(matches) != x.size:
            raise Unsure
        encoded: Array = matches.astype(self._dtype)
        return encoded

    def back(self, values: Values) -> Values:
        return [self._tried(categories.astype(np.float64)) for categories in self._by_column]

    def _tried(self, known: Array) -> Array:
        if not self._ignores:
            return known
        first, last = np.nanmin(known), np.nanmax(known)
        return np.append(known, [first - 1, last + 1, (first + last) / 2])


def _comparable(categories: Array) -> frozenset[np.dtype[Any]]:
    """Return the types whose values equal a category in every version of numpy.

    Versions before 2 compare an array with a scalar in the precision of the array.
    """
    wide = {np.dtype(name) for name in ("i4", "i8", "u4", "f8")}
    if np.array_equal(categories.astype(np.float32), categories, equal_nan=True):
        wide.add(np.dtype(np.float32))
    if categories.dtype.kind != "f":
        wide |= {dtype for dtype in DTYPES if dtype.kind != "f"}
    return frozenset((*wide, categories.dtype))


class _Columns:
    """`ColumnTransformer`: parallel chains, each for some columns."""

    def __init__(self, name: str, model: Any) -> None:
        if model.transformer_weights:
            raise refused(name, model, "has transformer_weights")
        self.takes = model.n_features_in_
        self._parts: list[tuple[Array, Chain]] = []
        for part, within, columns in model.transformers_:
            if isinstance(within, str) and within == "drop":
                continue
            chosen = _positions(columns, self.takes)
            if chosen is None:
                raise refused(
                    name, model, f"does not select the columns of {part!r} by their positions"
                )
            if len(chosen):
                chain = Chain(list(unfold(within, f"{name} > {part}")), len(chosen))
                self._parts.append((chosen, chain))
        if not self._parts:
            raise refused(name, model, "drops all columns")
        self.models = [within for _, chain in self._parts for within in chain.models]
        self.gives = sum(chain.gives for _, chain in self._parts)
        self.is_sparse = bool(model.sparse_output_)

    def __call__(self, x: Array) -> Array:
        return np.concatenate([chain(x.take(at, axis=1)) for at, chain in self._parts], axis=1)

    def back(self, values: Values) -> Values:
        inputs: list[Values] = [[] for _ in range(self.takes)]
        for columns, chain in self._parts:
            for column, numbers in zip(columns, chain.back(values[: chain.gives])):
                inputs[column].append(numbers)
            values = values[chain.gives :]
        return [np.concatenate(parts) if parts else np.arange(2.0) for parts in inputs]


_TRANSFORMERS: dict[str, Any] = {
    "SimpleImputer": _Imputer,
    "StandardScaler": _Scaler,
    "OneHotEncoder": _OneHot,
    "ColumnTransformer": _Columns,
}


def _positions(columns: Any, width: int) -> Array | None:
    """Return the positions of the columns that a `ColumnTransformer` selects; None if unknown."""
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
