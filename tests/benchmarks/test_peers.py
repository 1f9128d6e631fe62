"""Platforms that cannot be compared are left out, and the reason is printed."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from benchmarks.harness import peers
from benchmarks.harness.bench import QUICK, Bench
from benchmarks.harness.report import Report

ROWS = np.ones((1, 4))


def printed_without(
    peer: peers.Peer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> str:
    monkeypatch.setattr(peers, "PEERS", {"Another": peer})
    monkeypatch.setattr(peers, "ROOT", tmp_path)
    with ExitStack() as stack:
        bench = Bench(QUICK, Report(), stack, tmp_path, (), lambda _: None)
        assert peers.start_peers(bench, [], ROWS, lambda rows: rows) == {}
    return capsys.readouterr().out


def test_a_platform_that_cannot_be_installed_is_left_out_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    peer = peers.Peer("another-platform>=1", ("another.py",))
    printed = printed_without(peer, tmp_path, monkeypatch, capsys)
    assert printed.startswith("without Another: ")
    assert "another-platform" in printed or "network" in printed


def test_a_platform_that_ends_at_its_start_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    peer = peers.Peer("", ("-c", "raise SystemExit(1)"))
    printed = printed_without(peer, tmp_path, monkeypatch, capsys)
    assert printed.startswith("without Another: it ended")
