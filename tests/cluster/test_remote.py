"""From Python to a real cluster, on each platform that it has: deployed, called, found again, removed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from tempo_runtime import deploy_remote, manifest, save, upload
from tempo_runtime.deploy.cluster.deploying import get_client, list_models
from tests.cluster.conftest import Space
from tests.cluster.models import double, parent

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
