"""Names of tempo 0.5 that are other names here, and what to write instead.

A name of tempo 0.5 that would do nothing here, or something else, is refused with one of these sentences.
docs/from-tempo.md has the whole table.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)

ARGUMENTS = {
    "protocol": "every model speaks V2 (tempo's V2Protocol), so leave it out",
    "conda_env": (
        "describe the environment in the model's folder, and `save` packs it: write "
        "`conda env export -n ENVIRONMENT > FOLDER/conda.yaml`, or a requirements.txt there"
    ),
    "runtime_options": (
        "give the options to the function that deploys: deploy_local(model, options), "
        "deploy_remote(model, options) or manifest(model, options)"
    ),
    "inputs": "annotate the arguments of the predict method: `def predict(self, rows: np.ndarray)`",
    "outputs": (
        "annotate the result of the predict method: `def predict(...) -> tuple[np.ndarray, str]`"
    ),
    "model_func": "decorate the function: `@model(NAME)`, or model(NAME)(function)",
    "save_env": (
        "write environment=None for save_env=False; for save_env=True leave it out if the folder has a "
        "conda.yaml or a requirements.txt, and otherwise write environment='venv'"
    ),
}
"""Arguments of `Model`, `model`, `pipeline` and `save`."""

_CALL = "deploy_local(...) or deploy_remote(...) deploys it and returns a RemoteModel: call its `predict`"

OF_AUTHORS_CLASS = {
    "remote": _CALL,
    "request": (
        "call the predict method with values; a server takes requests in V2 (deploy_local(...), or the "
        "fixture `tempo_serve` in tests)"
    ),
    "pipeline": "describe(...) returns it",
    "model": "describe(...) returns it",
}
"""Attributes that tempo puts on an author's class."""

OF_MODEL = {
    "predict": f"call it to run it in this process; {_CALL}",
    "remote": _CALL,
    "request": OF_AUTHORS_CLASS["request"],
    "save": "write save(...), with the pipeline in its parentheses",
    "load": "write load(FOLDER)",
    "deploy": "write deploy_local(...) or deploy_remote(...)",
    "undeploy": "call `undeploy` of the RemoteModel that deploy_local or deploy_remote returned",
    "wait_ready": "deploy_local and deploy_remote return when it is ready",
    "get_endpoint": "read `endpoint` of the RemoteModel that deploy_local or deploy_remote returned",
    "to_k8s_yaml": "write manifest(..., options)",
    "serialize": "`details` describes it, and the tempo.json that `save` writes",
    "model_spec": "`details` has its name, framework, folder and signature",
    "set_remote": "a pipeline calls its children where it runs: see the setting `models.NAME.transport`",
    "set_runtime_options_override": ARGUMENTS["runtime_options"],
    "insights_manager": "the method of a pipeline logs with `tempo_runtime.insights.log(...)`",
}
"""Attributes of tempo's `BaseModel`, which `Model` and `Pipeline` have by other names."""

OF_MODELS = {"remote_copy": "`items()` has the models; a saved pipeline names its models itself"}
"""Attributes of tempo's `PipelineModels`."""

OF_CHILD = {
    "predict": "call the child itself: self.models.NAME(...)",
    "remote": "call the child itself: self.models.NAME(...)",
    "request": "call the child itself, with values: self.models.NAME(...)",
}
"""Attributes of a child, as a pipeline calls it."""

OF_REMOTE = {
    "deploy": "it is deployed; deploy_local or deploy_remote deploys it again",
    "manifest": "write manifest(pipeline, options)",
    "model": "`details` describes it",
    "model_spec": "`details` has its name, framework, folder and signature",
    "runtime": "`deployment` has its servers",
    "client_details": "`endpoint` and `headers` have what a client needs",
    "request": "call `predict` with values, or send a V2 request to `endpoint` with `headers`",
    "remote": "call `predict`",
}
"""Attributes of tempo's `RemoteModel`."""

OF_OPTIONS = {
    "runtime": "the function that deploys decides: deploy_local, or deploy_remote with SeldonCoreOptions",
    "state_options": "give it to the pipeline: @pipeline(NAME, state=StateOptions(...))",
    "insights_options": "give it to the pipeline: @pipeline(NAME, insights=InsightsOptions(...))",
    "ingress_options": "write the scheme, host and port of the ingress: ingress='https://HOST'",
}
"""Fields of tempo's options."""


class Elsewhere:
    """An attribute of tempo 0.5 that is missing here: looking it up says what to write instead.

    For `hasattr`, `getattr` with a default, and an author's own `__getattr__` it does not exist. An
    attribute that is set on the object comes first.
    """

    def __init__(self, name: str, sentence: str) -> None:
        self.name = name
        self.sentence = sentence

    def __get__(self, instance: Any, owner: type) -> Any:
        what = (
            f"type object {owner.__name__!r}" if instance is None else f"{owner.__name__!r} object"
        )
        raise AttributeError(
            f"{what} has no attribute {self.name!r}, which it has in tempo 0.5; {self.sentence}"
        )


def explain(sentences: Mapping[str, str]) -> Callable[[C], C]:
    """Decorate a class whose objects say of attributes of tempo 0.5 what to write instead.

    Attributes that the class has, or inherits, stay.
    """

    def decorate(cls: C) -> C:
        for name, sentence in sentences.items():
            if not any(name in vars(base) for base in cls.__mro__):
                setattr(cls, name, Elsewhere(name, sentence))
        return cls

    return decorate


def refuse_arguments(call: str, given: Mapping[str, Any], taken: tuple[str, ...]) -> None:
    """Refuse arguments of tempo 0.5 with what to write instead.

    Args:
        call: What the caller writes, for the error.
        given: The arguments that are given by name.
        taken: Those that the function takes.

    Raises:
        TypeError: For the first of them.
    """
    for name in given:
        if name in ARGUMENTS and name not in taken:
            raise TypeError(
                f"{call}() takes no {name!r}, an argument of tempo 0.5; {ARGUMENTS[name]}"
            )


def without_tempos(call: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function that refuses each argument of tempo 0.5 with what to write instead."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            refuse_arguments(call, kwargs, ())
            return function(*args, **kwargs)

        return called

    return decorate
