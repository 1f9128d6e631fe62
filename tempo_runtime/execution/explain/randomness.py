"""A stream of numpy's global random numbers of one's own.

alibi, shap and scikit-learn draw with `np.random.choice(...)` and the like, from one generator the
whole process shares: what a request draws depends on what runs beside it. Inside `stream(seed)`
those functions draw from a generator that belongs to the request, and give what they would give
after `np.random.seed(seed)` if nothing else ran. So does `np.random.mtrand._rand`, which scikit-learn
and scipy take where `random_state=None`. Outside, they are what they were.

Each request that has a seed, its own or an explainer's, has a stream, in a server and in a call without
one. A generator that an instance or an explainer holds is copied for each request (`copies`).

Not reached: Python's `random`, which has one generator for all; what is drawn in threads that do not have
the request's context; code that took a function, or the generator, out of numpy.random before the first
stream was opened (`from numpy.random import choice`; the distributions of `scipy.stats`, as it is
imported).
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
    """Give the code inside its own stream; None leaves it the shared one.

    Holds for this context: coroutines awaited inside, and threads given a copy of it.
    """
    return nullcontext() if seed is None else _stream(seed)


@contextmanager
def stream_from(state: Any) -> Iterator[None]:
    """Give the code inside a stream that goes on from a generator's state; None changes nothing."""
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
    """Return the generator of the stream that is open; None outside of one."""
    return _current.get()


def own_of(generator: np.random.RandomState) -> np.random.RandomState:
    """Copy a generator in its present state; for numpy's shared one, return the stream's."""
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
    """Put a switch before each function of the shared generator, once."""
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
    """Stands for the generator of the stream that is open; for the shared one outside of any."""

    def __getattribute__(self, name: str) -> Any:
        own = _current.get()
        return getattr(_shared if own is None else own, name)


def _switch(shared: Callable[..., Any], method: str) -> Callable[..., Any]:
    @wraps(shared)
    def draw(*args: Any, **kwargs: Any) -> Any:
        own = _current.get()
        return shared(*args, **kwargs) if own is None else getattr(own, method)(*args, **kwargs)

    return draw
