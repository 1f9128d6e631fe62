"""What one client sends, and a child that restarts, take nothing from other clients."""

from __future__ import annotations

import pytest

from tests.fault.soak import Soak


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_clients_lose_nothing_to_others_wrong_rows_and_to_restarts() -> None:
    # Each restart finds eight calls on their way. Between two are about 180, 45 of them with wrong
    # rows: a breaker that counted these would open at the third in a row.
    report = Soak(calls=2_000, restarts=10).run()
    assert report.lost == []
    assert report.opened == []
    assert set(report.statuses) == {422}
    assert (report.good, report.restarts) == (1_500, 10)
