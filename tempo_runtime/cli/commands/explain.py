"""`tempo-runtime explain`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from tempo_runtime.cli.calling.call import call_options, called
from tempo_runtime.cli.options import echo_json, json_option
from tempo_runtime.cli.terminal import console
from tempo_runtime.errors import PayloadError

if TYPE_CHECKING:
    from rich.table import Table

    from tempo_runtime.cli.calling.arguments import Arguments
    from tempo_runtime.cli.calling.explanations import Anchor
    from tempo_runtime.execution.runner import Progress
    from tempo_runtime.protocol.messages import Request

_PARAMETERS = "parameters"  # the argument that takes an explainer's own, by convention


@click.command()
@call_options
@click.option("--row", metavar="I", type=click.IntRange(0), help="Explain this row alone, from 0.")
@click.option(
    "--threshold", type=click.FloatRange(0, 1), help="Precision that an anchor is to have."
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Seed of its random numbers.")
@json_option
def explain(
    target: str,
    input_: str | None,
    row: int | None,
    threshold: float | None,
    seed: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    r"""Has TARGET explain INPUT, and shows the explanation.

    TARGET is the folder of an artifact, the URL of a model, or the name of a deployment, and INPUT a
    file, both as `predict` takes them. Anchors are shown as rules, and of other explanations what they
    hold; --json prints the explanation as it is. What the explainer itself takes goes into the argument
    `parameters`.

    \b
    Examples:
        tempo-runtime explain artifacts/explainer rows.csv --row 0 --threshold 0.9
        tempo-runtime explain http://localhost:8080/v2/models/income-explainer rows.npy --seed 1
        tempo-runtime explain grpc://localhost:8081/income-explainer --arg payload=@rows.npy \
            --arg 'parameters={"threshold": 0.9, "beam_size": 2}' --json
    """
    from tempo_runtime._util.progress import telling
    from tempo_runtime.cli.calling import explanations, results
    from tempo_runtime.protocol.binding import decode_results

    with called(target, input_, seed=seed, **options) as (opened, given):
        request = _request(given, row, threshold)
        with telling(f"{opened.name} explains") as tell:
            told = None if tell is None else lambda progress: tell(_news(progress))
            response = opened.infer(request, told)
    found = explanations.read(decode_results(None, response.tensors, response.content_type))
    if as_json:
        echo_json(results.plain(found))
        return
    many = [explanations.read(each) for each in found] if isinstance(found, list) else [found]
    anchors = [anchor for each in many if (anchor := explanations.anchor(each)) is not None]
    if anchors and len(anchors) == len(many):
        console().print(_anchors(anchors, row or 0))
        return
    for each in many:
        console().print(_parts(explanations.summary(each)))


def _request(given: Arguments | Request, row: int | None, threshold: float | None) -> Request:
    from tempo_runtime.cli.calling.arguments import Arguments

    if not isinstance(given, Arguments):
        if row is not None or threshold is not None:
            raise PayloadError(
                "a whole V2 request is sent as it is; leave --row and --threshold out"
            )
        return given
    if row is not None:
        if row >= len(given):
            raise PayloadError(f"there is no row {row}: the input has {len(given)}, from 0 on")
        given = given.only(row, row + 1)
    names = [spec.name for spec in given.signature.inputs] if given.signature else [_PARAMETERS]
    if _PARAMETERS in names:
        given.values.setdefault(_PARAMETERS, {})
    if threshold is not None:
        own = given.values if "threshold" in names else given.values.get(_PARAMETERS)
        if not isinstance(own, dict):
            raise PayloadError(f"no argument takes a threshold; there are {', '.join(names)}")
        own["threshold"] = threshold
    return given.request()


def _news(progress: Progress) -> str:
    text = f"calls {progress.calls:,}, rows {progress.rows:,}"
    news = progress.news
    if "anchor" not in news:
        return text
    rules = " and ".join(news["anchor"]) or "no rule"
    numbers = f"precision {news['precision']:.2f}, coverage {news['coverage']:.0%}"
    return f"{text}; best so far: {rules} ({numbers})"


def _anchors(anchors: Sequence[Anchor], first: int) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_lines=True)
    table.add_column("row", justify="right")
    table.add_column("enough for the prediction to stay as it is")
    table.add_column("precision", justify="right")
    table.add_column("coverage", justify="right")
    for number, anchor in enumerate(anchors, first):
        text = Text("\n".join(anchor.rules) or "nothing: it stays, whatever changes")
        if anchor.threshold is not None and anchor.precision < anchor.threshold:
            text.append(f"\nless precise than the {anchor.threshold:g} asked for", "yellow")
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
