"""ReadinessMonitor a deployment that is to serve, without a server."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any, cast

import pytest

from tempo_runtime import DeploymentFailed
from tempo_runtime.deploy.deployment import Deployment, ModelStatus

logs = importlib.import_module(
    "tempo_runtime.cli.commands.logs"
)  # its package has the command by that name
LOG = "Traceback (most recent call last):\n  File 'm.py'\nMemoryError: no more\n"


class Dying:
    """A deployment of which a server has ended.

    Args:
        ups: Whether it is up, each time that is asked.
    """

    def __init__(self, ups: Iterator[bool]) -> None:
        self._ups = ups

    @property
    def up(self) -> bool:
        return next(self._ups)

    def models(self) -> list[ModelStatus]:
        return [ModelStatus(name, name, "", "", "") for name in ("ready", "ended")]

    def logs(self, model: str | None = None) -> dict[str, str]:
        return {"ended": LOG}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for pause in ("_POLL", "_UNDEPLOYING"):
        monkeypatch.setattr(logs, pause, 0)
    monkeypatch.setattr(logs, "_CHECK_EVERY", 1)


def follow(*ups: bool, **options: Any) -> None:
    logs.follow(cast(Deployment, Dying(iter(ups))), None, 0, **options)


def test_an_ended_server_is_reported_with_the_reason() -> None:
    with pytest.raises(DeploymentFailed, match=r"^ended has ended: MemoryError: no more$"):
        follow(True, True, serving=True)


def test_servers_that_end_by_undeploy_are_not_a_failure() -> None:
    follow(True, False, False, serving=True)


def test_the_log_of_a_server_that_has_ended_is_followed_all_the_same() -> None:
    follow(True, True, False)


def test_the_lines_of_several_servers_are_shown_by_their_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs._show(
        {
            "shop": "2026-12-01 10:00:00,100 started\n2026-12-01 10:00:00,300 failed\n  at m.py\n",
            "tax": "2026-12-01 10:00:00,200 loaded\n2026-12-01 10:00:00,400 ended\n",
        },
        {},
        None,
    )
    assert [line.rpartition(" ")[2] for line in capsys.readouterr().out.splitlines()] == [
        "started",
        "loaded",
        "failed",
        "m.py",
        "ended",
    ]
