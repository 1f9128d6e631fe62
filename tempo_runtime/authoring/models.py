"""Models, the models a pipeline calls, and pipelines, as objects."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import replace
from threading import Lock
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Generic, Protocol, cast

from typing_extensions import ParamSpec, TypeVar

from tempo_runtime.authoring import tempo_names
from tempo_runtime.authoring.details import ModelDetails, ModelFramework
from tempo_runtime.authoring.instances import Beside, attributes, weak
from tempo_runtime.authoring.keywords import by_name
from tempo_runtime.errors import AuthoringError
from tempo_runtime.protocol.signature import Signature

if TYPE_CHECKING:
    from tempo_runtime.authoring.children import Children
    from tempo_runtime.request.context import Callers
    from tempo_runtime.settings import Batching, PipelineSettings
    from tempo_runtime.state.state import State

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P", default=...)
R_co = TypeVar("R_co", default=Any, covariant=True)

ABSENT: Any = object()  # the value of an attribute that is not there

# On what stands for a method: the method as its author wrote it.
PLAIN = "__tempo_plain__"

building: ContextVar[Pipeline | None] = ContextVar("tempo_building", default=None)
"""The Pipeline of the instance that is being made, to be served."""

pipelines: Beside[Pipeline] = Beside()
"""The Pipeline of each instance of a pipeline class."""


@tempo_names.explain(tempo_names.OF_MODEL)
class Model:
    """A model that a V2 server can serve.

    Called, it runs in this process from its `local_folder`.

    Args:
        name: Name it is served under: up to 63 lower-case letters, digits and '-'.
        platform: Its framework.
        local_folder: Folder of its artifact on this machine.
        uri: Where its artifact is uploaded to, and served from.
        inputs: A type, a tuple of types, or a dict of names to types.
        outputs: Likewise.
        description: A sentence for people.
        batching: How calls of different requests to it are put together; by default they are not.
        output: Output that its callers ask for, such as `predict_proba` of a scikit-learn classifier;
            by default the one that its server gives.

    Raises:
        AuthoringError: If the name cannot be deployed, or a type cannot travel.

    Example:
        >>> from tempo_runtime import Model, ModelFramework
        >>> forest = Model("forest", platform=ModelFramework.SKLearn, local_folder="artifacts/forest")
        >>> forest.details.local_folder
        'artifacts/forest'
    """

    # The modules of the artifact that it was read from, if unpickling its files needs them.
    code: Any = None
    # The demands on its files, if there were demands on the artifact that calls it.
    demands: Any = None

    @by_name("Model", 2, "platform", "local_folder", "uri", "inputs", "outputs", "description")
    def __init__(
        self,
        name: str,
        *,
        platform: ModelFramework = ModelFramework.Custom,
        local_folder: str | None = None,
        uri: str = "",
        inputs: Any = None,
        outputs: Any = None,
        description: str = "",
        batching: Batching | None = None,
        output: str | None = None,
    ) -> None:
        self._details = ModelDetails(
            name=name,
            platform=ModelFramework(platform),
            local_folder=local_folder,
            uri=uri,
            description=description,
            signature=Signature.declared(inputs, outputs),
            batching=batching,
            output=output,
        )

    @property
    def details(self) -> ModelDetails:
        """Its name, framework, folder and signature."""
        return self._details

    def get_tempo(self) -> Model:
        """Itself: what `get_tempo()` gives of anything this package can serve."""
        return self

    def reference(self, local_folder: str | None = None) -> Model:
        """Return this model as others refer to it: in that folder, without its code."""
        return model_of(replace(self._details, local_folder=local_folder))

    @functools.cached_property
    def _local(self) -> Any:
        return execution().connect_model(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model in this process."""
        return self._local(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return {
            key: value
            for key, value in vars(self).items()
            if key not in ("_local", "code", "demands")
        }

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._details.name!r} ({self._details.platform.value})>"

    def _repr_html_(self) -> str:
        return execution().picture(self)


def model_of(details: ModelDetails) -> Model:
    """Make a model from its details."""
    made = Model.__new__(Model)
    made._details = details
    return made


