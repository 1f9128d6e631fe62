"""Models, the models a pipeline calls, and pipelines, as objects."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from tempo_runtime.details import ModelDetails, ModelFramework
from tempo_runtime.errors import AuthoringError
from tempo_runtime.signature import Signature

if TYPE_CHECKING:
    from tempo_runtime.children.child import Children

F = TypeVar("F", bound=Callable[..., Any])

# On an instance of a pipeline class:
STATE = "_tempo_pipeline"  # its own Pipeline
ARGUMENTS = "_tempo_arguments"  # what its constructor was given
LOADED = "_tempo_loaded"  # whether its load method has run

# On what stands for a method: the method as its author wrote it.
PLAIN = "__tempo_plain__"

building: ContextVar[Pipeline | None] = ContextVar("tempo_building", default=None)
"""The Pipeline of the instance that is being made, to be served."""


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

    def reference(self, local_folder: str | None = None) -> Model:
        """This model as others refer to it: in that folder, without any code of its own."""
        other = Model.__new__(Model)
        other._details = replace(self._details, local_folder=local_folder)
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
        """The same models, without any code or folder of theirs."""
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
        self._release: Callable[[], None] | None = None

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
        function = plain(self.target, self.predict_name)
        return function if instance is None else functools.partial(function, instance)

    def load_of(self, instance: Any) -> Callable[[], Any] | None:
        """The load method, bound, for a server that runs it itself; None when there is none."""
        if self.load_name is not None:
            vars(instance)[LOADED] = True
            return getattr(instance, self.load_name)  # type: ignore[no-any-return]
        self._loaded = True
        return self._load_function

    def load_once(self, instance: Any) -> None:
        """Runs the load method, unless it has run, before a call without a server."""
        if instance is None and self._load_function is not None and not self._loaded:
            finish(self._load_function())
            self._loaded = True
        elif self.load_name is not None and not vars(instance).get(LOADED):
            finish(getattr(instance, self.load_name)())
            vars(instance)[LOADED] = True

    def loadmethod(self, function: F) -> F:
        """Decorates the function that loads what a function pipeline needs into `context`."""
        self._load_function = function
        return function

    def of(self, instance: Any) -> Pipeline:
        """The Pipeline of one instance of the class."""
        own = self.copy()
        own.arguments = vars(instance).get(ARGUMENTS, ((), {}))
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
        if self.predict_name is None:
            return own
        args, kwargs = self.arguments
        token = building.set(own)
        try:
            return self.target(*args, **kwargs)
        finally:
            building.reset(token)

    @property
    def is_loaded(self) -> bool:
        """Whether it was read from an artefact, whose code is there."""
        return self._release is not None

    def release(self) -> None:
        """Frees the modules its artefact brought into the process; it cannot be called any more."""
        if self._release is not None:
            self._release()

    def copy(self) -> Pipeline:
        """Another Pipeline of the same code, whose details and children can differ."""
        own = Pipeline.__new__(Pipeline)
        vars(own).update(vars(self))
        return own

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls a function pipeline; a pipeline class is called on an instance of it."""
        if self.predict_name is not None:
            return super().__call__(*args, **kwargs)
        from tempo_runtime import context, direct

        if context.is_request():
            return self.target(*args, **kwargs)
        self.load_once(None)
        return direct.call(self, None, args, kwargs)

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
            "context": SimpleNamespace(),
            "_children": None,
            "_origin": None,
            "_loaded": False,
            "_release": None,
        }
        if self.predict_name is not None:
            # The class holds this object: dill cannot write a class that leads back to itself.
            state["target"] = None
        return state


def plain(cls: type, name: str) -> Any:
    """A method of a class as its author wrote it."""
    found = inspect.getattr_static(cls, name)
    return getattr(found, PLAIN, found)


def finish(result: Any) -> None:
    """Waits for what a load method gave, if that is something to await."""
    if inspect.iscoroutine(result):
        from tempo_runtime.portal import background

        background().run(result)
