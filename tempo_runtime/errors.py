"""All errors that this package raises.

    TempoError                      500
    ├── AuthoringError              500  an invalid pipeline, refused by the decorator
    ├── SettingsError               500  an invalid setting, refused when a pipeline is loaded
    ├── ArtifactError               422  an artifact that cannot be loaded or saved
    │   ├── ArtifactMissing         422
    │   ├── ArtifactDamaged         422  truncated, modified, or not an artifact
    │   ├── ArtifactUntrusted       422  without the digest or signature that this process demands
    │   └── ArtifactIncompatible    422  saved in a newer format or with another Python version
    ├── EnvironmentFailed           500  a Python environment that cannot be created or used
    ├── CheckFailed                 500  an artifact that behaves differently in a fresh process
    ├── ServingFailed               500  a server that does not start
    ├── DeploymentFailed            500  a deployment that does not start, or does not exist
    ├── StorageError                500  a folder that cannot be uploaded or downloaded
    ├── PayloadError                422  a request (or a value) that does not match the signature
    │   └── ArgumentError           500  a call of a child with arguments that cannot be sent
    ├── PipelineFailed              500  the author's code raised an exception
    ├── RequestError                500  code outside of a request asked for the current one
    ├── StateError                  500  the pipeline's code used its state in a way that cannot work
    ├── StateUnavailable            503  the pipeline's state could not be reached
    ├── DeadlineExceeded            504  the request has no time left
    ├── BudgetExceeded              422  the request has no calls to children, or rows, left
    ├── Overloaded                  503  too many requests are already waiting
    ├── NotReady                    503  the pipeline is not loaded, or is being unloaded
    ├── RequestNotLogged            503  a request that must be logged could not be
    ├── OriginRefused               403  a page of another site made a browser send the request
    └── ChildError                  502  a call to a child model without a usable answer
        ├── ChildUnavailable        503  the child could not be reached, or is not ready
        └── ChildFailed             502  the child's answer cannot be used
            ├── ChildNotFound       502  the child's server does not have the model
            └── ChildRefused        4xx  the child refused the request as wrong (also a PayloadError)

`status` is the HTTP status of the error in a server's answer; `retryable` says whether the same
request may succeed later without a change; `fault` says who must change something.
docs/errors.md is generated from these docstrings, which state the cause, and from `remedy`.
"""

from __future__ import annotations

import os
import sysconfig
import traceback
from enum import Enum

_DEBUG = "TEMPO_RUNTIME_DEBUG"  # environment variable that asks for tracebacks


class Fault(str, Enum):
    """The party that must change something before a request can succeed."""

    CLIENT = "client"  # the sender of the request
    PIPELINE = "pipeline"  # the author of the pipeline
    CHILD = "child"  # the operator of a model that the pipeline calls
    SERVER = "server"  # the operator of the pipeline


class TempoError(Exception):
    """An unexpected error; the base class of all errors of this package.

    Attributes:
        status: HTTP status of the answer to the request.
        retryable: Whether sending the same request again can help.
        retry_after: Seconds to wait before a retry; None if unknown.
        fault: Who must change something.
        kind: Name of the error's class where it was raised, possibly in another process.
        path: Names of the children that the error came through, outermost first; empty if it did not
            come from a child.
        logged: Whether this process has already logged the error with its traceback.
        remedy: How to resolve errors of this class.
    """

    status: int = 500
    retryable: bool = False
    retry_after: float | None = None
    fault: Fault = Fault.SERVER
    kind: str = "TempoError"
    path: tuple[str, ...] = ()
    logged: bool = False
    remedy: str = "Read the traceback in the server's log, and report it."

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.kind = cls.__name__

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows: the message, its cause, and the reader's own code.

        The message is complete, so the frames of this package and of libraries only hide it.
        """
        if os.environ.get(_DEBUG, "0") not in ("", "0"):
            return traceback.format_exception(self)
        lines = [f"{type(self).__name__}: {self}"]
        cause = self.__cause__
        if cause is not None and str(cause) not in str(self):
            lines += traceback.format_exception_only(cause)
        own = [
            frame
            for frame in traceback.extract_tb(self.__traceback__)
            if not frame.filename.startswith(_libraries())
        ]
        lines += ["In your code:", *traceback.format_list(own)] if own else []
        return [*lines, f"Set {_DEBUG}=1 to see the whole traceback."]


def _libraries() -> tuple[str, ...]:
    """Return the folders of this package, of installed packages, and of Python itself."""
    installed = (sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
    return (os.path.dirname(__file__), "<frozen", *filter(None, installed))


class AuthoringError(TempoError):
    """The declaration of a pipeline, model or signature is invalid."""

    fault = Fault.PIPELINE
    remedy = "Change the declaration that the message names."


class SettingsError(TempoError):
    """A setting is unknown, has the wrong type, or conflicts with another setting."""

    remedy = (
        "Correct the setting that the message names, in the environment or in model-settings.json."
    )


class ArtifactError(TempoError):
    """An artifact cannot be saved or loaded."""

    remedy = "Do what the message says, and save the artifact again."
    status = 422


class ArtifactMissing(ArtifactError):
    """There is no artifact at the given path or URI."""

    remedy = "Correct the path or `parameters.uri`, or save the artifact there."


class ArtifactDamaged(ArtifactError):
    """A file of the artifact is missing, or differs from the one that was saved."""

    remedy = "Save the artifact again, or copy the whole folder again."


class ArtifactUntrusted(ArtifactError):
    """The artifact does not have the digest or signature that this process demands."""

    remedy = "Deploy the artifact that is demanded, or correct the demanded digest or key."


class ArtifactIncompatible(ArtifactError):
    """The artifact is intact, but this process cannot read it."""

    remedy = "Upgrade tempo_runtime, or save the artifact with the Python version that serves it."


class EnvironmentFailed(TempoError):
    """A Python environment cannot be created or packed, or does not work on this machine."""

    remedy = "Correct the requirements that the message names, and save the artifact again."


class CheckFailed(TempoError):
    """An artifact cannot be loaded in a fresh process, or gives another answer there."""

    remedy = "Correct what the message names, save the artifact again, and check it again."


class ServingFailed(TempoError):
    """A server cannot start on this machine, or ended before its models were ready."""

    remedy = (
        "Correct the cause, which the message quotes from the server's log, and start it again."
    )


class DeploymentFailed(TempoError):
    """A deployment cannot start or be replaced, or does not exist."""

    remedy = "Correct what the message names, and deploy again."


class StorageError(TempoError):
    """An artifact cannot be uploaded or downloaded."""

    remedy = "Check the URI, the credentials and the network, and try again."


class PayloadError(TempoError):
    """Tensors or values do not match the signature."""

    fault = Fault.CLIENT
    remedy = "Send what the message asks for; the model's metadata lists its inputs."
    status = 422


class ArgumentError(PayloadError):
    """The pipeline's code called a child with wrong arguments, or with a value that cannot be sent."""

    status = 500
    fault = Fault.PIPELINE
    remedy = "Correct the call that the message names."


