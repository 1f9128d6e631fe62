"""What can go wrong with a call to a child, in one wording for every transport."""

from __future__ import annotations

from dataclasses import dataclass

from tempo_runtime.context import RequestContext
from tempo_runtime.errors import (
    ChildFailed,
    ChildNotFound,
    ChildUnavailable,
    DeadlineExceeded,
    PayloadError,
    TempoError,
)

NOT_READY = "is not ready yet"  # MLServer says so while a model loads, as if the request were bad


@dataclass(frozen=True)
class Place:
    """A child, and where it is called.

    Attributes:
        model: Name it is served under.
        url: Where it is called.
    """

    model: str
    url: str

    def __str__(self) -> str:
        return f"child {self.model!r} at {self.url}"

    def unreachable(self, reason: str) -> ChildUnavailable:
        """Nothing answers."""
        return ChildUnavailable(
            f"child {self.model!r} cannot be reached at {self.url}: {reason}; is its server up, and "
            "is the URL right?",
            model=self.model,
            url=self.url,
        )

    def not_ready(self, said: str) -> ChildUnavailable:
        """It answers that it cannot answer now."""
        return ChildUnavailable(f"{self} is not ready: {said}", model=self.model, url=self.url)

    def not_found(self, said: str) -> ChildNotFound:
        """Its server has no such model."""
        return ChildNotFound(
            f"child {self.model!r} is not at {self.url}: {said}; is that its server, and the name it "
            "is served under?",
            model=self.model,
            url=self.url,
        )

    def refused(self, status: str, said: str) -> ChildFailed:
        """It answers with an error."""
        return ChildFailed(f"{self} answered {status}: {said}", model=self.model, url=self.url)

    def unusable(self, error: PayloadError) -> ChildFailed:
        """It answers with what is no answer."""
        return ChildFailed(
            f"{self} gave an answer that cannot be used: {error}", model=self.model, url=self.url
        )

    def late(self, said: str) -> DeadlineExceeded:
        """It ran out of time by its own clock."""
        return DeadlineExceeded(f"{self} ran out of time: {said}")

    def silent(self, seconds: float, current: RequestContext) -> TempoError:
        """It has not answered in time: the request's, or what a call to it may take."""
        try:
            current.remaining()
        except DeadlineExceeded as spent:
            return DeadlineExceeded(f"{self} had not answered when the time was up: {spent}")
        return self.unreachable(f"no answer within {seconds:g} s, the child's `timeout`")


def seconds_left(timeout: float | None, current: RequestContext) -> float | None:
    """How long a call may take: its own limit, or what its request has left.

    Raises:
        DeadlineExceeded: If that is nothing.
    """
    remaining = current.remaining()
    if timeout is None or remaining is None:
        return timeout if remaining is None else remaining
    return min(timeout, remaining)
