"""How an error leaves through MLServer."""

from __future__ import annotations

import math
from typing import Any

from mlserver.errors import MLServerError
from mlserver.types import InferenceResponse, Parameters
from starlette.exceptions import HTTPException

from tempo_runtime.errors import Overloaded, TempoError


class _TurnedAway(HTTPException, MLServerError):
    """A 503 with `Retry-After`.

    MLServer writes its own errors without headers, FastAPI writes this kind with them, and a worker
    or gRPC takes it for MLServer's.
    """

    def __init__(self, error: TempoError, seconds: float) -> None:
        headers = {"retry-after": str(math.ceil(seconds))}
        super().__init__(error.status, str(error), headers)

    def __str__(self) -> str:
        return str(self.detail)


def over_http(parameters: dict[str, Any]) -> bool:
    """Whether a request came over HTTP, which demands this header, and not over gRPC."""
    return "host" in (parameters.get("headers") or {})


def as_mlserver_error(error: TempoError, parameters: dict[str, Any] | None = None) -> MLServerError:
    """The same error, as MLServer answers it to a request with these parameters."""
    if parameters is None:
        return MLServerError(str(error), error.status)
    if over_http(parameters):
        if isinstance(error, Overloaded) and error.retry_after:
            return _TurnedAway(error, error.retry_after)
        return MLServerError(str(error), error.status)
    # gRPC has no word for most statuses, and MLServer calls all of those UNKNOWN.
    wait = f", retry after {error.retry_after:g} s" if isinstance(error, Overloaded) else ""
    return MLServerError(f"{error} (status {error.status}{wait})", error.status)


def stream_error(model: str, said: str, status: int) -> InferenceResponse:
    """An error as the last event of a stream over HTTP.

    The status line is sent by then, and MLServer would close the connection without a word.
    """
    parameters = Parameters(error=said, status=status)
    return InferenceResponse(model_name=model, outputs=[], parameters=parameters)
