"""`tempo-runtime predict`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tempo_runtime.cli.calling.call import call_options, open_call
from tempo_runtime.cli.options import json_option
from tempo_runtime.cli.terminal import echo
from tempo_runtime.errors import DeadlineExceeded, PayloadError, TempoError

if TYPE_CHECKING:
    from tempo_runtime.cli.calling.arguments import Arguments
    from tempo_runtime.cli.calling.targets import Target
    from tempo_runtime.protocol.messages import Response


@click.command()
@call_options
@click.option("--batch", metavar="N", type=click.IntRange(1), help="Rows to send in one request.")
@click.option(
    "--concurrency",
    metavar="K",
    type=click.IntRange(1),
    default=4,
    show_default=True,
    help="Batches to send to a URL at the same time.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="File for the result: .json, .csv, .npy or .parquet.",
)
@json_option
def predict(
    target: str,
    input_: str | None,
    batch: int | None,
    concurrency: int,
    output: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    r"""Call TARGET with INPUT and show the result.

    TARGET is the folder of an artifact, which is loaded in this process, the URL of a model on a server,
    or the name of a deployment on this machine. INPUT is a .json, .csv, .npy or .parquet file; "-" or
    nothing reads JSON from standard input. The JSON is a V2 request, an object of arguments by name, or
    the value of the only array.

    \b
    Examples:
        tempo-runtime predict artifacts/check rows.csv --arg 'labels=[0, 1]'
        tempo-runtime predict http://localhost:8080/v2/models/check rows.npy --batch 100 -o out.csv
        tempo-runtime predict grpc://localhost:8081/check --arg rows=@rows.npy --arg labels=@labels.json
        tempo-runtime predict income-check rows.csv                  # deployed by `tempo-runtime deploy`
        echo '{"rows": [[1, 2]], "labels": [0]}' | tempo-runtime predict artifacts/check
    """
    from tempo_runtime.cli.calling import results as outputs
    from tempo_runtime.protocol.binding import decode_results, encode_results
    from tempo_runtime.protocol.messages import Request, Response, response_to_json
    from tempo_runtime.protocol.signature import Signature

    if output is not None:
        if as_json:
            raise click.UsageError("--json is for standard output; leave out --json or --output")
        outputs.check(output)
    with open_call(target, input_, **options) as (opened, given):
        if batch is None:
            request = given if isinstance(given, Request) else given.request(tagged=opened.tagged)
            responses = list(opened.answers([request]))
        elif isinstance(given, Request):
            raise PayloadError("a complete V2 request cannot be sent in batches; leave out --batch")
        else:
            responses = _in_batches(opened, given, batch, concurrency)
    results = [
        decode_results(None, response.tensors, response.content_type) for response in responses
    ]
    value = outputs.joined(results)
    if output is not None:
        outputs.write(output, value)
    elif not as_json:
        echo(outputs.text(value))
    elif len(responses) == 1:
        echo(response_to_json(responses[0], opened.name).decode())
    else:
        tensors, content_type = encode_results(Signature(()), value, tagged=True)
        parameters = {"content_type": content_type} if content_type else {}
        echo(response_to_json(Response(tensors, parameters), opened.name).decode())


def _in_batches(target: Target, given: Arguments, size: int, at_once: int) -> list[Response]:
    from tempo_runtime._util.progress import shown

    parts = list(given.parts(size))
    requests = [part.request(tagged=target.tagged) for _, part in parts]
    responses: list[Response] = []
    with shown(f"{target.name}: rows", len(given)) as advance:
        try:
            for response in target.answers(requests, at_once):
                advance(len(parts[len(responses)][0]))
                responses.append(response)
        except TempoError as error:
            rows, _ = parts[len(responses)]
            kind = DeadlineExceeded if isinstance(error, DeadlineExceeded) else TempoError
            raise kind(f"rows {rows.start} to {rows.stop - 1}: {error}") from error
    return responses
