"""How a data scientist writes models and pipelines.

    sklearn = Model(
        "income-sklearn", platform=ModelFramework.SKLearn, local_folder="artifacts/model"
    )

    @pipeline("income-explainer", local_folder="artifacts/explainer",
              models=PipelineModels(sklearn=sklearn))
    class Explainer:
        @predictmethod
        def explain(self, payload: np.ndarray, parameters: dict) -> str:
            labels = self.models.sklearn(payload)
            ...

A pipeline can be called as it stands, in a notebook or a unit test: its children then run in this
process, from their `local_folder`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from types import MethodType
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

from tempo_runtime.authoring import module_sources, tempo_names
from tempo_runtime.authoring.details import ModelDetails, ModelFramework
from tempo_runtime.authoring.keywords import by_name
from tempo_runtime.authoring.models import (
    PLAIN,
    Model,
    Pipeline,
    PipelineModels,
    building,
    execution,
    pipelines,
    plain,
)
from tempo_runtime.errors import AuthoringError
from tempo_runtime.protocol.signature import Signature

if TYPE_CHECKING:
    from tempo_runtime.authoring.children import Children
    from tempo_runtime.settings import Batching, InsightsOptions, StateOptions
    from tempo_runtime.state.state import State

__all__ = [
    "Model",
    "ModelFramework",
    "Pipeline",
    "PipelineModels",
    "loadmethod",
    "model",
    "pipeline",
    "predictmethod",
]

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
R = TypeVar("R")
_ROLE = "__tempo_role__"


class Decorator(Protocol):
    """Make a class a pipeline, which stays that class, or a function, which becomes a `Pipeline`."""

    @overload  # a class can be called too, so its overload is the first
    def __call__(self, target: C, /) -> C: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, target: Callable[P, R], /) -> Pipeline[P, R]: ...


@by_name("pipeline", 1, "uri", "local_folder", "models", "description")
def pipeline(
    name: str,
    *,
    uri: str = "",
    local_folder: str | None = None,
    models: PipelineModels | None = None,
    description: str = "",
    batching: Batching | None = None,
    insights: InsightsOptions | None = None,
    state: StateOptions | None = None,
) -> Decorator:
    """Make a class or function a pipeline.

    Args:
        name: Name it is served under: up to 63 lower-case letters, digits and '-'.
        uri: Where its artifact is uploaded to, and served from.
        local_folder: Folder of its artifact on this machine; `save` writes there.
        models: The models it calls.
        description: A sentence for people; by default the first paragraph of the docstring.
        batching: How requests of different clients, and calls of another pipeline, are put together;
            by default they are not.
        insights: How its requests and answers are logged; by default they are not, unless the settings
            say so.
        state: Gives it a state, `self.state`, which its requests share.

    Raises:
        AuthoringError: If it can never be served; the message says why.

    Example:
        >>> from tempo_runtime import Children, Model, PipelineModels, pipeline, predictmethod
        >>> from tempo_runtime.testing import fake_children
        >>> @pipeline("shop", models=PipelineModels(prices=Model("prices")))
        ... class Shop:
        ...     models: Children
        ...
        ...     @predictmethod
        ...     def total(self, items: list[str]) -> float:
        ...         return sum(self.models.prices(items))
        >>> with fake_children(Shop, prices=[2.0, 3.0]):
        ...     Shop().total(["tea", "milk"])
        5.0
    """
    platform = ModelFramework.TempoPipeline
    return _decorator(
        ModelDetails(
            name,
            platform,
            local_folder,
            uri,
            description,
            batching=batching,
            insights=insights,
            state=state,
        ),
        models,
    )


@by_name("model", 1, "platform", "uri", "local_folder", "description")
def model(
    name: str,
    *,
    platform: ModelFramework = ModelFramework.Custom,
    uri: str = "",
    local_folder: str | None = None,
    description: str = "",
    batching: Batching | None = None,
    insights: InsightsOptions | None = None,
    state: StateOptions | None = None,
) -> Decorator:
    """Make a class or function a model of its own: a pipeline that calls no other.

    Args and errors are those of `pipeline`.

    Example:
        >>> from tempo_runtime import model
        >>> @model("double")
        ... def double(value: int) -> int:
        ...     return 2 * value
        >>> double(21)
        42
    """
    return _decorator(
        ModelDetails(
            name,
            platform,
            local_folder,
            uri,
            description,
            batching=batching,
            insights=insights,
            state=state,
        ),
        None,
    )


def predictmethod(function: F) -> F:
    """Mark the method of a pipeline class that answers requests.

    It may be `async def`, and it may be a generator, which streams.

    Example:
        >>> from collections.abc import Iterator
        >>> from tempo_runtime import model, predictmethod
        >>> @model("counter")
        ... class Counter:
        ...     @predictmethod
        ...     def count(self, to: int) -> Iterator[int]:
        ...         yield from range(to)
        >>> list(Counter().count(3))
        [0, 1, 2]
    """
    setattr(function, _ROLE, "predict")
    return function


def loadmethod(function: F) -> F:
    """Mark the method of a pipeline class that is called once, before the first request.

    Its results stay out of the artifact, because it runs again wherever the pipeline is loaded.

    Example:
        >>> from tempo_runtime import loadmethod, model, predictmethod
        >>> @model("greeter")
        ... class Greeter:
        ...     @loadmethod
        ...     def load(self) -> None:
        ...         self.greeting = "Hello"
        ...
        ...     @predictmethod
        ...     def greet(self, name: str) -> str:
        ...         return f"{self.greeting}, {name}"
        >>> Greeter().greet("Ada")
        'Hello, Ada'
    """
    setattr(function, _ROLE, "load")
    return function


def describe(target: Any) -> Pipeline:
    """Return the `Pipeline` of a pipeline class, an instance of one, or a pipeline function.

    Raises:
        AuthoringError: If it is not one of them.
    """
    get_tempo = getattr(target, "get_tempo", None)
    found = get_tempo() if get_tempo is not None else None
    if not isinstance(found, Pipeline):
        raise AuthoringError(
            f"{target!r:.80} is not a pipeline; decorate it with @pipeline or @model"
        )
    return found


def _decorator(details: ModelDetails, models: PipelineModels | None) -> Decorator:
    if models and not isinstance(models, PipelineModels):
        raise AuthoringError(
            f"{details.name}: models is {models!r:.80}, a {type(models).__name__}; name each model: "
            "models=PipelineModels(NAME=model)"
        )

    def decorate(target: Any) -> Any:
        module_sources.note()
        if not (inspect.isclass(target) or inspect.isfunction(target)):
            raise AuthoringError(
                f"{details.name}: a pipeline is a class or a function, not {target!r:.80}"
            )
        described = replace(details, description=details.description or _summary(target))
        if inspect.isclass(target):
            return _decorate_class(target, described, models or PipelineModels())
        signed = replace(described, signature=Signature.of(target))
        made = Pipeline(signed, models or PipelineModels(), target)
        return functools.update_wrapper(made, target)

    return decorate


def _summary(target: Any) -> str:
    """Return the first paragraph of a class's or function's own docstring, on one line."""
    text = vars(target).get("__doc__") if inspect.isclass(target) else target.__doc__
    if not isinstance(text, str) or text.startswith(f"{target.__name__}("):  # a dataclass's
        return ""
    return " ".join(inspect.cleandoc(text).partition("\n\n")[0].split())


def _decorate_class(cls: type, details: ModelDetails, models: PipelineModels) -> type:
    ours = {"models": "Children"} | ({} if details.state is None else {"state": "State"})
    for field in fields(cls) if is_dataclass(cls) else ():
        if field.name in ours:
            raise AuthoringError(
                f"{details.name}: the dataclass {cls.__name__} takes {field.name} for a field; declare "
                f"it as `{field.name}: ClassVar[{ours[field.name]}]`"
            )
    if details.state is not None and _has_own_state(cls):
        raise AuthoringError(
            f"{details.name}: {cls.__name__} has an attribute `state`, which would hide the pipeline's "
            "state; rename it"
        )
    predict_name = _marked(cls, "predict", details)
    if predict_name is None:
        raise AuthoringError(
            f"{details.name}: {cls.__name__} has no predict method; mark one with @predictmethod"
        )
    load_name = _marked(cls, "load", details)
    predict = plain(cls, predict_name)
    if not inspect.isfunction(predict):
        raise AuthoringError(
            f"{details.name}: {cls.__name__}.{predict_name} is a {type(predict).__name__}; a predict "
            "method is a plain method, whose first argument is self"
        )
    signed = replace(details, signature=Signature.of(predict, method=True))
    install(Pipeline(signed, models, cls, predict_name, load_name))
    return cls


def install(made: Pipeline) -> None:
    """Put on a class what makes it a pipeline.

    Args:
        made: The Pipeline of the class, its `target`.
    """
    cls, predict_name = made.target, str(made.predict_name)
    namespace: Any = cls
    setattr(cls, predict_name, _Direct(plain(cls, predict_name)))
    if not cls.__weakrefoffset__:
        namespace.__del__ = _Forgetting(getattr(cls, "__del__", _nothing))
    if predict_name != "__call__" and _may_be_called(cls):
        namespace.__call__ = _Call(predict_name, vars(cls).get("__call__"))
    namespace.get_tempo = _Accessor(made)
    namespace.models = property(_models)
    tempo_names.explain(tempo_names.OF_AUTHORS_CLASS)(cls)
    if made.details.state is not None:
        namespace.state = property(_state)


def install_derived(made: Pipeline) -> None:
    """Put the Pipeline of a class on it that only derives from a pipeline class."""
    made.target.get_tempo = _Accessor(made)


def is_pipeline_class(cls: type) -> bool:
    """Tell whether a class has a Pipeline of its own."""
    return isinstance(vars(cls).get("get_tempo"), _Accessor)


def is_decorated(cls: type) -> bool:
    """Tell whether a class was decorated itself, and does not only derive from one that was."""
    found = vars(cls).get("models")
    return isinstance(found, property) and found.fget is _models


def predict_method(function: Callable[..., Any]) -> Any:
    """Return what stands for a predict method on a class."""
    return _Direct(function)


def is_predict_method(found: Any) -> bool:
    """Tell whether an object stands for a predict method on a class; its `function` is the author's."""
    return isinstance(found, _Direct)


