"""How a data scientist writes models and pipelines.

    sklearn = Model("income-sklearn", ModelFramework.SKLearn, local_folder="artifacts/model")

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
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import replace
from types import MethodType, SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from tempo_runtime.details import ModelDetails, ModelFramework
from tempo_runtime.errors import AuthoringError
from tempo_runtime.signature import Signature

if TYPE_CHECKING:
    from tempo_runtime.children.child import Children

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

F = TypeVar("F", bound=Callable[..., Any])
_ROLE = "__tempo_role__"
_STATE = "_tempo_pipeline"  # on an instance that was built to be served: its own Pipeline
_ARGUMENTS = "_tempo_arguments"  # on every instance: what its constructor was given
_LOADED = "_tempo_loaded"
_building: ContextVar[Pipeline | None] = ContextVar("tempo_building", default=None)


class Model:
    """A model that a V2 server can serve.

    Called, it runs in this process from its `local_folder`.

    Args:
        name: Name it is served under: up to 63 lower-case letters, digits and '-'.
        platform: Its framework.
        local_folder: Folder of its artefact on this machine.
        uri: Where its artefact is uploaded to, and served from.
        inputs: A type, or a dict of names to types.
        outputs: Likewise.
        description: A sentence for people.

    Raises:
        AuthoringError: If the name cannot be deployed, or a type cannot travel.
    """

    def __init__(
        self,
        name: str,
        platform: ModelFramework = ModelFramework.Custom,
        local_folder: str | None = None,
        uri: str = "",
        inputs: Any = None,
        outputs: Any = None,
        description: str = "",
    ) -> None:
        self._details = ModelDetails(
            name=name,
            platform=ModelFramework(platform),
            local_folder=local_folder,
            uri=uri,
            description=description,
            signature=Signature.declared(inputs, outputs),
        )

    @property
    def details(self) -> ModelDetails:
        """Its name, framework, folder and signature."""
        return self._details

    def get_tempo(self) -> Model:
        """Itself: what `get_tempo()` gives of anything this package can serve."""
        return self

    def reference(self) -> Model:
        """This model as others refer to it, without any code of its own."""
        other = Model.__new__(Model)
        other._details = self._details
        return other

    @functools.cached_property
    def _local(self) -> Any:
        from tempo_runtime.assembly import local_model

        return local_model(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the model in this process."""
        return self._local(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_local"}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._details.name!r} ({self._details.platform.value})>"


class PipelineModels:
    """The models a pipeline calls, each under the name it is called by.

    Args:
        models: A `Model`, or another pipeline (its class, an instance, or its function).

    Raises:
        AuthoringError: If a value is neither.
    """

    def __init__(self, **models: Any) -> None:
        self._models: dict[str, Model] = {}
        for alias, found in models.items():
            get_tempo = getattr(found, "get_tempo", None)
            if get_tempo is None:
                raise AuthoringError(
                    f"PipelineModels: {alias}={found!r:.80} is neither a Model nor a pipeline"
                )
            self._models[alias] = get_tempo()

    def items(self) -> Iterator[tuple[str, Model]]:
        """Pairs of a name and its model."""
        return iter(self._models.items())

    def references(self) -> PipelineModels:
        """The same models, without any code of theirs."""
        return PipelineModels(**{alias: found.reference() for alias, found in self.items()})

    def __getattr__(self, alias: str) -> Model:
        if alias.startswith("_") or alias not in self._models:
            raise AttributeError(f"the pipeline has no model {alias!r}")
        return self._models[alias]

    def __len__(self) -> int:
        return len(self._models)


class Pipeline(Model):
    """A model made of Python code, over other models.

    Made by `@pipeline` and `@model`, not by hand. On a function it takes the function's place.

    Attributes:
        declared: The models it calls, as its author declared them.
        target: The class or function.
        predict_name: Name of a class's predict method; None for a function.
        load_name: Name of a class's load method, if it has one.
        arguments: What instances of the class are made with.
        context: Where a function pipeline's load method puts what it loads.
    """

    def __init__(
        self,
        details: ModelDetails,
        declared: PipelineModels,
        target: Any,
        predict_name: str | None = None,
        load_name: str | None = None,
    ) -> None:
        self._details = details
        self.declared = declared
        self.target = target
        self.predict_name = predict_name
        self.load_name = load_name
        self.arguments: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
        self.context = SimpleNamespace()
        self._load_function: Callable[[], Any] | None = None
        self._loaded = False
        self._children: Children | None = None
        self._origin: Pipeline | None = None  # the class's, whose children its instances share

    @property
    def signature(self) -> Signature:
        """What the predict method takes and gives."""
        assert self._details.signature is not None
        return self._details.signature

    @property
    def models(self) -> Children:
        """The pipeline's children, to be called; in this process unless it is being served."""
        shared = self._origin or self
        if shared._children is None:
            from tempo_runtime.assembly import local_children

            shared._children = local_children(shared)
        return shared._children

    @property
    def is_async(self) -> bool:
        """Whether the predict method is a coroutine function or an async generator."""
        function = self.predict_of(None)
        return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)

    def predict_of(self, instance: Any) -> Callable[..., Any]:
        """The predict method as its author wrote it, bound to an instance of the class if any."""
        if self.predict_name is None:
            return self.target  # type: ignore[no-any-return]
        found = inspect.getattr_static(self.target, self.predict_name)
        function = found.function if isinstance(found, _LoadingFirst) else found
        return function if instance is None else functools.partial(function, instance)

    def load_of(self, instance: Any) -> Callable[[], Any] | None:
        """The load method, bound; None when there is none."""
        if self.load_name is not None:
            return getattr(instance, self.load_name)  # type: ignore[no-any-return]
        return self._load_function

    def loadmethod(self, function: F) -> F:
        """Decorates the function that loads what a function pipeline needs into `context`."""
        self._load_function = function
        return function

    def of(self, instance: Any) -> Pipeline:
        """The Pipeline of one instance of the class."""
        own = self.copy()
        own.arguments = vars(instance).get(_ARGUMENTS, ((), {}))
        own._origin = self
        return own

    def build(self, children: Children | None, local_folder: str) -> Any:
        """The object a server calls: a new instance of the class, or the function.

        Args:
            children: Its children, connected as the deployment says; None for in this process.
            local_folder: Where its artefact is on this machine.
        """
        own = self if self.predict_name is None else self.copy()
        own._children = children
        own._origin = None
        own._details = replace(self._details, local_folder=local_folder)
        own._loaded = True  # the server calls the load method itself
        if self.predict_name is None:
            return own
        args, kwargs = self.arguments
        token = _building.set(own)
        try:
            return self.target(*args, **kwargs)
        finally:
            _building.reset(token)

    def copy(self) -> Pipeline:
        """Another Pipeline of the same code, whose details and children can differ."""
        own = Pipeline.__new__(Pipeline)
        vars(own).update(vars(self))
        return own

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls a function pipeline; a pipeline class is called on an instance of it."""
        if self.predict_name is not None:
            return super().__call__(*args, **kwargs)
        if self._load_function is not None and not self._loaded:
            _finish(self._load_function())
            self._loaded = True
        return self.target(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state |= {
            "declared": self.declared.references(),
            "context": SimpleNamespace(),
            "_children": None,
            "_origin": None,
            "_loaded": False,
        }
        if self.predict_name is not None:
            # The class holds this object: dill cannot write a class that leads back to itself.
            state["target"] = None
        return state


def pipeline(
    name: str,
    uri: str = "",
    local_folder: str | None = None,
    models: PipelineModels | None = None,
    description: str = "",
) -> Callable[[Any], Any]:
    """Makes a class or function a pipeline.

    Args:
        name: Name it is served under: up to 63 lower-case letters, digits and '-'.
        uri: Where its artefact is uploaded to, and served from.
        local_folder: Folder of its artefact on this machine; `save` writes there.
        models: The models it calls.
        description: A sentence for people.

    Raises:
        AuthoringError: If it can never be served; the message says why.
    """
    return _decorator(
        ModelDetails(name, ModelFramework.TempoPipeline, local_folder, uri, description), models
    )


def model(
    name: str,
    platform: ModelFramework = ModelFramework.Custom,
    uri: str = "",
    local_folder: str | None = None,
    description: str = "",
) -> Callable[[Any], Any]:
    """Makes a class or function a model of its own: a pipeline that calls no other.

    Args and errors are those of `pipeline`.
    """
    return _decorator(ModelDetails(name, platform, local_folder, uri, description), None)


def predictmethod(function: F) -> F:
    """Marks the method of a pipeline class that answers requests.

    It may be `async def`, and it may be a generator, which streams.
    """
    setattr(function, _ROLE, "predict")
    return function


def loadmethod(function: F) -> F:
    """Marks the method of a pipeline class that is called once, before the first request."""
    setattr(function, _ROLE, "load")
    return function


def describe(target: Any) -> Pipeline:
    """The `Pipeline` of a pipeline class, an instance of one, or a pipeline function.

    Raises:
        AuthoringError: If it is none of them.
    """
    get_tempo = getattr(target, "get_tempo", None)
    found = get_tempo() if get_tempo is not None else None
    if not isinstance(found, Pipeline):
        raise AuthoringError(
            f"{target!r:.80} is not a pipeline; decorate it with @pipeline or @model"
        )
    return found


def _decorator(details: ModelDetails, models: PipelineModels | None) -> Callable[[Any], Any]:
    def decorate(target: Any) -> Any:
        if inspect.isclass(target):
            return _decorate_class(target, details, models or PipelineModels())
        if not inspect.isfunction(target):
            raise AuthoringError(
                f"{details.name}: a pipeline is a class or a function, not {target!r:.80}"
            )
        signed = replace(details, signature=Signature.of(target))
        made = Pipeline(signed, models or PipelineModels(), target)
        return functools.update_wrapper(made, target)

    return decorate


def _decorate_class(cls: type, details: ModelDetails, models: PipelineModels) -> type:
    predict_name = _marked(cls, "predict", details)
    if predict_name is None:
        raise AuthoringError(
            f"{details.name}: {cls.__name__} has no predict method; mark one with @predictmethod"
        )
    load_name = _marked(cls, "load", details)
    signed = replace(details, signature=Signature.of(getattr(cls, predict_name), method=True))
    made = Pipeline(signed, models, cls, predict_name, load_name)
    namespace: Any = cls
    if load_name is not None:
        setattr(cls, predict_name, _LoadingFirst(getattr(cls, predict_name), load_name))
    namespace.__init__ = _Recording(namespace.__init__)
    namespace.get_tempo = _Accessor(made)
    namespace.models = property(_models)
    return cls


# What is put on a class is an object of a class here, not a closure: dill would write a closure's
# code, and ours with it, into every artefact.


class _Accessor:
    """`get_tempo()` of a class, and of an instance that has a Pipeline of its own."""

    def __init__(self, made: Pipeline) -> None:
        self.made = made

    def __get__(self, instance: Any, owner: type) -> Callable[[], Pipeline]:
        return functools.partial(self._find, instance)

    def _find(self, instance: Any) -> Pipeline:
        if instance is None:
            return self.made
        if _STATE not in vars(instance):
            vars(instance)[_STATE] = self.made.of(instance)
        found: Pipeline = vars(instance)[_STATE]
        return found


class _Method:
    """A method around another."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __call__(self, instance: Any, *args: Any, **kwargs: Any) -> Any:
        return self.function(instance, *args, **kwargs)


