"""How much is tried: the same examples in each run, or others and more of them, when asked."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_TIMES = int(os.environ.get("TEMPO_FUZZ", "0"))


def examples(number: int) -> settings:
    """Settings for `number` examples, the same in each run; random ones, `TEMPO_FUZZ` times as many."""
    return settings(
        max_examples=number * max(1, _TIMES),
        derandomize=not _TIMES,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
