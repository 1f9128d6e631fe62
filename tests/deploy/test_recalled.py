"""A client can be pickled and copied, and calls the model from any process."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tempo_runtime import DeploymentFailed, LocalOptions, RemoteModel, deploy_local, save
from tests.deploy.conftest import MARK, alone
from tests.helpers import pipelines
from tests.helpers.remaining import left

ROOT = Path(__file__).resolve().parents[2]
X = np.array([1.0, 2.0])
CALL = """
import asyncio, pickle, sys
import numpy as np
remote = pickle.loads(sys.stdin.buffer.read())
x = np.array([1.0, 2.0])
print(remote.predict(x).tolist(), asyncio.run(remote.aio.predict(x)).tolist())
print(remote.deployment.name, remote.endpoint, [model.state for model in remote.status()])
"""


@pytest.fixture(scope="module", params=["http", "grpc"])
def remote(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RemoteModel]:
    """A model that several tests call."""
    mark = uuid.uuid4().hex
    folder = tmp_path_factory.mktemp("recalled")
    with alone(folder / "state"):
        options = LocalOptions(env={MARK: mark}, timeout=120, transport=request.param)
        with deploy_local(save(pipelines.double, str(folder / "double")), options) as remote:
            remote.predict(X)  # so that there are connections
            yield remote
    assert not left(MARK, mark)


def test_a_pickled_client_calls_the_model_from_another_process(remote: RemoteModel) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", CALL],
        input=pickle.dumps(remote),
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        check=False,
    )
    lines = ran.stdout.decode().splitlines()
    assert lines == [
        "[2.0, 4.0] [2.0, 4.0]",
        f"double {remote.endpoint} ['ready']",
    ], ran.stderr.decode()


def test_a_pickle_of_a_pickle_is_the_same_client(remote: RemoteModel) -> None:
    again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(remote))))
    assert repr(again) == repr(remote)
    assert (again.deployment.id, again.deployment.owner) == (
        remote.deployment.id,
        remote.deployment.owner,
    )
    assert again.logs() == remote.logs()
    assert again.predict(X).tolist() == [2.0, 4.0]


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copy_belongs_to_the_same_deployment(remote: RemoteModel, duplicate: object) -> None:
    assert callable(duplicate)
    copied = duplicate(remote)
    assert copied.deployment is remote.deployment
    assert copied._connection is None
    assert copied.predict(X).tolist() == [2.0, 4.0]


def test_a_pickled_client_undeploys_the_model(options: LocalOptions, tmp_path: Path) -> None:
    # By another name: a second deployment of one name replaces the first.
    options = options.model_copy(update={"name": "removed"})
    with deploy_local(save(pipelines.double, str(tmp_path / "double")), options) as remote:
        again = pickle.loads(pickle.dumps(remote))
        again.undeploy()
        assert remote.status() == []
        for client in (remote, again):
            with pytest.raises(DeploymentFailed):
                client.predict(X)
        with pytest.raises(DeploymentFailed, match="removed was undeployed"):
            pickle.dumps(remote)
