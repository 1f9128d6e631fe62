"""Show the progress of long work: in a terminal on standard error, in a notebook below its cell.

Nothing is shown elsewhere, where a bar would fill a log, or if `TEMPO_RUNTIME_PROGRESS` is 0.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from html import escape
from typing import TYPE_CHECKING, Any

from tempo_runtime._util.printable import printable
from tempo_runtime._util.printable import size as readable_size

if TYPE_CHECKING:
    from rich.console import Console

_SETTING = "TEMPO_RUNTIME_PROGRESS"  # environment variable that turns it off
_PAUSE = 0.1  # seconds between two changes of a notebook's output


@contextlib.contextmanager
def shown(
    text: str, total: float | None = None, *, size: bool = False
) -> Iterator[Callable[[float], None]]:
    """Show the progress of the block as a bar, which stays when it is full.

    Args:
        text: Description of the work.
        total: Total amount of work; None if it is not known.
        size: Whether the amount is a number of bytes.

    Yields:
        A function to call with the amount of work since its last call.
    """
    text = printable(text)
    if in_notebook():
        with _bar_in_notebook(text, total, _in_bytes if size else _counted) as advance:
            yield advance
        return
    from rich.markup import escape as as_markup
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TransferSpeedColumn,
    )

    console = _console()
    columns: list[ProgressColumn] = [TextColumn("{task.description}"), BarColumn()]
    if size:
        columns += [DownloadColumn(), TransferSpeedColumn()]
    elif total is not None:
        columns += [MofNCompleteColumn()]
    off = not _in_terminal(console)
    with Progress(*columns, TimeElapsedColumn(), console=console, disable=off) as progress:
        task = progress.add_task(as_markup(text), total=total)
        yield lambda more: progress.advance(task, more)
        done = progress.tasks[0].completed if total is None else total
        progress.update(task, total=done or 1, completed=done or 1)


@contextlib.contextmanager
def telling(text: str) -> Iterator[Callable[[str], None] | None]:
    """Show one line about the current state of the block, which vanishes with the block.

    Args:
        text: Description of the work.

    Yields:
        A function to call with the current state; None where nothing is shown.
    """
    if in_notebook():
        with in_cell(text) as tell:
            yield tell
        return
    console = _console()
    if not _in_terminal(console):
        yield None
        return
    from rich.text import Text

    def line(news: str) -> Text:
        return Text(printable(news), no_wrap=True, overflow="ellipsis")

    with console.status(line(text)) as status:
        yield lambda news: status.update(line(f"{text}: {news}"))


@contextlib.contextmanager
def in_cell(text: str, delay: float = 0) -> Iterator[Callable[[str], None]]:
    """Show one line in a notebook about the current state of the block; see `telling`.

    Args:
        text: Description of the work.
        delay: Seconds before anything is shown, so that quick work does not flicker.
    """
    text, output = printable(text), _Output(delay)
    if not delay:
        output.show(f"{text} ...")
    try:
        yield lambda news: output.show(f"{text}: {printable(news)}")
    finally:
        output.clear()


def in_notebook() -> bool:
    """Return whether progress is shown below the cell of a notebook."""
    if "ipykernel" not in sys.modules or not _wanted():
        return False
    from IPython import get_ipython  # type: ignore[attr-defined, unused-ignore]

    return hasattr(get_ipython(), "kernel")


@contextlib.contextmanager
def _bar_in_notebook(
    text: str, total: float | None, formatted: Callable[[float], str]
) -> Iterator[Callable[[float], None]]:
    output, done = _Output(), 0.0

    def advance(more: float) -> None:
        nonlocal done
        done += more
        show()

    def show() -> None:
        amount = formatted(done) if total is None else f"{formatted(done)} of {formatted(total)}"
        output.show(f"{text}: {amount}", None if total is None else done / (total or 1))

    show()
    outcome = "failed"
    try:
        yield advance
        outcome = "done"
    finally:
        output.show(f"{text}: {outcome}", at_once=True)  # without the time: notebooks are compared


class _Output:
    """One output of a notebook's cell, whose content is replaced; from any thread.

    Args:
        delay: Seconds before anything is shown.
    """

    def __init__(self, delay: float = 0) -> None:
        self._handle: Any = None
        self._next = time.monotonic() + delay
        self._lock = threading.Lock()

    def show(self, text: str, share: float | None = None, *, at_once: bool = False) -> None:
        """Replace the content, but not more often than people can see.

        Args:
            text: The text.
            share: Length of a bar, from 0 to 1; None for no bar.
            at_once: Whether it must be shown even if the content has just changed.
        """
        with self._lock:
            if time.monotonic() < self._next and not at_once:
                return
            self._next = time.monotonic() + _PAUSE
            bar = "" if share is None else f'<progress value="{min(share, 1):.3f}"></progress> '
            self._replace({"text/html": f"<div>{bar}{escape(text)}</div>", "text/plain": text})

    def clear(self) -> None:
        """Remove the content, and show no more."""
        with self._lock:
            self._next = float("inf")
            if self._handle is not None:
                self._replace({"text/html": "", "text/plain": ""})

    def _replace(self, content: dict[str, str]) -> None:
        from IPython.display import display

        if self._handle is None:
            show: Any = display
            self._handle = show(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)


def _in_bytes(amount: float) -> str:
    return readable_size(int(amount))


def _counted(amount: float) -> str:
    return f"{amount:.0f}"


def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True)


def _in_terminal(console: Console) -> bool:
    return console.is_terminal and not console.is_jupyter and _wanted()


def _wanted() -> bool:
    return os.environ.get(_SETTING, "1").lower() not in ("0", "false", "off")
