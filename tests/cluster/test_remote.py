"""From Python to a real cluster, on each platform that it has: deployed, called, found again, removed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tempo_runtime import DeploymentFailed, RemoteModel, deploy_remote, manifest, save, upload
from tempo_runtime.deploy.cluster.deploying import get_client, list_models
from tests.cluster.conftest import Space
from tests.cluster.models import double, parent, times

NAMES = {"cluster-parent", "cluster-double"}
X = np.array([1.0, 2.0])

pytestmark = [pytest.mark.timeout(1200), pytest.mark.slow]


async def test_it_is_deployed_called_found_again_and_removed(space: Space, tmp_path: Path) -> None:
    for each in (double, parent):
        folder = save(each, str(tmp_path / each.get_tempo().details.name))
        await asyncio.to_thread(upload, folder)
    options = space.options()
    remote = await asyncio.to_thread(deploy_remote, parent, options)
    np.testing.assert_array_equal(await remote.aio.predict(x=X), [3.0, 5.0])
    assert {each.name for each in await asyncio.to_thread(list_models, options)} == NAMES
    again = await asyncio.to_thread(get_client, "cluster-parent", options)
    np.testing.assert_array_equal(await again.aio.predict(x=X), [3.0, 5.0])
    await asyncio.to_thread(remote.undeploy)
    assert not await asyncio.to_thread(list_models, options)


async def test_the_cluster_s_own_check_takes_the_objects(space: Space) -> None:
    own = {} if space.platform == "seldon2" else {"min_available": 1, "spread": True}
    for more in ({}, own):
        text = manifest(parent, space.options(**more))
        await space.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", text=text)


async def test_uploaded_anew_under_its_uri_it_answers_anew_and_no_call_is_lost(
    space: Space, tmp_path: Path
) -> None:
    options = space.options()
    remote = await deployed(times(2.0, str(tmp_path / "times")), options)
    before, calling = await pods(space), Calling(remote)
    await deployed(times(3.0, str(tmp_path / "times")), options)
    np.testing.assert_array_equal(await remote.aio.predict(x=X), X * 3)
    answers = await calling.end()
    assert {tuple(each) for each in answers} == {tuple(X * 2), tuple(X * 3)}
    if space.platform != "seldon2":  # where a Server's pods serve whatever they are told to
        assert not before & await pods(space)
    await asyncio.to_thread(remote.undeploy)


async def test_a_pod_that_finds_another_artefact_says_so(space: Space, tmp_path: Path) -> None:
    options, folder = space.options(), str(tmp_path / "times")
    remote = await deployed(times(2.0, folder), options)
    later = times(3.0, folder)
    await asyncio.to_thread(save, later, environment=None)  # and not uploaded
    with pytest.raises(
        DeploymentFailed, match="the artefact at s3://tempo/cluster-times has the dig"
    ):
        await asyncio.to_thread(deploy_remote, later, options)
    np.testing.assert_array_equal(await remote.aio.predict(x=X), X * 2)
    await asyncio.to_thread(remote.undeploy)


async def deployed(pipeline: Any, options: Any) -> RemoteModel:
    """A pipeline that was saved and uploaded just before."""
    await asyncio.to_thread(save, pipeline, environment=None)
    await asyncio.to_thread(upload, pipeline)
    return await asyncio.to_thread(deploy_remote, pipeline, options)


async def pods(space: Space) -> set[str]:
    return set((await space.kubectl("get", "pods", "-o", "name")).split())


class Calling:
    """Calls a model, one call after the other, until it is ended."""

    def __init__(self, remote: RemoteModel) -> None:
        self._remote = remote
        self._ended = False
        self._task = asyncio.create_task(self._call())

    async def end(self) -> list[np.ndarray]:
        """Every answer; raises the error of a call that had none."""
        self._ended = True
        return await self._task

    async def _call(self) -> list[np.ndarray]:
        answers = []
        while not self._ended:
            answers.append(await self._remote.aio.predict(x=X))
        return answers
