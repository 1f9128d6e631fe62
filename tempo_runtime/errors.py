"""Every error the package raises.

    TempoError                      500
    ├── AuthoringError              500  a pipeline that cannot be right, refused at decoration
    ├── SettingsError               500  a setting that cannot be right, refused at load
    ├── ArtifactError               422  an artifact that cannot be loaded or saved
    │   ├── ArtifactMissing         422
    │   ├── ArtifactDamaged         422  truncated, tampered, or not an artifact at all
    │   ├── ArtifactUntrusted       422  not the artifact, or not the signer, that is demanded
    │   └── ArtifactIncompatible    422  written by a newer format or another Python
    ├── EnvironmentFailed           500  a Python environment that cannot be made, or used
    ├── CheckFailed                 500  an artifact that does not do elsewhere what it does here
    ├── ServingFailed               500  a server that does not come up
    ├── DeploymentFailed            500  a deployment that does not come up, or is not there
    ├── StorageError                500  a folder that cannot be uploaded or downloaded
    ├── PayloadError                422  a request (or a value) that does not fit the signature
    │   └── ArgumentError           500  the author's code gave a child what cannot be sent to it
    ├── PipelineFailed              500  the author's code raised
    ├── DeadlineExceeded            504  the request's time is spent
    ├── BudgetExceeded              422  so are its calls to children, or rows
    ├── Overloaded                  503  too many requests wait already
    └── ChildError                  502  a call to a child model did not give an answer
        ├── ChildUnavailable        503  it could not be reached, or says it is not ready
        └── ChildFailed             502  it was reached, and its answer cannot be used
            ├── ChildNotFound       502  its server has no model of that name
            └── ChildRefused        4xx  it says that the request is wrong (also a PayloadError)

`status` is the HTTP status the error becomes when it leaves a server; `retryable` says whether
the same request may succeed later without any change; `fault` says who has to change something.
A docstring here is the cause that docs/errors.md gives, and `remedy` what to do about it.
"""

from __future__ import annotations

from enum import Enum


class Fault(str, Enum):
    """Who has to change something before a request can succeed."""

    CLIENT = "client"  # sent what does not fit, or more than is allowed
    PIPELINE = "pipeline"  # its author's code
    CHILD = "child"  # a model that the pipeline calls
    SERVER = "server"  # whoever deploys and runs it


class TempoError(Exception):
    """Base of every error of the package; of a request, an error that nothing here expected.

    Attributes:
        status: HTTP status the error is answered with.
        retryable: Whether sending the same request again can help.
        retry_after: Seconds to wait before that; None where nothing is known.
        fault: Who has to change something.
        kind: Name of the class it was raised as, which may have been in another process.
        path: Names of the children it came through, outermost first; empty where no child is involved.
        logged: Whether this process has logged it, with its traceback.
        remedy: What to do about errors of this class.
    """

    status: int = 500
    retryable: bool = False
    retry_after: float | None = None
    fault: Fault = Fault.SERVER
    kind: str = "TempoError"
    path: tuple[str, ...] = ()
    logged: bool = False
    remedy: str = "Read the server's log, which has the traceback, and report it."

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.kind = cls.__name__


class AuthoringError(TempoError):
    """A pipeline, model or signature that cannot be right, refused where it is written."""

    fault = Fault.PIPELINE
    remedy = "Change the declaration that the message names."


class SettingsError(TempoError):
    """A setting that is unknown, of the wrong type, or in conflict with another."""

    remedy = (
        "Correct the setting that the message names: in the environment or in model-settings.json."
    )


class ArtifactError(TempoError):
    """An artifact that cannot be saved or loaded."""

    remedy = "Do what the message says, and save the artifact again."
    status = 422


class ArtifactMissing(ArtifactError):
    """There is no artifact where one was named."""

    remedy = "Correct the path or `parameters.uri`, or save the artifact there."


class ArtifactDamaged(ArtifactError):
    """A file of the artifact is not the one that was saved."""

    remedy = "Save the artifact again, or copy all of it again."


