"""alibi's search for an anchor, with fewer calls of the predictor and less work between them.

The search and its statistics stay alibi's. Each round draws samples for one or two candidates, or for all
of them; here one call predicts all samples of a round. This does not change the samples, because alibi
also draws all of them before it uses an answer.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from tempo_runtime.errors import BudgetExceeded, DeadlineExceeded
from tempo_runtime.request import context

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

Anchor = tuple[int, ...]
_EPSILON_STOP = 0.05  # alibi's default, which `explain` cannot change
_MARGIN = 0.05  # seconds to build an explanation from the best anchor so far
_ZERO, _ONE = 0.0000001, 0.9999999999999999  # replace precisions of 0 and 1, as in alibi


@dataclass(frozen=True)
class Draw:
    """A sample of rows for which an anchor holds.

    Attributes:
        rows: The rows, as the predictor takes them, shape (n, features).
        holds: Whether each predicate holds for each row, shape (n, predicates), of booleans.
    """

    rows: NDArray[Any]
    holds: NDArray[np.bool_]


class Sampler(Protocol):
    """Draws rows, or texts, around the one to explain.

    Attributes:
        n_covered_ex: Number of examples of an anchor in an explanation.
    """

    n_covered_ex: int

    def draw(self, anchor: Anchor, count: int) -> Draw:
        """Draw rows for which an anchor holds."""
        ...

    def compare_labels(self, samples: NDArray[Any], /) -> NDArray[np.bool_]:
        """Return whether each row has the label of the row to explain."""
        ...

    def names(self, predicates: list[int], /) -> list[str]:
        """Return the readable names of predicates."""
        ...


class FastSearch:
    """A mixin that precedes alibi's `AnchorBaseBeam` in the bases of a class."""

    sample_fcn: Sampler
    state: dict[str, Any]
    margin: int
    _spent: Exception | None = None

    def anchor_beam(self, **options: Any) -> dict[str, Any]:
        """Search; if the request allows it, return the best anchor so far when its budget is spent."""
        self._pace = 0.0  # duration of the last round in seconds
        self._began = time.monotonic()
        try:
            result: dict[str, Any] = super().anchor_beam(**options)  # type: ignore[misc]
        except (BudgetExceeded, DeadlineExceeded) as spent:
            if not context.current().allowance.allow_incomplete_anchors or not self._has_drawn():
                raise
            result, self._spent = self._best_so_far(**options), spent
        return result

    def marked(self, explanation: Any) -> Any:
        """Return an explanation, marked as incomplete if the search ended early."""
        if self._spent is not None:
            explanation.meta["incomplete"] = str(self._spent)
        return explanation

    def draw_samples(self, anchors: Sequence[Anchor], batch_size: int) -> tuple[Any, Any]:
        """Draw and label rows for each anchor.

        Returns:
            For each anchor, the number of rows with the label of the explained row, and of all rows.
        """
        self._check_time()
        order, sampler = self.state["t_order"], self.sample_fcn
        for anchor in anchors:
            if anchor not in order:
                order[anchor] = list(anchor)
        draws = [sampler.draw(tuple(order[anchor]), batch_size) for anchor in anchors]
        rows = draws[0].rows if len(draws) == 1 else np.concatenate([draw.rows for draw in draws])
        same = sampler.compare_labels(rows).reshape(len(draws), batch_size)
        positives = tuple(map(self._add, anchors, draws, same))
        self._report()
        return positives, (batch_size,) * len(draws)

    def propose_anchors(self, previous_best: list[Anchor]) -> list[Anchor]:
        """Return candidates that extend the best anchors so far by one predicate."""
        state = self.state
        predicates = range(state["n_features"])
        if not previous_best:
            drawn = state["data"][: state["current_idx"]]
            for predicate in predicates:
                covered = state["coverage_data"][:, predicate]
                self._propose(
                    (predicate,), [predicate], covered, np.flatnonzero(drawn[:, predicate])
                )
            return [(predicate,) for predicate in predicates]
        places = {known: np.concatenate(state["t_idx"][known]) for known in previous_best}
        drawn = {known: state["data"][at] for known, at in places.items()}
        proposed: set[Anchor] = set()  # alibi's order of candidates is that of a set
        for predicate in predicates:
            for known in previous_best:
                anchor = tuple(sorted({*known, predicate}))
                if predicate in known or anchor in proposed:
                    continue
                proposed.add(anchor)
                order = [*state["t_order"][known], predicate]
                covered = state["t_coverage_idx"][known] & state["t_coverage_idx"][(predicate,)]
                self._propose(anchor, order, covered, places[known][drawn[known][:, predicate]])
        return list(proposed)

    @staticmethod
    def dup_bernoulli(p: Floats, level: Floats, n_iter: int = 17) -> Floats:
        """Return the upper confidence bounds of precisions p, by bisection as alibi does."""
        return _bound(p, level, np.minimum(p + np.sqrt(level / 2.0), 1.0), n_iter)

    @staticmethod
    def dlow_bernoulli(p: Floats, level: Floats, n_iter: int = 17) -> Floats:
        """Return the lower confidence bounds of precisions p, by bisection as alibi does."""
        return _bound(p, level, np.clip(p - np.sqrt(level / 2.0), 0.0, 1.0), n_iter)

    def _init_state(self, batch_size: int, coverage_data: NDArray[np.bool_]) -> None:
        super()._init_state(batch_size, coverage_data)  # type: ignore[misc]
        # Arrays instead of alibi's sets: an intersection is then one array operation.
        self.state["t_idx"] = defaultdict(list)

    def _propose(
        self, anchor: Anchor, order: list[int], covered: NDArray[np.bool_], at: NDArray[Any]
    ) -> None:
        """Record where a candidate holds, in the coverage sample and in the rows drawn so far."""
        state = self.state
        state["t_order"][anchor] = order
        state["t_coverage_idx"][anchor] = covered
        state["t_coverage"][anchor] = float(np.count_nonzero(covered)) / len(covered)
        state["t_idx"][anchor] = [at]
        state["t_nsamples"][anchor] = float(len(at))
        state["t_positives"][anchor] = float(state["labels"][at].sum())

    def _add(self, anchor: Anchor, draw: Draw, same: NDArray[np.bool_]) -> int:
        """Record the sample of a candidate, and count its rows with the label of the explained row."""
        state, rows, shown = self.state, draw.rows, self.sample_fcn.n_covered_ex
        count, first = len(rows), state["current_idx"]
        end = first + count
        positives = same.sum()
        state["t_idx"][anchor].append(np.arange(first, end))
        state["t_nsamples"][anchor] += count
        state["t_positives"][anchor] += positives
        state["t_covered_true"][anchor] = rows[same][:shown]
        state["t_covered_false"][anchor] = rows[~same][:shown]
        state["data"][first:end] = draw.holds
        state["labels"][first:end] = same
        state["current_idx"] = end
        if end >= len(state["data"]) - max(self.margin, count):
            more, width = state["prealloc_size"], state["n_features"]
            state["data"] = np.vstack((state["data"], np.zeros((more, width), bool)))
            state["labels"] = np.hstack((state["labels"], np.zeros(more)))
        return positives  # type: ignore[no-any-return]

    # -- progress, and incomplete anchors when the budget is spent ----------------------------------

    def _has_drawn(self) -> bool:
        return hasattr(self, "state") and self.state["current_idx"] > 0

    def _check_time(self) -> None:
        """Stop while there is still time to return the best anchor so far."""
        now = time.monotonic()
        self._pace, self._began = now - self._began, now
        current = context.current()
        left = current.remaining()
        if (
            left is not None
            and current.allowance.allow_incomplete_anchors
            and left < 2 * self._pace + _MARGIN
        ):
            raise current.exceeded()

    def _report(self) -> None:
        allowance = context.current().allowance
        if allowance.watch is None:
            return
        state, names = self.state, self.sample_fcn.names
        sampled = [anchor for anchor in self._sampled() if anchor]
        best = max(sampled, key=lambda anchor: self._lowest(anchor, 0.1), default=())
        allowance.news = {
            "anchor": names(state["t_order"][best]) if best else [],
            "precision": self._precision(best),
            "coverage": state["t_coverage"][best] if best else 1.0,
        }
        allowance.watch()

    def _sampled(self) -> Iterator[Anchor]:
        """Yield the anchors with samples, if the shorter anchors they extend have samples as well."""
        state = self.state
        for anchor in state["t_covered_true"]:
            parts = list(state["t_order"][anchor])
            grown = (tuple(sorted(parts[: length + 1])) for length in range(len(parts)))
            if all(state["t_nsamples"].get(part) for part in grown):
                yield anchor

    def _precision(self, anchor: Anchor) -> float:
        state = self.state
        return float(state["t_positives"][anchor] / state["t_nsamples"][anchor])

    def _lowest(self, anchor: Anchor, delta: float) -> float:
        """Return a lower bound of an anchor's precision, with confidence 1 - delta."""
        level = np.array([np.log(1 / delta) / self.state["t_nsamples"][anchor]])
        bound = self.dlow_bernoulli(np.array([self._precision(anchor)]), level)
        return float(bound[0])

    def _best_so_far(
        self,
        *,
        delta: float,
        desired_confidence: float,
        beam_size: int,
        batch_size: int,
        **_: Any,
    ) -> dict[str, Any]:
        """Choose as alibi does: the widest of the precise anchors, or else the most precise one."""
        state = self.state
        delta /= 1 + (beam_size - 1) * state["n_features"]
        sampled = [anchor for anchor in self._sampled() if anchor]
        lowest = {anchor: self._lowest(anchor, delta) for anchor in sampled}
        valid = [
            anchor
            for anchor in sampled
            if self._precision(anchor) >= desired_confidence
            and lowest[anchor] > desired_confidence - _EPSILON_STOP
        ]
        if not sampled:
            return {
                **{part: [] for part in ("feature", "mean", "precision", "coverage", "examples")},
                "num_preds": state["t_nsamples"][()],
                "all_precision": np.array([self._precision(())]),
                "success": False,
            }
        best = (
            max(valid, key=lambda anchor: state["t_coverage"][anchor])
            if valid
            else max(sampled, key=lambda anchor: lowest[anchor])
        )
        empty = state["t_covered_true"][best][:0]
        for length in range(1, len(best)):  # alibi would draw examples where they are missing
            part = tuple(sorted(state["t_order"][best][:length]))
            state["t_covered_true"].setdefault(part, empty)
            state["t_covered_false"].setdefault(part, empty)
        anchor: dict[str, Any] = self.get_anchor_metadata(best, bool(valid), batch_size)  # type: ignore[attr-defined]
        return anchor


def _bound(p: Floats, level: Floats, outer: Floats, n_iter: int) -> Floats:
    """Bisect between p and a bound beyond which the divergence from p is above a level.

    alibi computes the same terms again in each step. Here they are computed once, with the same results
    to the last bit, because the choices of the search depend on them.
    """
    inner = p
    m = np.minimum(np.maximum(p, _ZERO), _ONE)
    rest = 1.0 - m
    for _ in range(1, n_iter):
        middle = (outer + inner) / 2.0
        n = np.minimum(np.maximum(middle, _ZERO), _ONE)
        beyond = m * np.log(m / n) + rest * np.log(rest / (1.0 - n)) > level
        outer = np.where(beyond, middle, outer)
        inner = np.where(beyond, inner, middle)
    return outer
