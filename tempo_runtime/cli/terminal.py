"""Print to a terminal so that text from artifacts and servers cannot control it."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import traceback
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from tempo_runtime._util.printable import printable
from tempo_runtime.execution.error_line import DEBUG, one_line

if TYPE_CHECKING:
    from rich.console import Console

_LONGEST = 4000  # characters of an error


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print text with its control characters escaped.

    Args:
        text: The text.
        err: Whether to print to standard error.
        nl: Whether to end with a newline.
    """
    click.echo(printable(text), err=err, nl=nl)


def console(**options: Any) -> Console:
    """Make a rich console that escapes control characters in everything it prints.

    The caller must escape markup in text from elsewhere, with `rich.markup.escape`.

    Args:
        options: Options of `rich.console.Console`.
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
    """Print an error on one line, and its traceback if `TEMPO_RUNTIME_DEBUG` is set.

    Args:
        error: The error.
    """
    if os.environ.get(DEBUG, "0") not in ("", "0"):
        traceback.print_exception(error)
    text = one_line(error)
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}... ({len(text) - _LONGEST:,} more characters)"
    echo("Error: " + text.strip().replace("\n", "\n  "), err=True)


def leave(status: Any) -> None:
    """End the process at once, even if threads hang; Python would wait for them."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 1)


def escape_warnings() -> None:
    """Escape control characters in log messages that go to a terminal by default."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Escaping())


class _Escaping(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))