def undecorated(cls: type, namespace: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a pipeline class as its author wrote them.

    Args:
        cls: The class.
        namespace: Its attributes, or some of them.
    """
    written = {}
    for name, value in namespace.items():
        if isinstance(value, _Accessor | tempo_names.Elsewhere):
            continue
        if isinstance(value, property) and value.fget in (_models, _state):
            continue
        if isinstance(value, _Call):
            if value.written is not None:
                written[name] = value.written
            continue
        if isinstance(value, _Method):
            inherited = getattr(super(cls, cls), name, None)
            value = value.function
            if value in (_nothing, inherited, getattr(inherited, "function", None)):
                continue
        written[name] = value
    return written


# Anything that is put on a class is an object of a class here, not a closure: dill would write the
# closure's code, and ours with it, into every artifact.


class _Accessor:
    """`get_tempo()` of a class, and of an instance that has a Pipeline of its own."""

    def __init__(self, made: Pipeline) -> None:
        self.made = made

    def __get__(self, instance: Any, owner: type) -> Callable[[], Pipeline]:
        return functools.partial(self._find, instance, owner)

    def _find(self, instance: Any, owner: type) -> Pipeline:
        if instance is None:
            return self._of_class(owner)
        if (known := pipelines.get(instance)) is not None:
            return known
        served = building.get()
        if served is not None and type(instance) is served.target:
            return served
        made = self._of_class(owner)
        own = (made.built or made).of(instance)
        pipelines.set(instance, own)
        return own

    def _of_class(self, owner: type) -> Pipeline:
        """Return the Pipeline of the decorated class or of a class derived from it."""
        made: Pipeline = self.made
        if vars(owner).get("get_tempo") is self:
            return made
        made = made.copy()
        made.target, made.built = owner, None
        signature = Signature.of(plain(owner, str(made.predict_name)), method=True)
        made._details = replace(made._details, signature=signature)
        namespace: Any = owner
        namespace.get_tempo = _Accessor(made)
        return made


class _Method:
    """A method around another."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __call__(self, instance: Any, *args: Any, **kwargs: Any) -> Any:
        return self.function(instance, *args, **kwargs)


class _Forgetting(_Method):
    """`__del__` of a class whose instances allow no weak reference: see `Beside`."""

    def __call__(self, instance: Any, *args: Any, **kwargs: Any) -> None:
        try:
            self.function(instance)
        finally:
            pipelines.forget(instance)


class _Direct(_Method):
    """The predict method, for a call without a server."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        setattr(self, PLAIN, function)

    def __call__(self, instance: Any, *args: Any, **kwargs: Any) -> Any:
        from tempo_runtime.request import context

        pipeline: Pipeline = instance.get_tempo()
        pipeline.load_once(instance)
        if context.is_request():  # the author's code calls its own predict method, or another's
            return self.function(instance, *args, **kwargs)
        return execution().call(pipeline, instance, args, kwargs)


class _Call:
    """`__call__` of a class: its predict method, also where a derived class has another one.

    Args:
        predict_name: Name of the predict method.
        written: What the author wrote in its place for type checkers: `__call__ = total`.
    """

    def __init__(self, predict_name: str, written: Any) -> None:
        self.predict_name = predict_name
        self.written = written

    def __get__(self, instance: Any, owner: type) -> Any:
        return getattr(owner if instance is None else instance, self.predict_name)


def _may_be_called(cls: type) -> bool:
    """Tell whether a class has no `__call__`, or only another name for its predict method."""
    written = [vars(base)["__call__"] for base in cls.__mro__ if "__call__" in vars(base)]
    return not written or getattr(written[0], _ROLE, None) == "predict"


def _nothing(instance: Any) -> None:
    """Do nothing: the `__del__` of a class that has none."""


def _models(instance: Any) -> Children:
    found: Pipeline = instance.get_tempo()
    return found.models


def _state(instance: Any) -> State:
    found: Pipeline = instance.get_tempo()
    return found.state


def _has_own_state(cls: type) -> bool:
    found = inspect.getattr_static(cls, "state", None)
    inherited = isinstance(found, property) and found.fget is _state
    return not (found is None or inherited)


def _marked(cls: type, role: str, details: ModelDetails) -> str | None:
    names = [
        name
        for name in dir(cls)
        if getattr(inspect.getattr_static(cls, name, None), _ROLE, None) == role
    ]
    if len(names) > 1 and "__call__" in names and plain(cls, "__call__").__name__ != "__call__":
        names.remove("__call__")  # another name for a method: `__call__ = total`
    if len(names) > 1:
        raise AuthoringError(
            f"{details.name}: {cls.__name__} has more than one {role} method: {', '.join(names)}"
        )
    return names[0] if names else None
