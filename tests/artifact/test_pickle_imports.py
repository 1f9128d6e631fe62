"""The imports of a pickle, found without running it."""

from __future__ import annotations

import collections
import os
import pickle
from typing import Any

import dill
import pytest

from tempo_runtime import ArtifactDamaged
from tempo_runtime.artifact.pickle_imports import imports


class Runs:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("echo this must not run; exit 1",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_names_are_found_in_every_protocol(protocol: int) -> None:
    value = [collections.OrderedDict(a="a"), collections.Counter("b"), collections.OrderedDict()]
    found = imports(pickle.dumps(value, protocol))
    assert {"collections.OrderedDict", "collections.Counter"} <= set(found)
    assert len(found) == len(set(found))


def test_a_module_that_is_named_twice_is_found_twice() -> None:
    value = (pickle.Pickler, pickle.Unpickler, pickle.PickleBuffer, pickle.Pickler)
    names = [name.rpartition(".")[2] for name in imports(pickle.dumps(value))]
    assert names == ["Pickler", "Unpickler", "PickleBuffer"]


def test_an_import_that_would_run_a_command_is_named_and_not_run(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert imports(pickle.dumps(Runs())) == ["posix.system"]
    assert capfd.readouterr().out == ""


def test_a_function_that_dill_writes_by_value_is_read() -> None:
    here = {"x": 1}
    found = imports(dill.dumps(lambda: here, recurse=True))
    assert "dill._dill._create_function" in found


def test_a_file_that_is_not_a_pickle_is_refused() -> None:
    with pytest.raises(ArtifactDamaged, match="not a pickle"):
        imports(b"\x80\x05not a pickle")
