"""What can go wrong with a call to a child, in one wording for every transport."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from enum import Enum

from tempo_runtime._util.credentials import redacted
from tempo_runtime.errors import (
    ChildFailed,
    ChildNotFound,
    ChildRefused,
    ChildUnavailable,
    DeadlineExceeded,
    Fault,
    PayloadError,
    TempoError,
)
from tempo_runtime.protocol.error_details import ErrorInfo

_TARGET = 300  # characters
# Statuses that say that the request is wrong. Other 4xx are about addresses and credentials, which a
# pipeline's client does not choose.
REFUSALS = (400, 413, 422)
_CHILD = "child"
_NO_REASON = "Internal Server Error"  # what frameworks answer for any exception
NOT_READY = "is not ready yet"  # MLServer says so while a model loads, as if the request were bad


class FailureKind(Enum):
    """What a failed attempt says about the next."""

    UNAVAILABLE = "unavailable"  # nothing took the request: once it is up, the same may succeed
    CONNECTION_LOST = "connection_lost"  # its own or a gateway's; the child may have worked on it
    OVERLOADED = "overloaded"  # it asks for less
    TIMED_OUT = "timed_out"  # no answer in time
    PERMANENT = "permanent"  # it would answer the same again


class Failure(Exception):
    """A failed attempt to call a child; never leaves `children`.

    Attributes:
        kind: What it says about the next attempt.
        error: What the caller gets, if there is no next.
        retry_after: Seconds the child asks to wait.
    """

    def __init__(
        self, kind: FailureKind, error: TempoError, retry_after: float | None = None
    ) -> None:
        super().__init__(kind.value)
        self.kind = kind
        self.error = error
        self.retry_after = retry_after


@dataclass(frozen=True)
class ChildAddress:
    """A child, and where it is called.

    Attributes:
        model: Name it is served under.
        url: Where it is called.
        role: What it is to whoever calls it, for messages.
    """

    model: str
    url: str
    role: str = _CHILD

    def __str__(self) -> str:
        return f"{self.role} {self.model!r} at {self.url}"

    def unreachable(self, reason: str, kind: FailureKind = FailureKind.UNAVAILABLE) -> Failure:
        """Nothing answers."""
        return self._unavailable(
            kind,
            f"{self.role} {self.model!r} cannot be reached at {self.url}: {reason}; is its server "
            "up, and is the URL right?",
        )

    def distrusted(self, reason: str) -> Failure:
        """Return the failure of a connection that cannot be made safely; waiting does not help."""
        return self._unavailable(
            FailureKind.PERMANENT,
            f"{self} cannot be trusted: {reason}; is the URL right, and do the child's settings "
            "`tls.ca` and `tls.cert` fit its server?",
        )

    def not_ready(self, said: str, kind: FailureKind, retry_after: float | None = None) -> Failure:
        """Return the failure of a server that reports that it is not ready."""
        return self._unavailable(kind, f"{self} is not ready: {said}", retry_after)

    def silent(self, limit: str) -> Failure:
        """Return the failure of a server that has not answered in time."""
        return self._unavailable(FailureKind.TIMED_OUT, f"{self} gave no answer within {limit}")

    def not_found(self, said: str) -> Failure:
        """Return the failure of a server that does not have the model."""
        return Failure(
            FailureKind.PERMANENT,
            ChildNotFound(
                f"{self.role} {self.model!r} is not at {self.url}: {said}; is that its server, and the "
                "name it is served under?",
                model=self.model,
                url=self.url,
            ),
        )

    def refused(
        self,
        answered: str,
        said: str,
        kind: FailureKind = FailureKind.PERMANENT,
        status: int | None = None,
    ) -> Failure:
        """Return the failure of an answer that is an error.

        Args:
            answered: The status, as the transport names it.
            said: The text of the answer.
            kind: What the failure means for the next attempt.
            status: The corresponding HTTP status, if there is one.
        """
        text = f"{self} answered {answered}: {said}"
        return Failure(kind, refusal(text, status, self.model, self.url))

    def passed_up(self, info: ErrorInfo, said: str) -> Failure:
        """Return the failure for an error that one of our own servers describes.

        Its status, fault and text are kept. That server works, and has already retried its own calls, so
        pipelines above do not retry, unless the server itself is busy.
        """
        kind = (
            FailureKind.OVERLOADED
            if info.status == 503 and not info.path
            else FailureKind.PERMANENT
        )
        text = naming(self.model, said)
        if self.role != _CHILD:  # a client that called it by its URL needs the URL and the status
            text = f"{self} answered {info.status}: {said}"
        error = described(info, text, self.model, self.url)
        return Failure(kind, error, info.retry_after)

    def redirected(self, status: int, target: str) -> Failure:
        """Return the failure of a redirect, which is not followed: the request is not sent elsewhere."""
        where = redacted(target)[:_TARGET]
        return self._failed(
            FailureKind.PERMANENT, f"{self} answered {status} → {where}; correct its URL"
        )

    def unusable(self, error: PayloadError) -> Failure:
        """Return the failure of an answer that cannot be used."""
        return self._failed(
            FailureKind.PERMANENT, f"{self} gave an answer that cannot be used: {error}"
        )

    def late(self, said: str) -> Failure:
        """Return the failure of a server that ran out of time by its own clock."""
        error = DeadlineExceeded(f"{self} ran out of time: {said}")
        error.path = (self.model,)
        return Failure(FailureKind.PERMANENT, error)

    def by_status(self, status: int, said: str, retry_after: float | None = None) -> Failure:
        """Return the failure of an answer with an HTTP status, or with an error that names one."""
        if status == 404:
            return self.not_found(said)
        if status == 429 or (status == 503 and retry_after is not None):
            return self.not_ready(f"{said} (status {status})", FailureKind.OVERLOADED, retry_after)
        if status == 503 or (status == 400 and NOT_READY in said):
            return self.not_ready(f"{said} (status {status})", FailureKind.UNAVAILABLE)
        if status == 504:
            return self.late(said)
        kind = FailureKind.CONNECTION_LOST if status == 502 else FailureKind.PERMANENT
        if said in ("", _NO_REASON):
            said = f"{_NO_REASON}; its server's log has the reason"
        return self.refused(str(status), said, kind, status)

    def _unavailable(
        self, kind: FailureKind, said: str, retry_after: float | None = None
    ) -> Failure:
        error = ChildUnavailable(said, model=self.model, url=self.url)
        return Failure(kind, error, retry_after)

    def _failed(self, kind: FailureKind, said: str) -> Failure:
        return Failure(kind, ChildFailed(said, model=self.model, url=self.url))


@dataclass(frozen=True)
class AnswerLimit:
    """Limit on the length of an answer.

    Attributes:
        most: Largest number of bytes; None for no limit.
    """

    most: int | None = None

    def check(self, length: int) -> None:
        """Check the length of an answer, or of the part that was read.

        Raises:
            PayloadError: If the answer is too long; the message names the setting.
        """
        if self.most is not None and length > self.most:
            raise PayloadError(
                f"it has at least {length} bytes, and at most {self.most} are read; ask for less at "
                "once, or raise its setting `max_answer_bytes`"
            )


def refusal(text: str, status: int | None, model: str, url: str | None = None) -> ChildFailed:
    """Return the error for a child that answers with this status."""
    if status not in REFUSALS:
        return ChildFailed(text, model=model, url=url)
    error = ChildRefused(text, model=model, url=url)
    error.status = status
    return error


def described(info: ErrorInfo, text: str, model: str, url: str | None = None) -> TempoError:
    """Return a child pipeline's described error as an error of its caller."""
    error: TempoError
    if info.status == 504:
        error = DeadlineExceeded(text)
    elif info.status == 503:
        error = ChildUnavailable(text, model=model, url=url)
    elif info.fault is Fault.CLIENT:
        error = ChildRefused(text, model=model, url=url)
    else:
        error = ChildFailed(text, model=model, url=url)
    info.give(error)
    error.path = (model, *info.path)
    return error


def passed_up(error: Exception, child: str) -> Exception:
    """Return the error of a pipeline in this process as an error of its caller."""
    text = naming(child, str(error))
    if not isinstance(error, TempoError):
        status = getattr(error, "status_code", None)  # MLServer's, which the child's author chose
        return error if status is None else described(ErrorInfo.chosen(status), text, child)
    found = copy.copy(error)
    found.args = (text,)
    found.path = (child, *error.path)
    return found


def naming(child: str, said: str) -> str:
    """Put a child's name in front of its message, unless the message already begins with it."""
    own = f"pipeline {child!r}"
    if said.startswith((f"{own} ", f"{own}: ")):
        return f"child {child!r}{said.removeprefix(own)}"
    return f"child {child!r}: {said}"
