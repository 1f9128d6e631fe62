"""A stream of numpy's global random numbers of one's own.

alibi, shap and scikit-learn draw with `np.random.choice(...)` and the like, from one generator the
whole process shares: what a request draws depends on what runs beside it. Inside `stream(seed)`
those functions draw from a generator that belongs to the request, and give what they would give
after `np.random.seed(seed)` if nothing else ran. Outside, they are what they were.

Not reached: code that took a function out of numpy.random before the first stream was opened
(`from numpy.random import choice`), or that draws from `np.random.mtrand._rand` itself.
"""

from __future__ import annotations

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
_installed = False


def stream(seed: int | None) -> AbstractContextManager[None]:
    """Gives the code inside its own stream; None leaves it the shared one.

    Holds for this context: coroutines awaited inside, and threads given a copy of it.
    """
    return nullcontext() if seed is None else _stream(seed)


@contextmanager
def _stream(seed: int) -> Iterator[None]:
    _install()
    token = _current.set(np.random.RandomState(seed))
    try:
        yield
    finally:
        _current.reset(token)


def _install() -> None:
    """Puts a switch before each function of the shared generator, once."""
    global _installed
    with _lock:
        if _installed:
            return
        for name in dir(np.random):
            method = _ALIASES.get(name, name)
            if name[0].islower() and callable(getattr(np.random.RandomState, method, None)):
                setattr(np.random, name, _switch(getattr(np.random, name), method))
        _installed = True


def _switch(shared: Callable[..., Any], method: str) -> Callable[..., Any]:
    @wraps(shared)
    def draw(*args: Any, **kwargs: Any) -> Any:
        own = _current.get()
        return shared(*args, **kwargs) if own is None else getattr(own, method)(*args, **kwargs)

    return draw
