"""Arguments that are given by name: two texts that change places would not be noticed."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from tempo_runtime.authoring import tempo_names

P = ParamSpec("P")
R = TypeVar("R")


def by_name(call: str, positions: int, *names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function whose arguments after the first are given by name only.

    Args:
        call: What its caller writes, for the error.
        positions: How many arguments are given by position, `self` among them.
        names: The others in the order that b385a99 took them in: the code in its artifacts still may.

    Raises:
        TypeError: When it is called with more, or with an argument that only tempo 0.5 has; the message
            says what to write.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            if (extra := args[positions:]) and _in_artifact(sys._getframe(1).f_globals):
                kwargs.update(zip(names, extra))
                return function(*args[:positions], **kwargs)  # type: ignore[arg-type]
            if extra:
                values = ", ".join(f"{value!r:.60}" for value in extra)
                options = ", ".join(f"{name}=..." for name in names)
                raise TypeError(
                    f"{call}() takes only the name by position, but was given {values} as well; "
                    f"name each argument: {call}(NAME, {options})"
                )
            tempo_names.refuse_arguments(call, kwargs, names)
            return function(*args, **kwargs)

        return called

    return decorate


def _in_artifact(scope: dict[str, object]) -> bool:
    """Tell whether code belongs to a module that an artifact brought."""
    importing = sys.modules.get("tempo_runtime.artifact.importing")
    return importing is not None and str(scope.get("__name__")).startswith(importing.PREFIX)
