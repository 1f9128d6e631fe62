"""Progress is shown to people, and to nobody else; tests/examples/test_income.py shows it in a kernel."""

from __future__ import annotations

from typing import Any

import IPython.display
import pytest

from tempo_runtime._util import progress


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # which rich takes for a terminal
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Return what the outputs of a notebook's cell showed, in order."""
    contents: list[dict[str, str]] = []

    class Handle:
        def update(self, content: dict[str, str], raw: bool) -> None:
            contents.append(content)

    def display(content: dict[str, str], **_: Any) -> Handle:
        contents.append(content)
        return Handle()

    monkeypatch.setattr(IPython.display, "display", display)
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    monkeypatch.setattr(progress, "_PAUSE", 0)
    return contents


def work() -> None:
    with progress.shown("Sending <files>", 2000, size=True) as advance:
        advance(1000)
        advance(1000)
    with progress.telling("Deploying") as tell:
        if tell is not None:
            tell("forest is starting")


def test_a_script_without_a_terminal_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    work()
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("terminal")
def test_a_terminal_shows_a_bar_and_a_line_on_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    work()
    out, err = capsys.readouterr()
    assert out == ""
    assert "Sending <files>" in err
    assert "2.0/2.0 kB" in err
    assert "Deploying" in err


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("value", ["0", "false", "off"])
def test_a_variable_turns_it_off(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEMPO_RUNTIME_PROGRESS", value)
    work()
    assert capsys.readouterr().err == ""


def test_a_notebook_keeps_the_outcome_of_a_bar_and_removes_a_line(
    outputs: list[dict[str, str]],
) -> None:
    work()
    texts = [content["text/plain"] for content in outputs]
    assert texts[:3] == [
        f"Sending <files>: {done} of 2.0 kB" for done in ("0.0 kB", "1.0 kB", "2.0 kB")
    ]
    assert texts[3:] == [
        "Sending <files>: done",
        "Deploying ...",
        "Deploying: forest is starting",
        "",
    ]
    assert outputs[1]["text/html"] == (
        '<div><progress value="0.500"></progress> Sending &lt;files&gt;: 1.0 kB of 2.0 kB</div>'
    )


def test_a_notebook_says_that_work_failed(outputs: list[dict[str, str]]) -> None:
    with pytest.raises(OSError, match="full"), progress.shown("Sending"):
        raise OSError("full")
    assert outputs[-1]["text/plain"] == "Sending: failed"


def test_quick_work_shows_no_line_in_a_notebook(outputs: list[dict[str, str]]) -> None:
    with progress.in_cell("Explaining", delay=60) as tell:
        tell("calls 1")
    assert outputs == []
