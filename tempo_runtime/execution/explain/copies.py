"""What an explainer changes while it explains, copied; what it only reads, shared.

`KernelShap` and `TreeShap` keep the state of a call on objects of shap. What changes during a call is
small: a shallow copy of the objects alibi and shap made, and of the lists and dicts they hold, shares
all data.
"""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np

from tempo_runtime.authoring.instances import stored
from tempo_runtime.execution.explain import randomness

_DEPTH = 4  # pipeline -> explainer -> samplers -> sampler
_PACKAGES = ("alibi", "shap")


def copied(explainer: Any) -> Any:
    """Return a copy of an explainer that shares its data."""
    return _copy(explainer, _DEPTH, {})


def of_class(kind: Any, instance: Any) -> Any:
    """Return an object of another class that has all that an instance has."""
    made = kind.__new__(kind)
    vars(made).update(vars(instance))
    return made


def shallow(instance: Any) -> Any:
    """Copy an instance, sharing everything that it holds.

    Not `copy.copy`, which leaves out what `__getstate__` does: that is about what can be saved.
    """
    try:
        made = object.__new__(type(instance))
    except TypeError:  # a class derived from one of Python's own, such as dict
        return copy.copy(instance)
    for name, value in stored(instance).items():
        object.__setattr__(made, name, value)
    return made


def own_generator(value: Any) -> Any:
    """Copy a generator of random numbers in its present state; return anything else as it is.

    numpy's shared one stands for the request's own.
    """
    if isinstance(value, np.random.RandomState):
        return randomness.own_of(value)
    if isinstance(value, (np.random.Generator, random.Random)):
        return copy.deepcopy(value)
    return value


def _copy(value: Any, depth: int, done: dict[int, Any]) -> Any:
    if id(value) in done:
        return done[id(value)]
    if depth and is_of(value, _PACKAGES):
        own = done[id(value)] = copy.copy(value)
        for name, held in stored(value).items():
            vars(own)[name] = _copy(held, depth - 1, done)
        return own
    if depth and type(value) is list:
        return [_copy(element, depth - 1, done) for element in value]
    if depth and isinstance(value, dict):
        own = done[id(value)] = copy.copy(value)
        for key, held in value.items():
            if isinstance(held, dict):  # `meta["params"]`, which an explanation begins by changing
                own[key] = _copy(held, depth - 1, done)
        return own
    return own_generator(value)


def is_of(value: Any, packages: tuple[str, ...]) -> bool:
    """Return whether it is of a class of one of these packages, or one derived from such a class."""
    return any(kind.__module__.partition(".")[0] in packages for kind in type(value).__mro__)