class ArtifactUntrusted(ArtifactError):
    """The artifact is whole, but not one that this process was told to trust."""

    remedy = "Deploy the artifact that is demanded, or correct the key or digest that demands it."


class ArtifactIncompatible(ArtifactError):
    """The artifact is whole, but this process cannot read it."""

    remedy = "Upgrade tempo_runtime, or save the artifact with the Python that serves it."


class EnvironmentFailed(TempoError):
    """A Python environment that cannot be made or packed, or that does not work here."""

    remedy = "Correct the requirements that the message names, and save the artifact again."


class CheckFailed(TempoError):
    """An artifact that cannot be loaded in a fresh process, or answers something else there."""

    remedy = "Make the artifact bring what the message says is missing, and check it again."


class ServingFailed(TempoError):
    """A server that cannot start here, or that ended before its models were ready."""

    remedy = "Correct what the message quotes from the server's log, and start it again."


class DeploymentFailed(TempoError):
    """A deployment that cannot come up or be replaced, or that is not there."""

    remedy = "Correct what the message says, and deploy again."


class StorageError(TempoError):
    """An artifact that cannot be uploaded, or downloaded."""

    remedy = "Check the URI, the credentials and the network, and try again."


class PayloadError(TempoError):
    """Tensors or values that do not fit the signature."""

    fault = Fault.CLIENT
    remedy = "Send what the message asks for; the model's metadata lists its inputs."
    status = 422


class ArgumentError(PayloadError):
    """The pipeline's code called a child with arguments it does not have, or a value no tensor holds."""

    status = 500
    fault = Fault.PIPELINE
    remedy = "Correct the call that the message names; what a client sends can always be sent on."


class PipelineFailed(TempoError):
    """The pipeline's own code raised an exception."""

    fault = Fault.PIPELINE
    remedy = "Correct the line that the message names; the server's log has the traceback."


class DeadlineExceeded(TempoError):
    """The time the request was given is spent."""

    remedy = "Give the request more time (`timeout`, `tempo_timeout`), or ask for less."
    status = 504
    retryable = True


class BudgetExceeded(TempoError):
    """The request needs more calls to children, or more rows, than it may have."""

    fault = Fault.CLIENT
    remedy = "Ask for less, or raise `max_calls` or `max_rows`."
    status = 422


class Overloaded(TempoError):
    """So many requests wait already that this one is turned away."""

    remedy = "Send less at once, or raise `max_concurrency` or `max_queue`, or add servers."
    status = 503
    retryable = True
    retry_after = 1.0


class ChildError(TempoError):
    """A call to a child model gave no usable answer.

    Attributes:
        model: Name of the child model.
        url: Where it was called; None for a child in this process.
    """

    fault = Fault.CHILD
    remedy = "Look at the child that the message names."
    status = 502

    def __init__(self, message: str, *, model: str, url: str | None = None) -> None:
        super().__init__(message)
        self.model = model
        self.url = url
        self.path = (model,)

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments are lost by the default, and errors are copied and pickled.
        return (_rebuild, (type(self), str(self), self.model, self.url), vars(self))


class ChildUnavailable(ChildError):
    """The child could not be reached, or is not ready."""

    remedy = (
        "Start the child, or correct its URL; see the breaker and retry settings in children.md."
    )
    status = 503
    retryable = True
    retry_after = 1.0


class ChildFailed(ChildError):
    """The child answered, but not with a result that can be used."""

    remedy = "Look at the child's own log; its answer is in the message."


class ChildNotFound(ChildFailed):
    """The child's server has no model of that name."""

    fault = Fault.SERVER
    remedy = "Correct the child's URL or the settings `model` and `version`."


class ChildRefused(ChildFailed, PayloadError):
    """The child says that the request is wrong; its own status is passed on."""

    status = 422
    fault = Fault.CLIENT
    remedy = "Send what the child's message asks for."


def _rebuild(kind: type[ChildError], message: str, model: str, url: str | None) -> ChildError:
    return kind(message, model=model, url=url)
