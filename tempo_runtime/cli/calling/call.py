"""Parse the target and the input of `predict` and `explain`, and open the target."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from tempo_runtime.cli.options import Seconds, complete_targets, meant_path
from tempo_runtime.errors import PayloadError

if TYPE_CHECKING:
    from tempo_runtime.cli.calling.arguments import Arguments
    from tempo_runtime.cli.calling.targets import Target
    from tempo_runtime.protocol.messages import Request


def _target(ctx: click.Context, param: click.Parameter, value: str) -> str:
    is_folder = os.path.isdir(value)
    if "://" in value or (is_folder and ("/" in value or _is_artifact(value))):
        return value
    if "/" in value:
        raise click.BadParameter(
            f"there is no folder {value!r}, and it is not a URL{meant_path(value)}", ctx, param
        )
    from tempo_runtime.deploy.local import find
    from tempo_runtime.errors import DeploymentFailed

    if is_folder and not any(find.find(value)):
        return value  # opening it fails with an error that says what is missing
    try:
        return find.get(value).endpoint
    except DeploymentFailed as error:
        raise click.BadParameter(
            f"{value!r} is neither a folder nor a URL, and {error}", ctx, param
        ) from error


def _is_artifact(folder: str) -> bool:
    from tempo_runtime._util.atomic_files import DESCRIPTION

    return os.path.isfile(os.path.join(folder, DESCRIPTION))


_OPTIONS = (
    click.argument("target", callback=_target, shell_complete=complete_targets),
    click.argument(
        "input_",
        metavar="[INPUT]",
        required=False,
        type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    ),
    click.option(
        "--arg",
        "args",
        multiple=True,
        metavar="NAME=JSON",
        help="An argument; NAME=@FILE reads a file.",
    ),
    click.option("--input-name", metavar="NAME", help="Name of the argument whose value INPUT is."),
    click.option(
        "--header/--no-header",
        default=None,
        help="Whether the first line of a CSV has column names.  [default: unless it is all numbers]",
    ),
    click.option(
        "--dtype",
        "dtypes",
        multiple=True,
        metavar="COLUMN=TYPE",
        help="Type of a DataFrame's column: str, int, float, bool, datetime, category, ...",
    ),
    click.option(
        "-H",
        "--http-header",
        "headers",
        multiple=True,
        metavar="NAME:VALUE",
        help="Header of the requests to a URL.",
    ),
    click.option(
        "--timeout",
        type=Seconds(),
        metavar="SECONDS",
        help="How long a call may take.  [default: the setting `timeout`, 60]",
    ),
)


def call_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the arguments and options that choose the target and its input."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@contextlib.contextmanager
def open_call(
    target: str,
    input_: str | None,
    *,
    args: Sequence[str],
    input_name: str | None,
    header: bool | None,
    dtypes: Sequence[str] = (),
    headers: Sequence[str],
    timeout: float | None,
    seed: int | None = None,
) -> Iterator[tuple[Target, Arguments | Request]]:
    """Open a target and read the arguments to call it with.

    Text that a pipeline prints goes to standard error: standard output is for results.
    """
    from tempo_runtime.cli.calling import arguments, targets

    pairs = dict(_pair(text) for text in headers)
    dtypes_by_column = dict(_column(text) for text in dtypes)
    with (
        contextlib.redirect_stdout(sys.stderr),
        _without_tracebacks(),
        targets.opened(target, timeout=timeout, seed=seed, headers=pairs) as opened,
    ):
        takes = opened.signature is None or bool(opened.signature.inputs)
        waits = takes and input_ is None and not args and not sys.stdin.isatty()
        piped = waits or input_ == "-"
        given = arguments.read(
            opened.signature,
            body=sys.stdin.buffer.read() if piped else None,
            file=None if piped else input_,
            args=args,
            to=input_name,
            header=header,
            dtypes=dtypes_by_column,
        )
        yield opened, given


@contextlib.contextmanager
def _without_tracebacks() -> Iterator[None]:
    """Silence the log of failed calls, because the error itself is shown."""
    logger = logging.getLogger("tempo_runtime.execution.runner")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _column(text: str) -> tuple[str, str]:
    name, equals, dtype = text.rpartition("=")
    if not equals or not name:
        raise PayloadError(f"--dtype {text!r:.80} is not COLUMN=TYPE")
    return name, dtype


def _pair(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise PayloadError("-H takes NAME:VALUE")  # without the text, which may be a token
    return name.strip(), value.strip()
