"""Show the progress of long work: a bar on standard error, or in a notebook."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tempo_runtime._util.printable import printable

if TYPE_CHECKING:
    from rich.console import Console


@contextlib.contextmanager
def shown(
    text: str, total: float | None = None, *, size: bool = False
) -> Iterator[Callable[[float], None]]:
    """Show the progress of the block.

    A terminal and a notebook with ipywidgets show a bar, which stays when it is full. Elsewhere a bar
    would fill a log, so there is one line at the end.

    Args:
        text: Description of the work.
        total: Total amount of work; None if it is not known.
        size: Whether the amount is a number of bytes.

    Yields:
        A function to call with the amount of work since its last call.
    """
    from rich.console import Console
    from rich.markup import escape
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

    text = escape(printable(text))
    console = Console(stderr=True)
    columns: list[ProgressColumn] = [TextColumn("{task.description}"), BarColumn()]
    if size:
        columns += [DownloadColumn(), TransferSpeedColumn()]
    elif total is not None:
        columns += [MofNCompleteColumn()]
    live = _can_redraw(console)
    with Progress(*columns, TimeElapsedColumn(), console=console, disable=not live) as progress:
        task = progress.add_task(text, total=total)
        yield lambda more: progress.advance(task, more)
        done = progress.tasks[0].completed if total is None else total
        progress.update(task, total=done or 1, completed=done or 1)
    if not live:
        console.print(f"{text}: done", highlight=False)


@contextlib.contextmanager
def telling(text: str) -> Iterator[Callable[[str], None] | None]:
    """Show one line about the current state of the block.

    Args:
        text: Description of the work.

    Yields:
        A function to call with the current state; None where a line cannot be redrawn.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    if not _can_redraw(console):
        yield None
        return

    def line(news: str) -> Text:
        return Text(printable(news), no_wrap=True, overflow="ellipsis")

    with console.status(line(text)) as status:
        yield lambda news: status.update(line(f"{text}: {news}"))


def _can_redraw(console: Console) -> bool:
    """Tell whether what was printed can be replaced. In a notebook, rich needs ipywidgets for it."""
    if console.is_jupyter:
        return importlib.util.find_spec("ipywidgets") is not None
    return console.is_terminal
