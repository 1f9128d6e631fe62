"""Convert errors to the form that MLServer answers, and log them.

MLServer passes on only an error's text and status. So the text ends with the details for programs
(`error_info`). Over HTTP, the response class that `install` puts in place moves these details into the
body's fields and the headers. Over gRPC, they stay in the text.
"""

from __future__ import annotations

import logging
import math
from typing import Any

from fastapi import Request
from mlserver.errors import MLServerError
from mlserver.rest import errors as rest_errors
from mlserver.rest.responses import Response
from mlserver.types import InferenceResponse, Parameters

from tempo_runtime._util.printable import printable
from tempo_runtime.errors import TempoError
from tempo_runtime.execution.blame import named
from tempo_runtime.execution.runner import LOGGED
from tempo_runtime.protocol.error_details import HEADER, KEY, ErrorInfo, marked, unmarked

logger = logging.getLogger(__name__)
# Loggers that write a traceback for each error in an answer.
_LOGGERS = ("mlserver.grpc", "mlserver.parallel")


class Answered(MLServerError):
    """An error of a request, in the form that MLServer answers."""

    def __init__(self, message: str, info: ErrorInfo, parameters: dict[str, Any]) -> None:
        text = marked(message, info, short=not over_http(parameters))
        super().__init__(text, info.status)


def over_http(parameters: dict[str, Any]) -> bool:
    """Return whether a request came over HTTP instead of gRPC: only HTTP requires this header."""
    return "host" in (parameters.get("headers") or {})


def answered(error: Exception, model: str, parameters: dict[str, Any]) -> Answered:
    """Log an error of a request once, and return it in the form that MLServer answers.

    Args:
        error: The error of the request.
        model: Name of the pipeline.
        parameters: The request's parameters.
    """
    info, message = described(error, model)
    return Answered(message, info, parameters)


def described(error: Exception, model: str) -> tuple[ErrorInfo, str]:
    """Log an error of a request once, and return its details and its message for the client."""
    if isinstance(error, TempoError):
        info, message = ErrorInfo.of(error), str(error)
        logged = error.logged
    elif isinstance(error, MLServerError):  # with a status that the pipeline's author chose
        info, message = ErrorInfo.chosen(error.status_code), str(error)
        logged = False
    else:
        # An unexpected error: only its traceback shows the cause.
        logger.error("pipeline %r failed", model, exc_info=error)
        message = f"pipeline {model!r} failed: {named(error)}{LOGGED}"
        info, logged = ErrorInfo.of(TempoError()), True
    if not logged:
        logger.warning(
            "pipeline %r answered %d (%s, fault of the %s): %s",
            model,
            info.status,
            info.kind,
            info.fault.value,
            printable(message).replace("\n", "\\n"),
        )
    return info, message


def as_mlserver_error(error: TempoError) -> MLServerError:
    """Return an error of loading as an MLServerError with only the text, which MLServer logs."""
    return MLServerError(str(error), error.status)


def stream_error(model: str, error: MLServerError) -> InferenceResponse:
    """Return an error as the last event of a stream over HTTP.

    The status line has already been sent, and MLServer would close the connection without an explanation.
    """
    message, info = unmarked(str(error))
    parameters = {"error": message, "status": error.status_code}
    if info is not None:
        parameters[KEY] = info.to_json()
    return InferenceResponse(model_name=model, outputs=[], parameters=Parameters(**parameters))


def install() -> None:
    """Make MLServer send the details of errors to programs, and log each error only once.

    MLServer does not have a setting for this: its error handler is fixed before any model is loaded. But
    the handler looks up the class of its response in each call, so that class can be replaced.
    """
    rest_errors.Response = _ErrorResponse
    # MLServer reads this when it creates the server, so it affects only servers that this package starts.
    rest_errors._EXCEPTION_HANDLERS[Exception] = _answer_unexpected
    for name in _LOGGERS:
        mlserver_logger = logging.getLogger(name)
        if _is_new not in mlserver_logger.filters:
            mlserver_logger.addFilter(_is_new)


async def _answer_unexpected(_: Request, error: Exception) -> Response:
    """Answer with the exception of another model's runtime; FastAPI would hide it."""
    return Response({"error": f"{type(error).__name__}: {error}"}, 500)


class _ErrorResponse(Response):
    """MLServer's error response, with the fields and headers of this package's errors."""

    def __init__(self, status_code: int, content: dict[str, Any]) -> None:
        message, info = unmarked(str(content.get("error")))
        headers = {}
        if info is not None:
            content = {"error": message, KEY: info.to_json()}
            headers[HEADER] = info.to_header()
            if info.retry_after is not None:
                headers["retry-after"] = str(math.ceil(info.retry_after))
        super().__init__(content, status_code, headers)


def _is_new(record: logging.LogRecord) -> bool:
    """Return whether a record is about an error that our runtime has not logged."""
    error = record.exc_info[1] if record.exc_info else None
    return error is None or unmarked(str(error))[1] is None
