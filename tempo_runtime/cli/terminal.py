"""What the command line prints: text from artifacts and servers cannot steer the terminal."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from tempo_runtime.errors import TempoError
from tempo_runtime.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

DEBUG = "TEMPO_RUNTIME_DEBUG"
_LONGEST = 4000  # characters of an error


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print text, its control characters escaped.

    Args:
        text: The text.
        err: Whether it goes to standard error.
        nl: Whether a newline follows.
    """
    click.echo(printable(text), err=err, nl=nl)


def console(**options: Any) -> Console:
    """Make a console of rich's that escapes control characters in everything it prints.

    Markup in text from elsewhere is the caller's to escape, with `rich.markup.escape`.

    Args:
        options: As rich's `Console` takes them.
    """
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Escaping(Console):
        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                text, style, control = segment
                yield segment if control else Segment(printable(text), style)

    return Escaping(**{"highlight": False, **options})


def fail(error: Exception) -> None:
    """Print an error in one line, and its traceback if `TEMPO_RUNTIME_DEBUG` asks for that.

    Args:
        error: What was raised.
    """
    if os.environ.get(DEBUG, "0") not in ("", "0"):
        traceback.print_exception(error)
    text = message(error)
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}... ({len(text) - _LONGEST:,} more characters)"
    echo("Error: " + text.strip().replace("\n", "\n  "), err=True)


def message(error: Exception) -> str:
    """Say in one line what went wrong: our errors do it themselves."""
    if isinstance(error, TempoError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return (
        f"unexpected {type(error).__name__}: {error}{place}; this is a fault of tempo-runtime: set "
        f"{DEBUG}=1 to see the traceback, and report it"
    )


def escape_warnings() -> None:
    """Escape control characters in what is logged to a terminal by default."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Escaping())


class _Escaping(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))
