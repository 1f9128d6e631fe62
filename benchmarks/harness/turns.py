"""Measure contenders in turns, so that the machine's noise falls on all alike."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

T = TypeVar("T")


class Ratio(NamedTuple):
    """A ratio of two contenders.

    Attributes:
        median: The median of the rounds' own ratios.
        low: Their first quartile.
        high: Their third quartile.
    """

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        median, low, high = (f"{value:.{2 if value >= 0.1 else 4}f}" for value in self)
        return f"{median} ({low} to {high})"


def in_turns(contenders: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Measure each contender once in each round, in another order each; a round before them warms up.

    A single round measures nothing, and needs no other before it.
    """
    found: dict[str, list[T]] = {name: [] for name in contenders}
    for turn in range(0 if rounds > 1 else 1, rounds + 1):
        for name in random.sample(list(contenders), len(contenders)):
            measured = contenders[name]()
            if turn:
                found[name].append(measured)
    return found


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Compare two contenders round by round."""
    ratios = np.divide(ours, theirs)
    low, median, high = np.percentile(ratios, (25, 50, 75))
    return Ratio(float(median), float(low), float(high))
