"""Neither one client's requests nor a child that restarts take anything from other clients."""

from __future__ import annotations

import pytest

from tests.errors.soak import Soak


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_clients_lose_nothing_to_others_wrong_rows_and_to_restarts() -> None:
    report = Soak(calls=10_000, restarts=10).run()
    assert report.lost == []
    assert report.opened == []
    assert set(report.statuses) == {422}
    assert (report.good, report.restarts) == (7_500, 10)
