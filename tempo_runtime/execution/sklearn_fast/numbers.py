"""Arithmetic that trees, forests and boosting share."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from tempo_runtime.execution.sklearn_fast.base import Unsure

if TYPE_CHECKING:
    from tempo_runtime.execution.sklearn_fast.base import Array, Values

_NODES = 2**17  # largest number of nodes whose thresholds are looked at
_THRESHOLDS = 32  # for each feature


def as_float32(x: Array) -> Array:
    """Return rows as trees compare them, in C order.

    Raises:
        Unsure: If the rows contain NaN, or numbers that are infinite as float32.
    """
    x = np.asarray(x, np.float32, order="C")
    if not np.isfinite(x).all():
        raise Unsure
    return x


def around(features: Array, limits: Array, takes: int) -> Values:
    """Return numbers below, at and above some thresholds of each feature.

    Args:
        features: The feature of each node, shape (nodes,).
        limits: The threshold of each node, in the precision in which it is compared.
        takes: Number of features.
    """
    stride = 1 + len(limits) // _NODES
    features, limits = features[::stride], limits[::stride]
    order = np.lexsort((limits, features))
    starts = np.searchsorted(features[order], np.arange(takes + 1))
    return [_around(limits[order[i:j]]) for i, j in pairwise(starts)]


def cores(jobs: int | None) -> int:
    """Return the number of threads that joblib makes of `n_jobs`."""
    if jobs in (None, 1):
        return 1
    from joblib import effective_n_jobs  # scikit-learn requires it

    return int(effective_n_jobs(jobs))


def _around(limits: Array) -> Array:
    if not len(limits):
        return np.arange(2.0)
    some = limits[np.linspace(0, len(limits) - 1, _THRESHOLDS).astype(int)]
    edges = [np.nextafter(some, limits.dtype.type(end)) for end in (-np.inf, np.inf)]
    return np.concatenate([some, *edges], dtype=np.float64)