class _Recording(_Method):
    """`__init__`, with a note of its arguments: an artefact builds the instance again."""

    def __call__(self, instance: Any, *args: Any, **kwargs: Any) -> None:
        if _ARGUMENTS not in vars(instance):
            vars(instance)[_ARGUMENTS] = (args, kwargs)
            served = _building.get()
            if served is not None and type(instance) is served.target:
                vars(instance)[_STATE] = served
                _building.set(None)
        self.function(instance, *args, **kwargs)


class _LoadingFirst(_Method):
    """The predict method, after the load method has run once, for a call without a server."""

    def __init__(self, function: Callable[..., Any], load_name: str) -> None:
        super().__init__(function)
        self.load_name = load_name

    def __call__(self, instance: Any, *args: Any, **kwargs: Any) -> Any:
        if not vars(instance).get(_LOADED):
            _finish(getattr(instance, self.load_name)())
            vars(instance)[_LOADED] = True
        return self.function(instance, *args, **kwargs)


def _models(instance: Any) -> Children:
    found: Pipeline = instance.get_tempo()
    return found.models


def _finish(result: Any) -> None:
    if inspect.iscoroutine(result):
        from tempo_runtime.portal import background

        background().run(result)


def _marked(cls: type, role: str, details: ModelDetails) -> str | None:
    names = [
        name
        for name in dir(cls)
        if getattr(inspect.getattr_static(cls, name, None), _ROLE, None) == role
    ]
    if len(names) > 1:
        raise AuthoringError(
            f"{details.name}: {cls.__name__} has more than one {role} method: {', '.join(names)}"
        )
    return names[0] if names else None
