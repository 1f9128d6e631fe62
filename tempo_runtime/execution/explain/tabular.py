"""alibi's `AnchorTabular` with the same explanations in less time.

The sampler draws the same rows as alibi: it takes the same random numbers in the same order. It saves
work whose result is known: alibi creates an array of `range(30000)` for each sample, and intersects the
same sorted lists of rows again and again.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tempo_runtime.execution.explain import randomness
from tempo_runtime.execution.explain.labels import Labels, labels_of
from tempo_runtime.execution.explain.search import Draw

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _Rows:
    """The rows of the training data for which an anchor holds.

    Attributes:
        features: Features of the anchor, in the order of its predicates.
        allowed: Rows for which the predicates on one feature hold, by feature.
        bins: Allowed bins of these features.
        unknown: Features whose value does not occur in the training data.
        whole: Rows for which the whole anchor holds.
    """

    def __init__(self, sampler: Any, anchor: tuple[int, ...], parts: dict[Any, _Part]) -> None:
        self.bins, allowed, self.unknown = sampler.get_features_index(anchor)
        self._parts: dict[int, _Part] = {}
        for feature, rows in allowed.items():
            # A search has hundreds of anchors, but they share a few parts.
            key = feature, tuple(self.bins.get(feature, ()))
            if key not in parts:
                parts[key] = _Part(rows, sampler.n_records)
            self._parts[feature] = parts[key]
        missing = {feature for feature, _, _ in self.unknown}
        named = dict.fromkeys(sampler.enc2feat_idx[predicate] for predicate in anchor)
        self.features = [feature for feature in named if feature not in missing]
        self.whole = self.partial[-1]

    @property
    def allowed(self) -> dict[int, NDArray[Any]]:
        return {feature: part.rows for feature, part in self._parts.items()}

    @property
    def partial(self) -> list[NDArray[Any]]:
        """Rows for which the predicates on the first feature hold, on the first two, and so on."""
        if not self.features:
            return [np.array([], dtype=int)]
        first, *others = (self._parts[feature] for feature in self.features)
        rows, inside = [first.rows], first.inside
        for part in others:
            inside = inside & part.inside
            rows.append(np.flatnonzero(inside))
        return rows


class _Part:
    """Rows for which the predicates on one feature hold, as numbers and as a mask."""

    def __init__(self, rows: NDArray[Any], count: int) -> None:
        self.rows = rows
        self.inside = np.zeros(count, bool)
        self.inside[rows] = True


class FastSampler:
    """A mixin that precedes alibi's `TabularSampler` in the bases of a class.

    Attributes:
        names: Returns the readable names of predicates.
    """

    names: Callable[[list[int]], list[str]]
    n_covered_ex: int
    instance_label: Any
    _rows: dict[tuple[int, ...], _Rows]
    _parts: dict[Any, _Part]
    _ahead: tuple[NDArray[Any], NDArray[Any] | None] | None = None

    enc2feat_idx: dict[int, int]
    cat_lookup: dict[int, Any]
    ord_lookup: dict[int, set[int]]
    train_data: NDArray[Any]
    d_train_data: NDArray[Any]
    n_records: int
    disc: Any
    predictor: Callable[[NDArray[Any]], NDArray[Any]]

    def look_ahead(self, row: NDArray[Any], coverage_samples: int, count: int) -> None:
        """Draw the first sample early, so that one call labels it together with the row.

        Args:
            row: The row to explain, shape (1, features).
            coverage_samples: Size of the sample that alibi draws before it.
            count: Size of the first sample.
        """
        generator = randomness.own()
        if generator is None or row.dtype != self.train_data.dtype:
            return
        state = generator.get_state()
        np.random.choice(self.n_records, coverage_samples)
        self._ahead = self._drawn((), count)[0], None
        generator.set_state(state)

    def set_instance_label(self, X: NDArray[Any]) -> None:  # noqa: N803 - alibi's name for it
        """Predict the label of the row to explain."""
        row, ahead = X.reshape(1, -1), self._ahead
        if ahead is None:
            self.instance_label = labels_of(self.predictor, row)[0]
            return
        labels = labels_of(self.predictor, np.concatenate([row, ahead[0]]))
        self.instance_label, self._ahead = labels[0], (ahead[0], labels[1:])

    def compare_labels(self, samples: NDArray[Any]) -> NDArray[np.bool_]:
        """Return whether each row has the label of the row to explain."""
        ahead, self._ahead = self._ahead, None
        known = ahead is not None and np.array_equal(ahead[0], samples)
        labels = ahead[1] if ahead and known else labels_of(self.predictor, samples)
        same: NDArray[np.bool_] = labels == self.instance_label
        return same

    def build_lookups(self, X: NDArray[Any]) -> Any:  # noqa: N803 - alibi's name for it
        """Prepare for drawing around one row."""
        lookups = super().build_lookups(X)  # type: ignore[misc]
        bins = {predicate: (value, value) for predicate, value in self.cat_lookup.items()}
        bins |= {
            predicate: (min(values), max(values)) for predicate, values in self.ord_lookup.items()
        }
        predicates = range(len(self.enc2feat_idx))
        self._columns = [self.enc2feat_idx[predicate] for predicate in predicates]
        self._lowest = np.array([bins[predicate][0] for predicate in predicates])
        self._highest = np.array([bins[predicate][1] for predicate in predicates])
        self._rows, self._parts = {}, {}
        return lookups

    def forget(self) -> None:
        """Release the rows of the anchors of one explanation."""
        self._rows, self._parts, self._ahead = {}, {}, None
        del self.names  # a reference to the explainer, and so a cycle

    def __call__(self, anchor: tuple[int, tuple[int, ...]], num_samples: int, **_: Any) -> Any:
        """Return the coverage sample, the only sample that alibi's search draws itself."""
        return [self.draw(anchor[1], num_samples).holds]

    def draw(self, anchor: tuple[int, ...], count: int) -> Draw:
        """Draw rows for which an anchor holds, with other values from the training data."""
        rows, binned = self._drawn(anchor, count)
        inside = binned[:, self._columns]
        return Draw(rows, (self._lowest <= inside) & (inside <= self._highest))

    def _drawn(self, anchor: tuple[int, ...], count: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Draw such rows, and return them as values and as bins."""
        start = np.random.choice(self.n_records, count)  # the same as `choice(range(...))`
        rows, binned = self.train_data[start], self.d_train_data[start]
        if not anchor:
            return rows, binned
        matching = self._rows.get(anchor)
        if matching is None:
            matching = self._rows[anchor] = _Rows(self, anchor, self._parts)
        features = matching.features
        if len(matching.whole) >= count:
            taken = np.ix_(np.random.choice(matching.whole, count), features)
            rows[:, features] = self.train_data[taken]
            binned[:, features] = self.d_train_data[taken]
            return rows, binned
        # There are too few such rows: alibi combines rows for which parts of the anchor hold.
        partial = matching.partial
        counts = np.array([len(part) for part in reversed(partial)])
        self.replace_features(rows, matching.allowed, features, partial, counts, count)  # type: ignore[attr-defined]
        if matching.unknown:
            self.handle_unk_features(matching.bins, count, rows, matching.unknown)  # type: ignore[attr-defined]
        return rows, self.disc.discretize(rows)


class FastAnchorTabular:
    """A mixin that precedes alibi's `AnchorTabular` in the bases of a class."""

    samplers: list[FastSampler]
    ohe: bool
    mab: Any
    _alibis: Any  # alibi's `explain` with the fast search

    def explain(self, X: NDArray[Any], *args: Any, **kwargs: Any) -> Any:  # noqa: N803
        """Explain one row, as alibi does."""
        sampler = self.samplers[0]
        sampler.names = self._names
        if not self.ohe and X.size == sampler.train_data.shape[1]:
            bound = inspect.signature(self._alibis).bind(X, *args, **kwargs)
            bound.apply_defaults()
            options = bound.arguments
            sampler.look_ahead(X, options["coverage_samples"], options["min_samples_start"])
        try:
            return self._alibis(X, *args, **kwargs)
        finally:
            # The state of a search is large. If a predictor refers back to its pipeline, only Python's
            # cycle collector would free it, which rarely runs.
            self.mab = None
            sampler.forget()

    def _build_explanation(self, *args: Any) -> Any:
        return self.mab.marked(super()._build_explanation(*args))  # type: ignore[misc]

    def _names(self, predicates: list[int]) -> list[str]:
        explanation: dict[str, Any] = {"feature": list(predicates)}
        self.add_names_to_exp(explanation)  # type: ignore[attr-defined]
        names: list[str] = explanation["names"]
        return names

    def _transform_predictor(self, predictor: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a predictor without calling it; alibi calls it with a row of zeros to learn its kind."""
        if self.ohe:
            return super()._transform_predictor(predictor)  # type: ignore[misc,no-any-return]
        return Labels(predictor)
