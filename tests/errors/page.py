"""The page docs/errors.md, made from `tempo_runtime.errors`: `python -m tests.errors.page` writes it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

from mlserver.errors import MLServerError
from mlserver.grpc.utils import _grpc_status_code

from tempo_runtime import errors
from tempo_runtime.errors import Fault, TempoError
from tempo_runtime.protocol.error_details import ErrorInfo, marked

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"

_EXAMPLE = ErrorInfo("PayloadError", 422, Fault.CLIENT, path=("shop", "prices"))
_MESSAGE = "child 'shop': child 'prices': row 3 has no price"
_TEXT = """\
# Errors

The meaning of each error, whose fault it is, and its remedy. `python -m tests.errors.page` generates this
page from `tempo_runtime/errors.py`.

## Who has to change something

| fault | who | logged |
|---|---|---|
| `client` | the sender of the request | one line |
| `pipeline` | the author of a pipeline | a traceback where it was raised; one line in pipelines above |
| `child` | the operator of the model that the pipeline calls | one line |
| `server` | the operator of the pipeline | one line |

**A wrong request is answered 4xx, however deep the child that finds it.** A pipeline passes a child
pipeline's error up with its status, fault and text, and puts the child's name in front. Pipelines
further up do not retry such a call, because the pipeline that called the failing server has already
retried if that could help. The circuit breaker does not open either: a server that can describe its
error is working. Only if that server itself is busy or not ready does its direct caller try again.

**If a pipeline and its child disagree about a value, its origin decides the status:**

- A child answers 400, 413 or 422: the values came with the request. The pipeline answers with the same
  status (`ChildRefused`). 401, 403 and the like are about addresses and credentials, which clients
  do not choose: 502.
- The author's code calls a child with an argument that the child does not have, omits one, or passes
  a value that no request can contain: 500, with the line of the call (`ArgumentError`).
- A value that a request can contain does not fit the child's signature: 422.
- The author's code, a load method, or an explainer's predictor raises: 500, with the author's last line
  of code rather than a library's (`PipelineFailed`).
- The author raises `PayloadError`: 422. The author raises MLServer's `MLServerError`: its own status.

Other servers do not describe their errors like this, so only their status counts
([children.md](children.md)).

## What programs read

Over HTTP, a JSON object describes the error, in the body beside MLServer's `error`, and in the header
`tempo-error`. The header is ASCII and never longer than 2,000 bytes (`...` replaces names that do not
fit). `Retry-After` is sent if the time is known.

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
| `retry_after` | seconds to wait before a retry, if known |
| `path` | the children that the error came through, outermost first |

If a stream fails, its last event has `error`, `status` and `tempo` among its parameters. Over gRPC,
MLServer passes on only a code and a text. The text ends with the object and the status:

```
{details}
```

Over HTTP, `error` ends in the same way if the process that answers has not loaded this package. That is
MLServer's main process if it was started by `mlserver start` and only its parallel workers load the
package, because they run in an environment of their own (`environment_tarball`). Clients of this
package (children, `RemoteModel`, `tempo-runtime predict`) read each of these forms, and the exceptions
they raise have the attributes `kind`, `status`, `fault`, `retryable`, `retry_after` and `path`.

## Each error

"gRPC" is the code that MLServer uses for the status. Errors in italics do not occur while a request
is answered.

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
    """Return the text of the page."""
    body = '{"error": "%s", "tempo": %s}' % (_MESSAGE, _EXAMPLE.to_header())  # noqa: UP031
    return _TEXT.format(
        header=_EXAMPLE.to_header(),
        body=body,
        details=marked(_MESSAGE, _EXAMPLE),
        rows="\n".join(map(_row, classes(TempoError))),
    )


def classes(kind: type[TempoError]) -> Iterator[type[TempoError]]:
    """Yield a class of errors, and the classes below it that are not listed elsewhere."""
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
