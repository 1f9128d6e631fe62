"""Have coverage trace what adds to its figure, and nothing else: traced, Python takes twice as long.

`tests/conftest.py` imports the hooks of this module. The figure is that of a part of the suite, so it can
only be too low: all lines that only untraced tests run count as missing.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from coverage import Coverage

import tempo_runtime

_TESTS = Path(__file__).parents[1]
# Ways that other tests reach too.
_UNTRACED = {
    _TESTS / name
    for name in (
        "benchmarks/test_smoke.py",
        "clients/test_parity.py",
        "fidelity/test_values.py",
        "fuzz/test_codec.py",
        "fuzz/test_requests.py",
        "fuzz/test_surface.py",
    )
}
_ROWS = 250  # of a parametrized test

_FOLLOWING = "COVERAGE_PROCESS_CONFIG"
_FOLLOWED = pytest.StashKey[str]()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """End the measurements that coverage and pytest-cov have started in a worker by now.

    The one that pytest-cov starts next would pause these, and `no_cover` would resume them.
    """
    while hasattr(session.config, "workerinput") and (started := Coverage.current()):
        started.stop()


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Trace in workers tests only: the process that starts the workers imports all modules, traced."""
    if hasattr(session.config, "workerinput"):
        with _untraced():
            return (yield)
    if session.config.getoption("numprocesses", None) and Coverage.current():
        for module in pkgutil.walk_packages(tempo_runtime.__path__, "tempo_runtime."):
            importlib.import_module(module.name)
    return (yield)


def choose_untraced(items: Iterable[pytest.Item]) -> None:
    """Mark the tests that repeat what others do, with other values."""
    rows = Counter(map(_function, items))
    seen: Counter[str] = Counter()
    for item in items:
        function = _function(item)
        every = -(-rows[function] // _ROWS)
        generated = getattr(getattr(item, "obj", None), "is_hypothesis_test", False)
        if item.path in _UNTRACED or generated or seen[function] % every:
            item.add_marker(pytest.mark.no_cover)
        seen[function] += 1


def _function(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Have coverage follow the processes of tests that are marked `traced`, and of no others.

    Followed, a process takes half as much again of the processor. The marked tests reach every
    part that runs only in processes of its own.
    """
    how = item.config.stash.setdefault(_FOLLOWED, os.environ.get(_FOLLOWING, ""))
    os.environ[_FOLLOWING] = how if item.get_closest_marker("traced") else ""


@contextlib.contextmanager
def _untraced() -> Iterator[None]:
    trace, trace_of_threads = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)  # type: ignore[arg-type]
    try:
        yield
    finally:
        threading.settrace(trace_of_threads)  # type: ignore[arg-type]
        sys.settrace(trace)
