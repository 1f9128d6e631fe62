"""Results of a deployed model by the names of its outputs, and its names of tempo 0.5."""

from __future__ import annotations

import asyncio
import copy
import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tempo_runtime import LocalOptions, RemoteModel, deploy_local, save
from tests.deploy.conftest import MARK, alone
from tests.helpers import pipelines
from tests.helpers.remaining import left

pytestmark = pytest.mark.traced

ROWS = np.array([1.0, 2.0])


def deployed(target: Any, folder: Path) -> Iterator[RemoteModel]:
    options = LocalOptions(env={MARK: str(folder)}, timeout=120)
    with alone(folder / "state"):
        with deploy_local(target, options) as remote:
            yield remote
        assert not left(MARK, str(folder))


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteModel]:
    """A model whose results are a NamedTuple; its folder is one that `save` made."""
    folder = tmp_path_factory.mktemp("scored")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipelines.scored, "_details", pipelines.scored.details)  # back at the end
        with pytest.MonkeyPatch.context() as saving:
            saving.setattr(tempfile, "tempdir", str(folder))
            assert Path(save(pipelines.scored)).parent == folder
        yield from deployed(pipelines.scored, folder)


@pytest.fixture(scope="module")
def naming(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteModel]:
    """A model that has an argument `named`, deployed by its folder."""
    folder = tmp_path_factory.mktemp("naming")
    yield from deployed(save(pipelines.naming, str(folder / "artifact")), folder)


def test_a_named_tuple_of_the_signature_is_the_result(scored: RemoteModel) -> None:
    result = scored.predict(ROWS)
    assert type(result) is pipelines.Scored
    label, rows, named = result
    assert (label, result.label, named) == ("high", "high", False)
    np.testing.assert_array_equal(result.rows, rows)


def test_results_are_a_dict_by_name_where_that_is_asked_for(scored: RemoteModel) -> None:
    for result in (
        scored.predict(ROWS, named=True),
        scored(ROWS, named=True),
        asyncio.run(scored.aio.predict(ROWS, named=True)),
        asyncio.run(scored.aio(ROWS, named=True)),
    ):
        assert list(result) == ["label", "rows", "named"]
        assert result["label"] == "high"
        np.testing.assert_array_equal(result["rows"], ROWS)


def test_a_call_that_says_not_by_name_gives_the_result_itself(scored: RemoteModel) -> None:
    assert type(scored.predict(ROWS, named=False)) is pipelines.Scored
    assert type(asyncio.run(scored.aio.predict(ROWS, named=False))) is pipelines.Scored


def test_an_argument_called_named_reaches_the_model(naming: RemoteModel) -> None:
    assert naming.predict(1, named=True) is True
    assert naming.predict(1) is False
    assert asyncio.run(naming.aio.predict(1, named=True)) is True


def test_the_endpoint_is_a_property_and_says_so(scored: RemoteModel) -> None:
    assert scored.endpoint.endswith("/v2/models/scored")
    with pytest.raises(TypeError, match=r"in tempo 0\.5 a method; write remote\.endpoint"):
        scored.endpoint()  # type: ignore[operator]
    assert type(pickle.loads(pickle.dumps(scored.endpoint))) is str
    assert type(copy.deepcopy(scored.endpoint)) is str


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("manifest", r"write manifest\(pipeline, options\)"),
        ("deploy", "it is deployed; deploy_local or deploy_remote deploys"),
        ("model", "`details` describes it"),
        ("model_spec", "`details` has"),
        ("runtime", "`deployment` has its servers"),
        ("client_details", "`endpoint` and `headers`"),
        ("request", "call `predict` with values"),
        ("remote", "call `predict`"),
    ],
)
def test_an_attribute_of_tempos_remote_model_says_what_to_write(name: str, instead: str) -> None:
    with pytest.raises(AttributeError, match=rf"attribute '{name}', .*tempo 0\.5; {instead}"):
        getattr(RemoteModel, name)
