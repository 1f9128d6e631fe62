"""Failures of calls to a child, worded in the same way for every transport."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from enum import Enum

from tempo_runtime._util.credentials import redacted
from tempo_runtime.clients.triton import is_loading, is_unknown_model
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
EXCERPT = 1000  # characters of another server's error
# Statuses that mean that the request is wrong. Other 4xx concern addresses and credentials, which are
# not up to the pipeline's client.
REFUSALS = (400, 413, 422)
_CHILD = "child"
_NO_REASON = "Internal Server Error"  # the answer of frameworks to any exception
NOT_READY = "is not ready yet"  # MLServer answers 400 with this text while a model loads


class FailureKind(Enum):
    """Kinds of failures, by what they mean for another attempt."""

    UNAVAILABLE = "unavailable"  # no server took the request, so it can be sent again
    CONNECTION_LOST = "connection_lost"  # the child may have worked on the request
    OVERLOADED = "overloaded"  # the server asks for fewer requests
    TIMED_OUT = "timed_out"  # no answer in time
    PERMANENT = "permanent"  # another attempt would fail in the same way


class Failure(Exception):
    """A failed attempt to call a child; used only within this package.

    Attributes:
        kind: What the failure means for another attempt.
        error: The error to raise if there is no other attempt.
        retry_after: Seconds that the child asks to wait.
        status: Status of the server's answer, as its protocol has it; None without an answer.
    """

    status: int | str | None = None

    def __init__(
        self, kind: FailureKind, error: TempoError, retry_after: float | None = None
    ) -> None:
        super().__init__(kind.value)
        self.kind = kind
        self.error = error
        self.retry_after = retry_after


@dataclass(frozen=True)
class ChildAddress:
    """Name and URL of a child, for messages.

    Attributes:
        model: Name that its server knows it by.
        url: URL at which it is called.
        role: Word for it in messages: a pipeline calls a child, other clients call a model.
    """

    model: str
    url: str
    role: str = _CHILD

    @property
    def server(self) -> str:
        """URL of its server."""
        return self.url.partition("/v2/models/")[0]

    def __str__(self) -> str:
        return f"{self.role} {self.model!r} at {self.url}"

    def unreachable(self, reason: str, kind: FailureKind = FailureKind.UNAVAILABLE) -> Failure:
        """Return the failure of a connection to a server that cannot be reached."""
        return self._unavailable(
            kind,
            f"{self.role} {self.model!r} cannot be reached at {self.url}: {reason}; check that its "
            "server is running and that the URL is correct",
        )

    def distrusted(self, reason: str) -> Failure:
        """Return the failure of a connection that cannot be made safely; waiting does not help."""
        return self._unavailable(
            FailureKind.PERMANENT,
            f"{self} cannot be trusted: {reason}; check the URL and the settings `tls.ca` and "
            "`tls.cert`",
        )

    def not_ready(self, text: str, kind: FailureKind, retry_after: float | None = None) -> Failure:
        """Return the failure of a server that reports that it is not ready."""
        return self._unavailable(kind, f"{self} is not ready: {text}", retry_after)

    def silent(self, limit: str) -> Failure:
        """Return the failure of a server that has not answered in time."""
        return self._unavailable(FailureKind.TIMED_OUT, f"{self} did not answer within {limit}")

    def not_found(self, text: str) -> Failure:
        """Return the failure of a server that does not have the model."""
        return Failure(
            FailureKind.PERMANENT,
            ChildNotFound(
                f"{self.role} {self.model!r} was not found at {self.url}: {text}; check the URL and "
                "the model's name",
                model=self.model,
                url=self.url,
            ),
        )

    def refused(
        self,
        answered: str,
        text: str,
        kind: FailureKind = FailureKind.PERMANENT,
        status: int | None = None,
    ) -> Failure:
        """Return the failure of an answer that is an error.

        Args:
            answered: The status, as the transport names it.
            text: The text of the answer.
            kind: What the failure means for another attempt.
            status: The corresponding HTTP status, if there is one.
        """
        message = f"{self} answered {answered}: {text}"
        return Failure(kind, refusal(message, status, self.model, self.url))

    def passed_up(self, info: ErrorInfo, text: str) -> Failure:
        """Return the failure for an error that a pipeline's server describes.

        Its status, fault and text are kept. The server works, and has already retried its own calls, so
        its callers do not retry, unless the server itself is busy.
        """
        kind = (
            FailureKind.OVERLOADED
            if info.status == 503 and not info.path
            else FailureKind.PERMANENT
        )
        message = naming(self.model, text)
        if self.role != _CHILD:  # a client that used the URL needs the URL and the status
            message = f"{self} answered {info.status}: {text}"
        error = described(info, message, self.model, self.url)
        return Failure(kind, error, info.retry_after)

    def redirected(self, status: int, target: str) -> Failure:
        """Return the failure of a redirect: the request is not sent to another server."""
        location = redacted(target)[:_TARGET]
        return self._failed(
            FailureKind.PERMANENT, f"{self} answered {status} → {location}; correct its URL"
        )

    def unusable(self, error: PayloadError) -> Failure:
        """Return the failure of an answer that cannot be used."""
        return self._failed(
            FailureKind.PERMANENT, f"{self} returned an answer that cannot be used: {error}"
        )

    def late(self, text: str) -> Failure:
        """Return the failure of a server that ran out of time by its own clock."""
        error = DeadlineExceeded(f"{self} ran out of time: {text}")
        error.path = (self.model,)
        return Failure(FailureKind.PERMANENT, error)

    def by_status(self, status: int, text: str, retry_after: float | None = None) -> Failure:
        """Return the failure of an answer with an HTTP status, or with an error that contains one."""
        if status == 404 or (status == 400 and is_unknown_model(text)):
            return self.not_found(text)
        if status == 429 or (status == 503 and retry_after is not None):
            return self.not_ready(f"{text} (status {status})", FailureKind.OVERLOADED, retry_after)
        if status == 503 or (status == 400 and (NOT_READY in text or is_loading(text))):
            return self.not_ready(f"{text} (status {status})", FailureKind.UNAVAILABLE)
        if status == 504:
            return self.late(text)
        kind = FailureKind.CONNECTION_LOST if status == 502 else FailureKind.PERMANENT
        if text in ("", _NO_REASON):
            text = f"{_NO_REASON}; see its server's log for the reason"
        return self.refused(str(status), text, kind, status)

    def _unavailable(
        self, kind: FailureKind, message: str, retry_after: float | None = None
    ) -> Failure:
        error = ChildUnavailable(message, model=self.model, url=self.url)
        return Failure(kind, error, retry_after)

    def _failed(self, kind: FailureKind, message: str) -> Failure:
        return Failure(kind, ChildFailed(message, model=self.model, url=self.url))


@dataclass(frozen=True)
class AnswerLimit:
    """Limit on the size of an answer.

    Attributes:
        most: Largest number of bytes; None for no limit.
    """

    most: int | None = None

    def check(self, length: int) -> None:
        """Check the size of an answer, or of the part that has been read.

        Raises:
            PayloadError: If the answer is too long; the message names the setting.
        """
        if self.most is not None and length > self.most:
            raise PayloadError(
                f"it has at least {length} bytes, more than the limit of {self.most}; ask for less at "
                "once, or raise its setting `max_answer_bytes`"
            )


def refusal(text: str, status: int | None, model: str, url: str | None = None) -> ChildFailed:
    """Return the error of a child that answers with this status."""
    if status not in REFUSALS:
        return ChildFailed(text, model=model, url=url)
    error = ChildRefused(text, model=model, url=url)
    error.status = status
    return error


def described(info: ErrorInfo, text: str, model: str, url: str | None = None) -> TempoError:
    """Return the error that a child pipeline describes as an error of its caller."""
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
        # MLServer's errors have a status, which the child's author chose.
        status = getattr(error, "status_code", None)
        return error if status is None else described(ErrorInfo.chosen(status), text, child)
    raised = copy.copy(error)
    raised.args = (text,)
    raised.path = (child, *error.path)
    return raised


def naming(child: str, message: str) -> str:
    """Put a child's name in front of its message, unless the message already begins with it."""
    subject = f"pipeline {child!r}"
    if message.startswith((f"{subject} ", f"{subject}: ")):
        return f"child {child!r}{message.removeprefix(subject)}"
    return f"child {child!r}: {message}"
