"""alibi's `AnchorTabular`, explaining the same in less time.

Each row that its sampler draws is the row that alibi would have drawn: the generator is asked for the
same numbers in the same order. What is saved is work whose result is known: alibi makes an array of
`range(30000)` for each sample, and intersects the same sorted lists of rows again and again.
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
    """Where in the training data an anchor holds.

    Attributes:
        features: Its features, in the order they joined it.
        allowed: Rows in which the predicates on one feature hold, by feature.
        bins: Bins those features may be in.
        unknown: Features whose value is nowhere in the training data.
        whole: Rows in which all of it holds.
    """

    def __init__(self, sampler: Any, anchor: tuple[int, ...], parts: dict[Any, _Part]) -> None:
        self.bins, allowed, self.unknown = sampler.get_features_index(anchor)
        self._parts: dict[int, _Part] = {}
        for feature, rows in allowed.items():
            # A search has hundreds of anchors, and few parts that they are made of.
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
        """Rows in which the first feature's predicates hold, then the first two's, and so on."""
        if not self.features:
            return [np.array([], dtype=int)]
        first, *others = (self._parts[feature] for feature in self.features)
        found, inside = [first.rows], first.inside
        for part in others:
            inside = inside & part.inside
            found.append(np.flatnonzero(inside))
        return found


class _Part:
    """Rows in which the predicates on one feature hold, as numbers and as a mask."""

    def __init__(self, rows: NDArray[Any], count: int) -> None:
        self.rows = rows
        self.inside = np.zeros(count, bool)
        self.inside[rows] = True


class FastSampler:
    """Put before alibi's `TabularSampler` among the bases of a class.

    Attributes:
        names: Writes predicates as people read them.
    """

    names: Callable[[list[int]], list[str]]
    n_covered_ex: int
    instance_label: Any
    _found: dict[tuple[int, ...], _Rows]
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
        """Draws the first sample before its time, to have it labelled in one call with the row.

        Args:
            row: The row that is explained: (1, features).
            coverage_samples: Size of the sample that alibi draws before it.
            count: Its own size.
        """
        generator = randomness.own()
        if generator is None or row.dtype != self.train_data.dtype:
            return
        now = generator.get_state()
        np.random.choice(self.n_records, coverage_samples)
        self._ahead = self._drawn((), count)[0], None
        generator.set_state(now)

    def set_instance_label(self, X: NDArray[Any]) -> None:  # noqa: N803 - alibi's name for it
        """Ask for the label of the row that is explained."""
        row, ahead = X.reshape(1, -1), self._ahead
        if ahead is None:
            self.instance_label = labels_of(self.predictor, row)[0]
            return
        labels = labels_of(self.predictor, np.concatenate([row, ahead[0]]))
        self.instance_label, self._ahead = labels[0], (ahead[0], labels[1:])

    def compare_labels(self, samples: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which rows have the label of the row that is explained."""
        ahead, self._ahead = self._ahead, None
        known = ahead is not None and np.array_equal(ahead[0], samples)
        labels = ahead[1] if ahead and known else labels_of(self.predictor, samples)
        same: NDArray[np.bool_] = labels == self.instance_label
        return same

    def build_lookups(self, X: NDArray[Any]) -> Any:  # noqa: N803 - alibi's name for it
        """Prepare for drawing around one row."""
        found = super().build_lookups(X)  # type: ignore[misc]
        bins = {predicate: (value, value) for predicate, value in self.cat_lookup.items()}
        bins |= {predicate: (min(held), max(held)) for predicate, held in self.ord_lookup.items()}
        predicates = range(len(self.enc2feat_idx))
        self._columns = [self.enc2feat_idx[predicate] for predicate in predicates]
        self._lowest = np.array([bins[predicate][0] for predicate in predicates])
        self._highest = np.array([bins[predicate][1] for predicate in predicates])
        self._found, self._parts = {}, {}
        return found

    def forget(self) -> None:
        """Let go of what was found out about one row's anchors."""
        self._found, self._parts, self._ahead = {}, {}, None
        del self.names  # which leads back to the explainer

    def __call__(self, anchor: tuple[int, tuple[int, ...]], num_samples: int, **_: Any) -> Any:
        """Return the coverage sample, which is all that alibi's search asks for itself."""
        return [self.draw(anchor[1], num_samples).holds]

    def draw(self, anchor: tuple[int, ...], count: int) -> Draw:
        """Draws rows in which an anchor holds, and all else is as in some row of the training data."""
        rows, binned = self._drawn(anchor, count)
        inside = binned[:, self._columns]
        return Draw(rows, (self._lowest <= inside) & (inside <= self._highest))

    def _drawn(self, anchor: tuple[int, ...], count: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Such rows, and the same in bins."""
        start = np.random.choice(self.n_records, count)  # what `choice(range(...))` draws
        rows, binned = self.train_data[start], self.d_train_data[start]
        if not anchor:
            return rows, binned
        found = self._found.get(anchor)
        if found is None:
            found = self._found[anchor] = _Rows(self, anchor, self._parts)
        features = found.features
        if len(found.whole) >= count:
            taken = np.ix_(np.random.choice(found.whole, count), features)
            rows[:, features] = self.train_data[taken]
            binned[:, features] = self.d_train_data[taken]
            return rows, binned
        # Too few such rows: alibi puts them together, from rows in which parts of the anchor hold.
        partial = found.partial
        counts = np.array([len(part) for part in reversed(partial)])
        self.replace_features(rows, found.allowed, features, partial, counts, count)  # type: ignore[attr-defined]
        if found.unknown:
            self.handle_unk_features(found.bins, count, rows, found.unknown)  # type: ignore[attr-defined]
        return rows, self.disc.discretize(rows)


class FastAnchorTabular:
    """Put before alibi's `AnchorTabular` among the bases of a class."""

    samplers: list[FastSampler]
    ohe: bool
    mab: Any
    _alibis: Any  # its `explain`, with the search that is fast

    def explain(self, X: NDArray[Any], *args: Any, **kwargs: Any) -> Any:  # noqa: N803
        """Explains one row, as alibi does."""
        sampler = self.samplers[0]
        sampler.names = self._names
        if not self.ohe and X.size == sampler.train_data.shape[1]:
            given = inspect.signature(self._alibis).bind(X, *args, **kwargs)
            given.apply_defaults()
            asked = given.arguments
            sampler.look_ahead(X, asked["coverage_samples"], asked["min_samples_start"])
        try:
            return self._alibis(X, *args, **kwargs)
        finally:
            # What a search leaves behind is large, and a predictor may refer to its pipeline in a
            # circle, which Python finds only now and then.
            self.mab = None
            sampler.forget()

    def _build_explanation(self, *args: Any) -> Any:
        return self.mab.marked(super()._build_explanation(*args))  # type: ignore[misc]

    def _names(self, predicates: list[int]) -> list[str]:
        found: dict[str, Any] = {"feature": list(predicates)}
        self.add_names_to_exp(found)  # type: ignore[attr-defined]
        names: list[str] = found["names"]
        return names

    def _transform_predictor(self, predictor: Callable[..., Any]) -> Callable[..., Any]:
        """Return what alibi asks the predictor with a row of zeros is seen from its first answer."""
        if self.ohe:
            return super()._transform_predictor(predictor)  # type: ignore[misc,no-any-return]
        return Labels(predictor)
