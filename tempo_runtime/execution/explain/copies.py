"""Copy the parts of an explainer that change during a call, and share the parts that it only reads.

`KernelShap` and `TreeShap` keep the state of a call in objects of shap. The parts that change are small:
shallow copies of the objects of alibi and shap, and of their lists and dicts, share all data.
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
    """Return an object of another class with all attributes of an instance."""
    converted = kind.__new__(kind)
    vars(converted).update(vars(instance))
    return converted


def shallow(instance: Any) -> Any:
    """Copy an instance, and share the values of its attributes.

    This does not use `copy.copy`, because `__getstate__` may omit attributes that cannot be saved.
    """
    try:
        duplicate = object.__new__(type(instance))
    except TypeError:  # a subclass of a built-in class such as dict
        return copy.copy(instance)
    for name, value in stored(instance).items():
        object.__setattr__(duplicate, name, value)
    return duplicate


def own_generator(value: Any) -> Any:
    """Copy a generator of random numbers in its present state; return other values as they are.

    For numpy's shared generator, return that of the request.
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
        duplicate = done[id(value)] = copy.copy(value)
        for name, attribute in stored(value).items():
            vars(duplicate)[name] = _copy(attribute, depth - 1, done)
        return duplicate
    if depth and type(value) is list:
        return [_copy(element, depth - 1, done) for element in value]
    if depth and isinstance(value, dict):
        duplicate = done[id(value)] = copy.copy(value)
        for key, item in value.items():
            if isinstance(item, dict):  # such as `meta["params"]`, which `explain` changes first
                duplicate[key] = _copy(item, depth - 1, done)
        return duplicate
    return own_generator(value)


def is_of(value: Any, packages: tuple[str, ...]) -> bool:
    """Return whether the class of a value, or one of its bases, is from one of these packages."""
    return any(base.__module__.partition(".")[0] in packages for base in type(value).__mro__)
