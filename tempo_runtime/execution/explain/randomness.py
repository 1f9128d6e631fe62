"""Give each request its own stream of numpy's global random numbers.

alibi, shap and scikit-learn use `np.random.choice(...)` and similar functions, whose generator the whole
process shares: the numbers of a request depend on the code that runs at the same time. Inside
`stream(seed)` these functions use a generator of the request, and return the same numbers as after
`np.random.seed(seed)` in a process that does nothing else. So does `np.random.mtrand._rand`, which
scikit-learn and scipy use for `random_state=None`. Outside of a stream nothing changes.

Each request with a seed, its own or that of an explainer, has a stream, in a server and in direct calls.
Generators in the attributes of an instance or an explainer are copied for each request (`copies`).

This does not cover Python's `random`, which has one generator for all; threads without the request's
context; and code that took a function or the generator from numpy.random before the first stream was
opened (`from numpy.random import choice`; the distributions of `scipy.stats`, when it is imported).
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import wraps
from typing import Any

import numpy as np

_current: ContextVar[np.random.RandomState | None] = ContextVar("tempo_random", default=None)
_lock = threading.Lock()
_ALIASES = {"ranf": "random_sample", "sample": "random_sample"}
_shared: np.random.RandomState = np.random.mtrand._rand
_installed = False


def stream(seed: int | None) -> AbstractContextManager[None]:
    """Open a stream for the block; None leaves it the shared generator.

    The stream belongs to this context, with the coroutines awaited in it, and threads with a copy of it.
    """
    return nullcontext() if seed is None else _stream(seed)


@contextmanager
def stream_from(state: Any) -> Iterator[None]:
    """Open a stream for the block that continues from a generator's state; None changes nothing."""
    if state is None:
        yield
        return
    _install()
    generator = np.random.RandomState()
    generator.set_state(state)
    token = _current.set(generator)
    try:
        yield
    finally:
        _current.reset(token)


def own() -> np.random.RandomState | None:
    """Return the generator of the current stream; None outside of a stream."""
    return _current.get()


def own_of(generator: np.random.RandomState) -> np.random.RandomState:
    """Copy a generator in its present state; for numpy's shared one, return that of the stream."""
    if generator is _shared or isinstance(generator, _Switch):
        return _current.get() or generator
    return copy.deepcopy(generator)


@contextmanager
def _stream(seed: int) -> Iterator[None]:
    _install()
    token = _current.set(np.random.RandomState(seed))
    try:
        yield
    finally:
        _current.reset(token)


def _install() -> None:
    """Replace the functions of the shared generator by ones that use the stream; only once."""
    global _installed
    with _lock:
        if _installed:
            return
        for name in dir(np.random):
            method = _ALIASES.get(name, name)
            if name[0].islower() and callable(getattr(np.random.RandomState, method, None)):
                setattr(np.random, name, _switch(getattr(np.random, name), method))
        np.random.mtrand._rand = _Switch()
        _installed = True


class _Switch(np.random.RandomState):
    """Forwards to the generator of the current stream, or to the shared one outside of a stream."""

    def __getattribute__(self, name: str) -> Any:
        generator = _current.get()
        return getattr(_shared if generator is None else generator, name)


def _switch(shared: Callable[..., Any], method: str) -> Callable[..., Any]:
    @wraps(shared)
    def draw(*args: Any, **kwargs: Any) -> Any:
        generator = _current.get()
        function = shared if generator is None else getattr(generator, method)
        return function(*args, **kwargs)

    return draw
