"""The page docs/errors.md, made from `tempo_runtime.errors`: `python -m tests.fault.page` writes it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

from mlserver.errors import MLServerError
from mlserver.grpc.utils import _grpc_status_code

from tempo_runtime import errors
from tempo_runtime.error_info import ErrorInfo, marked
from tempo_runtime.errors import Fault, TempoError

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"

_EXAMPLE = ErrorInfo("PayloadError", 422, Fault.CLIENT, path=("shop", "prices"))
_MESSAGE = "child 'shop': child 'prices': row 3 has no price"
_TEXT = """\
# Errors

What each error means, whose fault it is and what to do. This page is made from `tempo_runtime/errors.py`;
`python -m tests.fault.page` writes it anew.

## Who has to change something

| fault | who | logged |
|---|---|---|
| `client` | whoever sent the request | one line |
| `pipeline` | the author of a pipeline | a traceback where it was raised; one line in pipelines above |
| `child` | whoever runs the model that a pipeline calls | one line |
| `server` | whoever deploys and runs the pipeline | one line |

**What the request caused is 4xx at every depth.** A pipeline passes the error of a child pipeline up with
its status, its fault and its text, and puts the child's name in front. Nobody above tries such a call
again: the pipeline that called the failing server has tried what can be tried. No breaker opens for it,
because a server that explains its errors is well. Only a server that is itself busy or not ready is
called again, by whoever called it.

**Who made the values decides** where a pipeline and its child disagree:

- A child answers 400, 413 or 422: the values came with the request. The pipeline answers the same
  status (`ChildRefused`). 401, 403 and the like are about addresses and credentials, which no client
  chooses: 502.
- The author's code calls a child with an argument that the child does not have, leaves one out, or gives
  it a value that no request can bring: 500, with the line of the call (`ArgumentError`).
- A value that a request can bring does not fit what the child takes: 422.
- The author's code, a load method, or an explainer's predictor raises: 500, with the last line that is
  the author's and not a library's (`PipelineFailed`).
- The author raises `PayloadError`, or MLServer's `MLServerError` with a status: that status.

A server that is not ours says none of this, and is read by its status ([children.md](children.md)).

## What programs read

Over HTTP, a JSON object stands beside MLServer's `error`, and in a header of ASCII that is never longer
than 2,000 bytes (`...` stands for names that do not fit). `Retry-After` is sent where a time is known.

```
HTTP/1.1 422
tempo-error: {header}

{body}
```

| field | |
|---|---|
| `kind` | the error's class, in the process where it was raised |
| `status` | its HTTP status |
| `fault` | `client`, `pipeline`, `child` or `server` |
| `retryable` | whether the same request can succeed later, unchanged |
| `retry_after` | seconds to wait before that, where they are known |
| `path` | the children it came through, outermost first |

The last event of a stream that fails has `error`, `status` and `tempo` among its parameters. Over gRPC,
MLServer passes on a code and a text. The text ends with the object and the status:

```
{details}
```

So does `error` over HTTP in the one case in which our code is not in the process that answers: MLServer's
parallel workers in an environment of their own (`environment_tarball`). Clients of this package
(children, `RemoteModel`, `tempo-runtime predict`) read all of these, and give them as attributes of the
exception: `kind`, `status`, `fault`, `retryable`, `retry_after`, `path`.

## Each error

"gRPC" is the code that MLServer gives the status. In italics: errors that no request can meet.

| error | status | gRPC | retry | fault | cause | remedy |
|---|---|---|---|---|---|---|
{rows}
"""
# Raised while something is written, saved, deployed or loaded.
_BEFORE = (
    errors.AuthoringError,
    errors.SettingsError,
    errors.ArtifactError,
    errors.EnvironmentFailed,
    errors.CheckFailed,
    errors.ServingFailed,
    errors.DeploymentFailed,
    errors.StorageError,
)


def page() -> str:
    """The text of the page."""
    body = '{"error": "%s", "tempo": %s}' % (_MESSAGE, _EXAMPLE.to_header())  # noqa: UP031
    return _TEXT.format(
        header=_EXAMPLE.to_header(),
        body=body,
        details=marked(_MESSAGE, _EXAMPLE),
        rows="\n".join(map(_row, classes(TempoError))),
    )


def classes(kind: type[TempoError]) -> Iterator[type[TempoError]]:
    """A class of errors, and those below it that are not listed elsewhere."""
    yield kind
    for below in kind.__subclasses__():
        if below.__bases__[0] is kind and below.__module__ == kind.__module__:
            yield from classes(below)


def _row(kind: type[TempoError]) -> str:
    name = f"*`{kind.__name__}`*" if issubclass(kind, _BEFORE) else f"`{kind.__name__}`"
    status = "the child's 4xx" if kind is errors.ChildRefused else str(kind.status)
    code = _grpc_status_code(MLServerError("", kind.status)).name
    retry = "yes" if kind.retryable else "no"
    if kind.retryable and kind.retry_after is not None:
        retry = f"after {kind.retry_after:g} s"
    cause = inspect.getdoc(kind).partition("\n\n")[0].replace("\n", " ")  # type: ignore[union-attr]
    return (
        f"| {name} | {status} | {code} | {retry} | {kind.fault.value} | {cause} | {kind.remedy} |"
    )


if __name__ == "__main__":
    PAGE.write_text(page())
