"""Quantiles as Prometheus estimates them, from https://github.com/prometheus/prometheus/blob/main/promql/quantile.go."""

from __future__ import annotations

import math

import pytest

from tempo_runtime.request.call_figures import quantile

BUCKETS = [(1.0, 10.0), (2.0, 10.0), (4.0, 30.0), (math.inf, 40.0)]


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.25, 1.0),  # the last of the first bucket
        (0.125, 0.5),  # the middle of the first bucket, which begins at 0
        (0.5, 3.0),  # the middle of the third: the second is empty
        (0.75, 4.0),
        (0.95, 4.0),  # beyond the last bound
    ],
)
def test_a_quantile_lies_within_its_bucket_by_linear_interpolation(
    share: float, expected: float
) -> None:
    assert quantile(share, BUCKETS) == expected


@pytest.mark.parametrize("buckets", [[], [(math.inf, 5.0)], [(1.0, 0.0), (math.inf, 0.0)]])
def test_there_is_no_quantile_without_observations_or_bounds(
    buckets: list[tuple[float, float]],
) -> None:
    assert quantile(0.5, buckets) is None
