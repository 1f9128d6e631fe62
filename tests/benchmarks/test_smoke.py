"""Each benchmark runs, prints its ratios, and gets no wrong answer. Its speed is not tested."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import pytest

from benchmarks.__main__ import BENCHMARKS, main
from tests.helpers.income import Income, census

# "OURS / THEIRS, WHERE: MEDIAN (QUARTILE to QUARTILE)", and perhaps the ratio of CPU time
RATIO = re.compile(r"^[^|].* / .*: [\d.]+ \([\d.]+ to [\d.]+\)(?:; CPU .*)?$", re.MULTILINE)
WITHOUT_ANSWERS = ("copies", "environments", "imports")  # they ask no server
EXAMPLES = ("src", "explainers")  # modules of examples, which benchmarks import


@pytest.fixture(autouse=True)
def _forget_examples(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] in EXAMPLES]:
        del sys.modules[name]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_it_prints_its_ratios_and_no_answer_is_wrong(
    name: str,
    income: Income,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("INCOME_ARTIFACTS", str(income.folder))
    monkeypatch.setenv("TEMPO_ADULT_DATA", str(census()))
    assert main([name, "--smoke"]) == 0
    printed = capsys.readouterr().out
    assert RATIO.search(printed)
    compared = re.findall(r"^answers compared: ([\d,]+), wrong: ([\d,]+)$", printed, re.MULTILINE)
    assert bool(compared) == (name not in WITHOUT_ANSWERS)
    assert all(count != "0" and wrong == "0" for count, wrong in compared)


def test_all_are_listed_with_a_sentence_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(BENCHMARKS)
    assert all(line.endswith(".") for line in lines)
