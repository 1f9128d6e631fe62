"""The modules that a served artifact brings into the process, and their removal."""

# mypy: disable-error-code="type-arg, no-any-return, attr-defined, import-untyped, empty-body"

from __future__ import annotations

import gc
import sys
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tempo_runtime
from tempo_runtime import (
    Model,
    ModelFramework,
    PipelineModels,
    loadmethod,
    pipeline,
    predictmethod,
)
from tempo_runtime.artifact import store
from tempo_runtime.execution.explain import isolation  # noqa: F401 - the first service would import it
from tempo_runtime.execution.loading import LoadedPipeline
from tempo_runtime.request.portal import Portal
from tempo_runtime.settings import PipelineSettings
from tests.deploy.conftest import eventually
from tests.helpers.author_module import own_module  # noqa: F401 - a fixture


def served(folder: str) -> LoadedPipeline:
    import asyncio

    opened, _ = store.unpickle(store.verify_folder(folder))
    return LoadedPipeline(opened, PipelineSettings(), Portal(asyncio.get_running_loop()), folder)


def forgotten(held: weakref.ref[Any]) -> bool:
    gc.collect()
    return held() is None


@pytest.mark.parametrize(("name", "value"), [("Outer", 6), ("calls", 3), ("Inner", 2)])
async def test_a_closed_service_leaves_no_module_behind(own: Any, name: str, value: int) -> None:
    tempo_runtime.save(own.Inner)
    folder = tempo_runtime.save(getattr(own, name))
    modules, finders = set(sys.modules), list(sys.meta_path)
    for _ in range(3):
        service = served(folder)
        assert await service.runner.run({"value": 2}) == value
        held = weakref.ref(service.runner.pipeline.target)
        await service.close()
        await service.close()
        assert (set(sys.modules), sys.meta_path) == (modules, finders)
        del service
        assert eventually(partial(forgotten, held), 30)  # on a busy machine it takes some moments


async def test_a_service_that_fails_to_start_leaves_no_module_behind(
    own: Any, tmp_path: Path
) -> None:
    folder = tempo_runtime.save(own.Outer)  # its child was not saved
    modules, finders = set(sys.modules), list(sys.meta_path)
    with pytest.raises(tempo_runtime.SettingsError, match="inner"):
        served(folder)
    assert (set(sys.modules), sys.meta_path) == (modules, finders)


async def test_a_served_pipeline_is_loaded_once(tmp_path: Path) -> None:
    def loading() -> Any:
        @pipeline("loading")
        class Loading:
            loads = 0

            @loadmethod
            def load(self) -> None:
                self.loads += 1

            @predictmethod
            def predict(self, again: bool) -> int:
                return self.predict(False) if again else self.loads

        return Loading

    service = served(tempo_runtime.save(loading(), str(tmp_path)))
    assert await service.runner.run({"again": True}) == 1
    await service.close()


def test_an_array_argument_of_the_constructor_is_carried(tmp_path: Path) -> None:
    def weighted() -> Any:
        @pipeline("weighted", models=PipelineModels(m=Model("m", platform=ModelFramework.ONNX)))
        class Weighted:
            def __init__(self, weights: np.ndarray) -> None:
                self.weights = weights

            @predictmethod
            def predict(self, rows: np.ndarray) -> np.ndarray:
                return rows @ self.weights

        return Weighted

    tempo_runtime.save(weighted()(np.array([1.0, 2.0])), str(tmp_path))
    loaded = tempo_runtime.load(str(tmp_path))
    np.testing.assert_array_equal(loaded.predict(np.ones((2, 2))), [3, 3])
    assert loaded.get_tempo().declared.m.details.local_folder is None
