"""The examples in the docstrings of the functions that users call first run as they stand."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import pytest

import tempo_runtime
from tempo_runtime.testing import fake_children

EXAMPLES: list[Any] = [
    tempo_runtime.Model,
    tempo_runtime.deploy_local,
    tempo_runtime.load,
    tempo_runtime.loadmethod,
    tempo_runtime.manifest,
    tempo_runtime.model,
    tempo_runtime.pipeline,
    tempo_runtime.predictmethod,
    tempo_runtime.save,
    tempo_runtime.upload,
    fake_children,
]


@pytest.mark.parametrize("documented", EXAMPLES, ids=lambda documented: documented.__name__)
def test_the_example_in_a_docstring_gives_what_it_shows(
    documented: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = documented.__name__
    parser, failures = doctest.DocTestParser(), list[str]()
    test = parser.get_doctest(documented.__doc__, {"__name__": "__main__"}, name, None, None)
    assert test.examples
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(test, out=failures.append)
    assert not failures, "".join(failures)
