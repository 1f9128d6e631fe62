"""The children of a pipeline, as its code and a type checker see them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, Protocol

from typing_extensions import TypeVar

# A child's answer has whichever type its author declared, so `Any` stands for what is not declared.
R = TypeVar("R", default=Any)


class Child(Protocol[R]):
    """A model that a pipeline calls.

    `Child[float]` says what a call gives, in a class that declares the children one by one. In an
    `async def` pipeline that is something to await: `Child[Awaitable[float]]`.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        """Call the model with its inputs, in order or by name."""
        ...

    def submit(self, *args: Any, **kwargs: Any) -> Future[R]:
        """Call the model from a sync pipeline, without waiting for the answer."""
        ...


class Children(Protocol):
    """The models that a pipeline calls, each an attribute of the name that it has in `models=`.

    A pipeline class declares `models: Children` for type checkers. Nothing depends on it at run time.
    Each call gives `Any`: only the author knows what a model answers, and whether the pipeline, being
    `async def`, awaits it. A class of the author's own in its place says both, and names the models:

        class Models:
            forest: Child[NDArray[np.int64]]

        @pipeline("check", models=PipelineModels(forest=forest))
        class Check:
            models: Models

    Where annotations make fields, as in a dataclass or a pydantic model, write `models:
    ClassVar[Children]`.
    """

    def __getattr__(self, name: str) -> Child: ...

    def __setattr__(self, name: str, replacement: Any) -> None:
        """Replace a model in a test: `pipeline.models.NAME = lambda x: ...`."""
        ...

    def __iter__(self) -> Iterator[str]: ...

    def __len__(self) -> int: ...


Children.__module__ = "tempo_runtime"  # so that a class pickled by value names its public place
