"""Neither one client's requests nor a child that restarts take anything from other clients."""

from __future__ import annotations

import pytest

from tests.errors.soak import Report, Soak


def assert_nothing_is_lost(report: Report) -> None:
    assert report.lost == []
    assert report.opened == []
    assert set(report.statuses) == {422}


@pytest.mark.timeout(300)
def test_clients_lose_nothing_to_others_wrong_rows_and_to_restarts() -> None:
    report = Soak(calls=400, restarts=2).run()
    assert_nothing_is_lost(report)
    assert (report.good, report.restarts) == (300, 2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_clients_lose_nothing_in_ten_thousand_calls() -> None:
    report = Soak(calls=10_000, restarts=10).run()
    assert_nothing_is_lost(report)
    assert (report.good, report.restarts) == (7_500, 10)
