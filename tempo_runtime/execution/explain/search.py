"""alibi's search for an anchor, with fewer calls of the predictor and less work between them.

The search and its statistics stay alibi's. Each round of it draws a sample for two candidates at
most, or for all: here they are predicted in one call. Which candidate a row belongs to does not change
what is drawn for the next, because alibi, too, draws for all before it looks at an answer.
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
_EPSILON_STOP = 0.05  # alibi's, which `explain` does not let anyone change
_MARGIN = 0.05  # seconds, to make an explanation of what was found
_ZERO, _ONE = 0.0000001, 0.9999999999999999  # what alibi takes a precision of 0 and 1 for


@dataclass(frozen=True)
class Draw:
    """A sample in which an anchor holds.

    Attributes:
        rows: Its rows, as the predictor takes them: (n, features).
        holds: Which predicates hold in each: (n, predicates), of booleans.
    """

    rows: NDArray[Any]
    holds: NDArray[np.bool_]


class Sampler(Protocol):
    """What draws rows, or texts, around the one that is explained.

    Attributes:
        n_covered_ex: How many examples an explanation shows of an anchor.
    """

    n_covered_ex: int

    def draw(self, anchor: Anchor, count: int) -> Draw:
        """Draws some in which an anchor holds."""
        ...

    def compare_labels(self, samples: NDArray[Any], /) -> NDArray[np.bool_]:
        """Return which of them have the label of the one that is explained."""
        ...

    def names(self, predicates: list[int], /) -> list[str]:
        """Predicates as people read them."""
        ...


class FastSearch:
    """Put before alibi's `AnchorBaseBeam` among the bases of a class."""

    sample_fcn: Sampler
    state: dict[str, Any]
    margin: int
    _spent: Exception | None = None

    def anchor_beam(self, **options: Any) -> dict[str, Any]:
        """Search; where the request asks for it, what was found until its budget was spent."""
        self._pace = 0.0  # seconds that the last round took
        self._began = time.monotonic()
        try:
            result: dict[str, Any] = super().anchor_beam(**options)  # type: ignore[misc]
        except (BudgetExceeded, DeadlineExceeded) as spent:
            if not context.current().allowance.best_so_far or not self._has_drawn():
                raise
            result, self._spent = self._best_so_far(**options), spent
        return result

    def marked(self, explanation: Any) -> Any:
        """Return an explanation, marked if the search ended before it was done."""
        if self._spent is not None:
            explanation.meta["incomplete"] = str(self._spent)
        return explanation

    def draw_samples(self, anchors: Sequence[Anchor], batch_size: int) -> tuple[Any, Any]:
        """Draws and labels rows for each of some anchors.

        Returns:
            How many have the explained row's label, and how many there are, for each anchor.
        """
        self._check_time()
        order, sampler = self.state["t_order"], self.sample_fcn
        for anchor in anchors:
            if anchor not in order:
                order[anchor] = list(anchor)
        draws = [sampler.draw(tuple(order[anchor]), batch_size) for anchor in anchors]
        rows = draws[0].rows if len(draws) == 1 else np.concatenate([each.rows for each in draws])
        same = sampler.compare_labels(rows).reshape(len(draws), batch_size)
        positives = tuple(map(self._add, anchors, draws, same))
        self._report()
        return positives, (batch_size,) * len(draws)

    def propose_anchors(self, previous_best: list[Anchor]) -> list[Anchor]:
        """Candidates with one predicate more than the best so far."""
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
        """Return the lowest that they allow."""
        return _bound(p, level, np.clip(p - np.sqrt(level / 2.0), 0.0, 1.0), n_iter)

    def _init_state(self, batch_size: int, coverage_data: NDArray[np.bool_]) -> None:
        super()._init_state(batch_size, coverage_data)  # type: ignore[misc]
        # Arrays, where alibi has sets: an intersection is then one operation on memory.
        self.state["t_idx"] = defaultdict(list)

    def _propose(
        self, anchor: Anchor, order: list[int], covered: NDArray[np.bool_], at: NDArray[Any]
    ) -> None:
        """Note what is known of a candidate: where it holds, in the coverage sample and so far."""
        state = self.state
        state["t_order"][anchor] = order
        state["t_coverage_idx"][anchor] = covered
        state["t_coverage"][anchor] = float(np.count_nonzero(covered)) / len(covered)
        state["t_idx"][anchor] = [at]
        state["t_nsamples"][anchor] = float(len(at))
        state["t_positives"][anchor] = float(state["labels"][at].sum())

    def _add(self, anchor: Anchor, draw: Draw, same: NDArray[np.bool_]) -> int:
        """Note the sample of a candidate; its rows with the explained row's label are counted."""
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

    # -- a budget that is spent, and news while there is some ---------------------------------------

    def _has_drawn(self) -> bool:
        return hasattr(self, "state") and self.state["current_idx"] > 0

    def _check_time(self) -> None:
        """Stop while there is time to answer with what was found."""
        now = time.monotonic()
        self._pace, self._began = now - self._began, now
        current = context.current()
        left = current.remaining()
        if left is not None and current.allowance.best_so_far and left < 2 * self._pace + _MARGIN:
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
        """Yield the anchors that rows were drawn for, and so were the parts that they grew from."""
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
        """Return the precision it has at least, but for a probability of delta."""
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
        """Choose as alibi does: of anchors precise enough the widest, else the most precise."""
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
        none = state["t_covered_true"][best][:0]
        for length in range(1, len(best)):  # alibi would draw examples for those that have none
            part = tuple(sorted(state["t_order"][best][:length]))
            state["t_covered_true"].setdefault(part, none)
            state["t_covered_false"].setdefault(part, none)
        found: dict[str, Any] = self.get_anchor_metadata(best, bool(valid), batch_size)  # type: ignore[attr-defined]
        return found


def _bound(p: Floats, level: Floats, outer: Floats, n_iter: int) -> Floats:
    """Bisects between p and a bound beyond which the divergence from p is above a level.

    Half of what alibi computes in each step is the same in all: the arithmetic here gives the same
    floats, which the search's choices depend on.
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