class PipelineFailed(TempoError):
    """The pipeline's own code raised an exception."""

    fault = Fault.PIPELINE
    remedy = "Correct the line that the message names; the server's log has the traceback."


class RequestError(TempoError):
    """Code that is not part of a request asked for the current request."""

    fault = Fault.PIPELINE
    remedy = "Call `current_request()` in the predict method, and pass the result on."


class StateError(TempoError):
    """The pipeline's code used its state with a key or a value that the state cannot have."""

    fault = Fault.PIPELINE
    remedy = "Correct the call that the message names."


class StateUnavailable(TempoError):
    """The Redis with the pipeline's state could not be reached, or did not answer in time.

    Attributes:
        maybe_applied: Whether the change may have been made all the same.
    """

    remedy = (
        "Start the Redis that the message names, or correct the settings `state`; see state.md."
    )
    status = 503
    retryable = True
    retry_after = 1.0
    maybe_applied: bool = False


class DeadlineExceeded(TempoError):
    """The request has no time left."""

    remedy = "Give the request more time (`timeout`, `tempo_timeout`), or ask for less."
    status = 504
    retryable = True


class BudgetExceeded(TempoError):
    """The request needs more calls to children, or more rows, than its budget allows."""

    fault = Fault.CLIENT
    remedy = "Ask for less, or raise `max_calls` or `max_rows`."
    status = 422


class Overloaded(TempoError):
    """Too many requests are already waiting, or no thread is free to work on this one."""

    remedy = "Send fewer requests at once, raise `max_concurrency` or `max_queue`, or add servers."
    status = 503
    retryable = True
    retry_after = 1.0


class NotReady(TempoError):
    """The pipeline is not loaded yet, or is being unloaded."""

    remedy = "Send the request again later; if it still fails, the server's log says why."
    status = 503
    retryable = True
    retry_after = 1.0


class RequestNotLogged(TempoError):
    """A request that must be logged before it is answered (`audit`) could not be logged in time."""

    remedy = "Look at the sink of the request logs; the server's log says why it cannot be reached."
    status = 503
    retryable = True
    retry_after = 1.0


class OriginRefused(TempoError):
    """A page of another site may have made a browser send the request."""

    fault = Fault.CLIENT
    remedy = "Open the server's own page by a name that it knows; the message names the settings."
    status = 403


class ChildError(TempoError):
    """A call to a child model did not return a usable answer.

    Attributes:
        model: Name of the child model.
        url: URL at which it was called; None for a child in this process.
    """

    fault = Fault.CHILD
    remedy = "Look at the log of the child that the message names."
    status = 502

    def __init__(self, message: str, *, model: str, url: str | None = None) -> None:
        super().__init__(message)
        self.model = model
        self.url = url
        self.path = (model,)

    def __reduce__(self) -> tuple[object, ...]:
        # Errors are copied and pickled; the default would lose the keyword-only arguments.
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
    """The child answered with an error, or with a result that cannot be used."""

    remedy = "Read the child's answer in the message, and its log."


class ChildNotFound(ChildFailed):
    """The child's server does not have a model with that name."""

    fault = Fault.SERVER
    remedy = "Correct the child's URL or the settings `model` and `version`."


class ChildRefused(ChildFailed, PayloadError):
    """The child refused the request as wrong; its status is passed on."""

    status = 422
    fault = Fault.CLIENT
    remedy = "Send what the child's answer asks for; it is in the message."


def _rebuild(category: type[ChildError], message: str, model: str, url: str | None) -> ChildError:
    return category(message, model=model, url=url)
