"""`tempo-runtime check`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from tempo_runtime.cli.options import Seconds, artifact_argument, echo_json, json_option
from tempo_runtime.cli.terminal import console

if TYPE_CHECKING:
    from tempo_runtime.artifact.description import Description
    from tempo_runtime.protocol.messages import Request


@click.command(short_help="Check an artifact in a fresh process.")
@artifact_argument
@click.argument(
    "input_",
    metavar="[INPUT]",
    required=False,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
)
@click.option(
    "--arg",
    "args",
    multiple=True,
    metavar="NAME=JSON",
    help="An argument; NAME=@FILE reads a file.",
)
@click.option(
    "--timeout",
    type=Seconds(),
    default=300,
    show_default=True,
    metavar="SECONDS",
    help="How long each process may take.",
)
@json_option
def check(
    artifact: str, input_: str | None, args: tuple[str, ...], timeout: float, as_json: bool
) -> None:
    r"""Check that an artifact loads in a fresh process and returns the recorded answer.

    The process uses the artifact's packed environment, if it has one. The answer to the example must be
    the recorded one, except for the last digits of numbers. With INPUT or --arg, an example is first
    recorded in a fresh process of this environment: what works here must also work there. INPUT is read
    as by `tempo-runtime predict`. For each model whose calls are put together, its answer to rows of the
    example together is compared with those to each row alone.

    \b
    Examples:
        tempo-runtime check artifacts/shop --arg 'orders=[{"price": 3}]'
        tempo-runtime check artifacts/shop
    """
    from rich.markup import escape

    from tempo_runtime.artifact import store
    from tempo_runtime.cli.calling import checking
    from tempo_runtime.errors import CheckFailed
    from tempo_runtime.servers import repository

    shown = console(stderr=as_json)

    def done(what: str, seconds: float | None = None) -> None:
        took = f"  [dim]{seconds:.1f} s[/]" if seconds is not None else ""
        shown.print(f"[green]✓[/] {what}{took}")

    opened = store.verify_folder(artifact)
    store.verify_children(opened)
    description = opened.description
    done("every file is as it was saved")
    settings = os.path.join(artifact, store.MODEL_SETTINGS)
    if os.path.isfile(settings):
        repository.check(repository.read(settings), artifact)
        done(f"MLServer can read {store.MODEL_SETTINGS}")
    if input_ is not None or args:
        checking.record(artifact, _request(description, input_, args), timeout)
        done("recorded an example in this environment")
    example = checking.example(artifact)
    with checking.its_python(opened.folder) as python:
        if python != sys.executable:
            done("unpacked its environment")
        outcome = checking.ask(python, artifact, example[0] if example else None, timeout)
    done(f"loaded in a fresh process of Python {outcome.python}", outcome.loaded)
    for alias, evaluation in outcome.evaluations.items():
        shown.print(f"  {escape(alias)} is {escape(evaluation)}", highlight=False)
    if example is not None and outcome.response is not None:
        difference = checking.difference(example[1], outcome.response)
        if difference is not None:
            raise CheckFailed(
                f"{artifact} does not return the recorded answer to its example: {difference}; if the "
                "new answer is right, record the example again"
            )
        done("returned the recorded answer to its example", outcome.answered)
        for name, gap in outcome.batching.items():
            if gap is None:
                done(f"{name} answers rows together as it does alone, bit for bit")
            else:
                shown.print(
                    f"[yellow]![/] {escape(name)} answers rows together in another way than alone "
                    f"({escape(gap)}), so its batching changes answers"
                )
    else:
        shown.print("[yellow]-[/] no example is recorded; give INPUT or --arg to record one")
    if as_json:
        content = {"python": outcome.python, "loaded": outcome.loaded, "answered": outcome.answered}
        batching = {"batching": dict(outcome.batching)} if outcome.batching else {}
        evaluations = dict(outcome.evaluations)
        echo_json({"name": description.name, **content, **batching, "evaluations": evaluations})


def _request(description: Description, input_: str | None, args: tuple[str, ...]) -> Request:
    from tempo_runtime.cli.calling import arguments
    from tempo_runtime.protocol import codec
    from tempo_runtime.protocol.messages import Request
    from tempo_runtime.protocol.signature import Signature

    inputs = description.signature.metadata()["inputs"]
    signature = Signature(tuple(map(codec.spec_described, inputs)))
    body = sys.stdin.buffer.read() if input_ == "-" else None
    given = arguments.read(
        signature, body=body, file=None if body is not None else input_, args=args
    )
    return given if isinstance(given, Request) else given.request(tagged=True)
