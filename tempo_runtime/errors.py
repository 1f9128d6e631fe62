"""Every error the package raises.

    TempoError                      500
    ├── AuthoringError              500  a pipeline that cannot be right, refused at decoration
    ├── SettingsError               500  a setting that cannot be right, refused at load
    ├── ArtifactError               422  an artefact that cannot be loaded or saved
    │   ├── ArtifactMissing         422
    │   ├── ArtifactDamaged         422  truncated, tampered, or not an artefact at all
    │   ├── ArtifactUntrusted       422  not the artefact, or not the signer, that is demanded
    │   └── ArtifactIncompatible    422  written by a newer format or another Python
    ├── EnvironmentFailed           500  a Python environment that cannot be made, or used
    ├── CheckFailed                 500  an artefact that does not do elsewhere what it does here
    ├── ServingFailed               500  a server that does not come up
    ├── StorageError                500  a folder that cannot be uploaded or downloaded
    ├── PayloadError                422  a request (or a value) that does not fit the signature
    ├── PipelineFailed              500  the author's code raised
    ├── DeadlineExceeded            504  the request's time is spent
    ├── BudgetExceeded              422  so are its calls to children, or rows
    ├── Overloaded                  503  too many requests wait already
    └── ChildError                  502  a call to a child model did not give an answer
        ├── ChildUnavailable        503  it could not be reached, or says it is not ready
        └── ChildFailed             502  it was reached, and its answer cannot be used
            └── ChildNotFound       502  its server has no model of that name

`status` is the HTTP status the error becomes when it leaves a server; `retryable` says whether
the same request may succeed later without any change.
"""

from __future__ import annotations


class TempoError(Exception):
    """Base of every error of the package.

    Attributes:
        status: HTTP status the error is answered with.
        retryable: Whether sending the same request again can help.
        retry_after: Seconds to wait before that; None where nothing is known.
    """

    status: int = 500
    retryable: bool = False
    retry_after: float | None = None


class AuthoringError(TempoError):
    """A pipeline, model or signature that cannot be right, refused where it is written."""


class SettingsError(TempoError):
    """A setting that is unknown, of the wrong type, or in conflict with another."""


class ArtifactError(TempoError):
    """An artefact that cannot be saved or loaded."""

    status = 422


class ArtifactMissing(ArtifactError):
    """There is no artefact where one was named."""


class ArtifactDamaged(ArtifactError):
    """A file of the artefact is not the one that was saved."""


class ArtifactUntrusted(ArtifactError):
    """The artefact is whole, but not one that this process was told to trust."""


class ArtifactIncompatible(ArtifactError):
    """The artefact is whole, but this process cannot read it."""


class EnvironmentFailed(TempoError):
    """A Python environment that cannot be made or packed, or that does not work here."""


class CheckFailed(TempoError):
    """An artefact that cannot be loaded in a fresh process, or answers something else there."""


class ServingFailed(TempoError):
    """A server that cannot start here, or that ended before its models were ready."""


class DeploymentFailed(TempoError):
    """A deployment that cannot come up or be replaced, or that is not there."""


class StorageError(TempoError):
    """An artefact that cannot be uploaded, or downloaded."""


class PayloadError(TempoError):
    """Tensors or values that do not fit the signature."""

    status = 422


class PipelineFailed(TempoError):
    """The pipeline's own code raised an exception."""


class DeadlineExceeded(TempoError):
    """The time the request was given is spent."""

    status = 504
    retryable = True


class BudgetExceeded(TempoError):
    """The request needs more calls to children, or more rows, than it may have."""

    status = 422


class Overloaded(TempoError):
    """So many requests wait already that this one is turned away."""

    status = 503
    retryable = True
    retry_after = 1.0


class ChildError(TempoError):
    """A call to a child model gave no usable answer.

    Attributes:
        model: Name of the child model.
        url: Where it was called; None for a child in this process.
    """

    status = 502

    def __init__(self, message: str, *, model: str, url: str | None = None) -> None:
        super().__init__(message)
        self.model = model
        self.url = url

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments are lost by the default, and a worker's queue pickles errors.
        return (_rebuild, (type(self), str(self), self.model, self.url))


class ChildUnavailable(ChildError):
    """The child could not be reached, or is not ready."""

    status = 503
    retryable = True
    retry_after = 1.0


class ChildFailed(ChildError):
    """The child answered, but not with a result that can be used."""


class ChildNotFound(ChildFailed):
    """The child's server has no model of that name."""


def _rebuild(kind: type[ChildError], message: str, model: str, url: str | None) -> ChildError:
    return kind(message, model=model, url=url)
