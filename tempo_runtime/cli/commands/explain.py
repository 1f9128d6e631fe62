"""`tempo-runtime explain`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from tempo_runtime.cli.calling.call import call_options, open_call
from tempo_runtime.cli.options import echo_json, json_option
from tempo_runtime.cli.terminal import console, echo
from tempo_runtime.errors import PayloadError

if TYPE_CHECKING:
    from rich.table import Table

    from tempo_runtime.cli.calling.arguments import Arguments
    from tempo_runtime.explanations.reading import Anchor
    from tempo_runtime.protocol.messages import Request

_PARAMETERS = "parameters"  # by convention, the argument that takes an explainer's own parameters


@click.command()
@call_options
@click.option(
    "--row", metavar="I", type=click.IntRange(0), help="Explain only this row; the first is 0."
)
@click.option(
    "--threshold",
    metavar="P",
    type=click.FloatRange(0, 1),
    help="Precision that an anchor must have.",
)
@click.option(
    "--seed", metavar="N", type=click.IntRange(0, 2**32 - 1), help="Seed of random numbers."
)
@click.option(
    "--html", metavar="FILE", type=click.Path(dir_okay=False), help="Write a page with pictures."
)
@json_option
def explain(
    target: str,
    input_: str | None,
    row: int | None,
    threshold: float | None,
    seed: int | None,
    html: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    r"""Call the explainer TARGET with INPUT and show the explanation.

    TARGET is the folder of an artifact, the URL of a model, or the name of a deployment, and INPUT is a
    file, both as for `predict`. An anchor is shown as rules, and any other explanation as its parts;
    --json prints the explanation as it is, and --html writes a page of pictures. The explainer's own
    parameters go into the argument `parameters`.

    \b
    Examples:
        tempo-runtime explain artifacts/explainer rows.csv --row 0 --threshold 0.9
        tempo-runtime explain artifacts/explainer rows.csv --html explanations.html
        tempo-runtime explain http://localhost:8080/v2/models/income-explainer rows.npy --seed 1
        tempo-runtime explain grpc://localhost:8081/income-explainer --arg payload=@rows.npy \
            --arg 'parameters={"threshold": 0.9, "beam_size": 2}' --json
    """
    from tempo_runtime._util.progress import telling
    from tempo_runtime.cli.calling import results
    from tempo_runtime.execution.explain.progress import in_words
    from tempo_runtime.explanations import reading
    from tempo_runtime.protocol.binding import decode_results

    if html is not None:
        _writable(html)
    with open_call(target, input_, seed=seed, **options) as (opened, given):
        request = _request(given, row, threshold)
        with telling(f"{opened.name} explains") as show_text:
            report = None if show_text is None else lambda *news: show_text(in_words(*news))
            response = opened.infer(request, report)
    explanation = reading.read(decode_results(None, response.tensors, response.content_type))
    explained = (
        [reading.read(part) for part in explanation]
        if isinstance(explanation, list)
        else [explanation]
    )
    if html is not None:
        _write_page(html, opened.name, explained)
    if as_json:
        echo_json(results.plain(explanation))
        return
    anchors = [anchor for part in explained if (anchor := reading.anchor(part)) is not None]
    if anchors and len(anchors) == len(explained):
        console().print(_anchors(anchors, row or 0))
        return
    for part in explained:
        console().print(_parts(reading.summary(part)))


def _writable(path: str) -> None:
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise PayloadError(
            f"{path} cannot be written: there is no folder {folder}; create it first"
        )


def _write_page(path: str, name: str, explained: Sequence[Any]) -> None:
    from tempo_runtime._util import atomic_files
    from tempo_runtime.explanations.html import page

    folder, file = os.path.split(os.path.abspath(path))
    try:
        atomic_files.write(folder, file, page(f"Explained by {name}", explained).encode())
    except OSError as error:
        raise PayloadError(f"{path} cannot be written: {error.strerror}") from error
    echo(f"The pictures are in {path}; open it in a browser.", err=True)


def _request(given: Arguments | Request, row: int | None, threshold: float | None) -> Request:
    from tempo_runtime.cli.calling.arguments import Arguments

    if not isinstance(given, Arguments):
        if row is not None or threshold is not None:
            raise PayloadError(
                "a complete V2 request is sent as it is; leave out --row and --threshold"
            )
        return given
    if row is not None:
        if row >= len(given):
            raise PayloadError(
                f"there is no row {row}: rows count from 0, and the input has {len(given)}"
            )
        given = given.only(row, row + 1)
    names = [spec.name for spec in given.signature.inputs] if given.signature else [_PARAMETERS]
    if _PARAMETERS in names:
        given.values.setdefault(_PARAMETERS, {})
    if threshold is not None:
        target = given.values if "threshold" in names else given.values.get(_PARAMETERS)
        if not isinstance(target, dict):
            raise PayloadError(
                f"no argument takes a threshold; the arguments are {', '.join(names)}"
            )
        target["threshold"] = threshold
    return given.request()


def _anchors(anchors: Sequence[Anchor], first: int) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_lines=True)
    table.add_column("row", justify="right")
    table.add_column("the prediction stays the same if")
    table.add_column("precision", justify="right")
    table.add_column("coverage", justify="right")
    for number, anchor in enumerate(anchors, first):
        text = Text("\n".join(anchor.rules) or "in any case, whatever else changes")
        if anchor.threshold is not None and anchor.precision < anchor.threshold:
            text.append(f"\nless precise than the requested {anchor.threshold:g}", "yellow")
        if anchor.incomplete:
            text.append(f"\nincomplete: {anchor.incomplete}", "yellow")
        table.add_row(str(number), text, f"{anchor.precision:.3f}", f"{anchor.coverage:.1%}")
    return table


def _parts(parts: Iterable[tuple[str, str]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False)
    for name, text in parts:
        table.add_row(Text(name, style="bold"), Text(text))
    return table