class PipelineModels:
    """The models a pipeline calls, each under the name it is called by.

    Args:
        models: A `Model`, or another pipeline (its class, an instance, or its function). Called without
            a server, an instance answers itself; a class has one made.

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
            model = get_tempo()
            self._models[alias] = model.held(found) if isinstance(model, Pipeline) else model

    def items(self) -> Iterator[tuple[str, Model]]:
        """Pairs of a name and its model."""
        return iter(self._models.items())

    def keys(self) -> Iterator[str]:
        """Return the names of the models."""
        return iter(self._models)

    def values(self) -> Iterator[Model]:
        """Return the models."""
        return iter(self._models.values())

    def references(self) -> PipelineModels:
        """Return the same models, without any code or folder of theirs."""
        return PipelineModels(**{alias: found.reference() for alias, found in self.items()})

    def __getattr__(self, alias: str) -> Model:
        if alias.startswith("_") or alias not in self._models:
            instead = tempo_names.OF_MODELS.get(alias)
            raise AttributeError(
                f"the pipeline has no model {alias!r}"
                + (f"; the attribute {alias!r} of tempo 0.5 is gone: {instead}" if instead else "")
            )
        return self._models[alias]

    def __len__(self) -> int:
        return len(self._models)


class Pipeline(Model, Generic[P, R_co]):
    """A model made of Python code, over other models.

    Made by `@pipeline` and `@model`, not by hand. On a function it takes the function's place, and
    keeps its parameters and its result: `Pipeline[[float], str]`.

    Attributes:
        declared: The models it calls, as its author declared them.
        target: The class or function.
        predict_name: Name of a class's predict method; None for a function.
        load_name: Name of a class's load method, if it has one.
        extra: Its settings in the artifact that it was loaded from: `parameters.extra` of its
            model-settings.json. A server reads them there, and a call without a server here.
        direct_settings: The environment's variables that such a call saw last, and its settings.
    """

    extra: Mapping[str, Any] = MappingProxyType({})
    direct_settings: tuple[tuple[tuple[str, str], ...], PipelineSettings] | None = None
    # Of what b385a99 saved instead of the instance itself.
    arguments: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
    saved: Any = None  # the instance that an artifact holds
    built: Pipeline | None = None  # of the class of an artifact, once an instance is made
    _instance: Callable[[], Any] | None = None  # whose Pipeline this is
    _changed: Mapping[str, tuple[Any, Any]] = MappingProxyType({})

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
        vars(self)["context"] = SimpleNamespace()
        self._load_function: Callable[[], Any] | None = None
        self._loaded = False
        self._children: ConnectedChildren | None = None
        self._state: State | None = None
        self._origin: Pipeline | None = None  # the class's, whose children its instances share
        self._release: Callable[[], None] | None = None

    @property
    def signature(self) -> Signature:
        """The signature of the predict method."""
        assert self._details.signature is not None
        return self._details.signature

    @property
    def models(self) -> Children:
        """The pipeline's children, to be called; in this process unless it is being served.

        Without a server, each is connected when it is first called. Until then, a test can replace it:
        `pipeline.models.NAME = lambda x: ...`.
        """
        shared = self._origin or self
        if shared._children is None:
            shared._children = execution().connect_children(shared)
        return shared._children.here()

    @property
    def state(self) -> State:
        """The pipeline's state.

        Raises:
            AuthoringError: If it does not declare one.
        """
        shared = self._origin or self
        if shared._state is None:
            if self.details.state is None:
                name = self.details.name
                raise AuthoringError(
                    f"{name}: it does not have a state; declare it: "
                    f'@pipeline("{name}", state=StateOptions())'
                )
            with _connecting:
                shared._state = shared._state or execution().connect_state(shared)
        return shared._state

    @property
    def callers(self) -> Callers:
        """Decides about calls of the pipeline, and of its children, from outside of any request."""
        from tempo_runtime.request.context import Callers

        shared = self._origin or self
        if shared._children is not None:
            return shared._children._callers
        found: Callers = vars(shared).setdefault("_callers", Callers())
        return found

    @property
    def context(self) -> SimpleNamespace:
        """Where a function pipeline's load method puts what it loads."""
        from tempo_runtime.request import context

        found: SimpleNamespace = context.own(vars(self)["context"])
        return found

    @property
    def is_async(self) -> bool:
        """Whether the predict method is a coroutine function or an async generator."""
        function = self.predict_of(None)
        return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)

    def predict_of(self, instance: Any) -> Callable[..., Any]:
        """Return the predict method as its author wrote it, bound to an instance of the class if any."""
        if self.predict_name is None:
            return self.target  # type: ignore[no-any-return]
        function = plain(self.target, self.predict_name)
        return function if instance is None else functools.partial(function, instance)

    def load_of(self, instance: Any) -> Callable[[], Any] | None:
        """Return the bound load method; None if it does not exist, or has run."""
        own = self._own(instance)
        load = own._loading(instance)
        own._loaded = True
        return load

    def load_once(self, instance: Any) -> None:
        """Run the load method, unless it has run, before a call without a server."""
        own = self._own(instance)
        if (load := own._loading(instance)) is not None:
            finish(load())
            own._loaded = True

    def _own(self, instance: Any) -> Pipeline:
        return self if instance is None else instance.get_tempo()

    def _loading(self, instance: Any) -> Callable[[], Any] | None:
        if self._loaded:
            return None
        if self.load_name is not None:
            return functools.partial(self._load, getattr(instance, self.load_name), instance)
        if self._load_function is not None:
            return functools.partial(self._load, self._load_function, self.context)
        return None

    def _load(self, load: Callable[[], Any], holder: Any) -> Any:
        """Run a load method, and return an awaitable if it is a coroutine function."""
        before = attributes(holder)
        result = load()
        if not inspect.iscoroutine(result):
            self._note_changes(before, holder)
            return None

        async def awaited() -> None:
            await result
            self._note_changes(before, holder)

        return awaited()

    def _note_changes(self, before: dict[str, Any], holder: Any) -> None:
        after = attributes(holder)
        pairs = {
            name: (before.get(name, ABSENT), after.get(name, ABSENT)) for name in before | after
        }
        self._changed = {name: pair for name, pair in pairs.items() if pair[0] is not pair[1]}

    def without_loaded(self, state: dict[str, Any]) -> dict[str, Any]:
        """Remove what the load method made from a state: it runs again wherever that is loaded.

        An attribute that was set once more since is the author's, and stays.
        """
        kept = {}
        for name, value in state.items():
            before, after = self._changed.get(name, (value, ABSENT))
            if value is not after:
                kept[name] = value
            elif before is not ABSENT:
                kept[name] = before
        return kept

    def loadmethod(self, function: F) -> F:
        """Decorate the function that loads what a function pipeline needs into `context`."""
        self._load_function = function
        return function

    def remember(self, folder: str) -> None:
        """Make a folder its `local_folder`: it was saved there, and has no other."""
        self._details = replace(self._details, local_folder=folder)

    def of(self, instance: Any) -> Pipeline:
        """Return the Pipeline of one instance of the class."""
        own = self.copy()
        own.saved = own.built = None
        own._instance = weak(instance) or (lambda: None)
        own._origin = self
        own._loaded = False
        own._changed = {}
        return own

    def held(self, found: Any) -> Pipeline:
        """Return this Pipeline; if it was looked up on an instance, a copy that holds that instance."""
        if not isinstance(found, self.target if isinstance(self.target, type) else ()):
            return self
        own = self.copy()
        own._instance = lambda: found
        return own

    @property
    def instance(self) -> Any:
        """The instance whose Pipeline this is; None for a class's, or a function's.

        Raises:
            AuthoringError: If it is gone.
        """
        if self._instance is None:
            return None
        if (found := self._instance()) is None:
            raise AuthoringError(
                f"{self.details.name}: the instance of {self.target.__name__} that this Pipeline belongs "
                "to is gone; give the instance itself, not the result of its get_tempo()"
            )
        return found

    def build(
        self,
        children: ConnectedChildren | None,
        local_folder: str,
        state: State | None = None,
    ) -> Any:
        """Return the object that a server calls: the saved instance, a new one, or the function.

        Args:
            children: Its children, connected as the deployment says; None for in this process.
            local_folder: Where its artifact is on this machine.
            state: Its state, connected as the deployment says; None for as in a call without a server.
        """
        instance = self.saved
        own = self if self.predict_name is None else self.copy()
        own._children = children
        own._state = state
        own._origin = own.saved = None
        own._details = replace(self._details, local_folder=local_folder)
        if self.predict_name is None:
            return own
        if (
            self._release is not None
        ):  # the class is the artifact's: other instances are like this one
            self.target.get_tempo().built = own
        if instance is None:
            args, kwargs = self.arguments
            token = building.set(own)
            try:
                instance = self.target(*args, **kwargs)
            finally:
                building.reset(token)
        else:
            # Its own attributes may hold its Pipeline already.
            known = instance.get_tempo()
            vars(known).update(vars(own))
            own = known
        own._instance = weak(instance) or (lambda: None)
        pipelines.set(instance, own)
        return instance

    @property
    def is_loaded(self) -> bool:
        """Whether it was read from an artifact, whose code is there."""
        return self._release is not None

    def release(self) -> None:
        """Free the modules its artifact brought into the process; it cannot be called any more."""
        if self._release is not None:
            self._release()

    def copy(self) -> Pipeline:
        """Another Pipeline of the same code, whose details and children can differ."""
        own = Pipeline.__new__(Pipeline)
        vars(own).update(vars(self))
        return own

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call a function pipeline; a pipeline class is called on an instance of it."""
        answer: R_co
        if self.predict_name is not None:
            answer = super().__call__(*args, **kwargs)
            return answer
        from tempo_runtime.request import context

        self.load_once(None)
        if context.is_request():
            answer = self.target(*args, **kwargs)
        else:
            answer = execution().call(self, None, args, kwargs)
        return answer

    def __reduce_ex__(self, protocol: Any) -> Any:
        # A function pipeline of a module is found there again: it has the context and the children
        # that the module's other functions, its load method among them, know it by.
        if self.predict_name is None and self.__module__ != "__main__":
            for name, value in vars(sys.modules.get(self.__module__, self)).items():
                if value is self:
                    return name
        return super().__reduce_ex__(protocol)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state |= {
            "_details": replace(self._details, local_folder=None),
            "declared": self.declared.references(),
            "context": SimpleNamespace(),  # its content is written beside it
            "_children": None,
            "_state": None,
            "_origin": None,
            "_loaded": False,
            "_release": None,
        }
        here = ("saved", "built", "_instance", "_changed", "_callers", "extra", "direct_settings")
        for name in here:
            state.pop(name, None)
        if self.predict_name is not None:
            # The class holds this object: dill cannot write a class that leads back to itself.
            state["target"] = None
        return state


def plain(cls: type, name: str) -> Any:
    """Return a method of a class as its author wrote it."""
    found = inspect.getattr_static(cls, name)
    return getattr(found, PLAIN, found)


def finish(result: Any) -> None:
    """Wait for what a load method gave, if that is something to await."""
    if inspect.iscoroutine(result):
        from tempo_runtime.request.portal import background

        background().run(result)


_connecting = Lock()  # two requests must not make two states


class ConnectedChildren(Protocol):
    """Children of one pipeline, to be called."""

    _callers: Callers

    def here(self) -> Children:
        """Return the same children; within a request, as those of that request."""

    def __iter__(self) -> Iterator[str]: ...


class Execution(Protocol):
    """The functions that call a model without a server."""

    def call(
        self, pipeline: Pipeline, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Call the predict method of an instance, or a pipeline function (`instance` is None)."""

    def connect_children(self, pipeline: Pipeline) -> ConnectedChildren:
        """Return the children of a pipeline that is called without a server."""

    def implementation(self, model: Model) -> str | None:
        """Return the class of MLServer's runtime that serves a model; None if it is unknown."""

    def connect_state(self, pipeline: Pipeline) -> State:
        """Connect the state of a pipeline that is called without a server."""

    def connect_model(self, model: Model) -> Any:
        """Return a model that is called without a server as a child."""

    def picture(self, model: Model) -> str:
        """Return one HTML element that shows a model, or a pipeline and its graph, in a notebook."""


def execution() -> Execution:
    """Return what runs models in this process, which stands further down the import order.

    It is imported when a model is first called.
    """
    return cast(Execution, importlib.import_module("tempo_runtime.execution.direct_call"))
