"""deploy_local with containers: what is deployed, called, and ended."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tempo_runtime import (
    DeploymentFailed,
    DockerOptions,
    Model,
    ModelFramework,
    RemoteModel,
    deploy_local,
)
from tempo_runtime.deploy.local import find as found
from tempo_runtime.deploy.local.labels import PREFIX
from tests.containers.deploy.conftest import Readable
from tests.containers.running import printed, readable
from tests.helpers.packed_environment import Project
from tests.helpers.remaining import serves

pytestmark = pytest.mark.slow
ROWS = np.array([[1.0, 1.0]])
SECRET = "swordfish"


@pytest.fixture(scope="module")
def remote(shop: Path, named: Callable[..., DockerOptions]) -> Iterator[RemoteModel]:
    """The shop with its children, which no test changes."""
    options = named(env={"TOKEN": SECRET}, memory="1g", cpus=1.5)
    with deploy_local(readable(shop.parent) / "shop", options) as found:
        yield found


@pytest.fixture(scope="module")
def containers(engine: Any, remote: RemoteModel) -> dict[str, Any]:
    """Its containers by the name of their model."""
    places = {each.name: each.place.removeprefix("container ") for each in remote.status()}
    return {name: engine.containers.get(place) for name, place in places.items()}


def test_a_pipeline_and_its_children_each_have_a_container(remote: RemoteModel) -> None:
    assert [(each.name, each.state) for each in remote.status()] == [
        ("shop", "ready"),
        ("prices", "ready"),
        ("tax", "ready"),
    ]
    assert len({each.place for each in remote.status()}) == 3
    assert remote.predict(ROWS, discount=2.0) == pytest.approx(6.0)
    for each in remote.status():
        assert each.url.startswith("http://127.0.0.1:")
        assert httpx.get(f"{each.url}/v2/models/{each.name}/ready").status_code == 200
    assert "Loaded model 'tax'" in remote.logs("tax")
    assert "== prices" in remote.logs()


def test_it_is_found_by_name_and_id(remote: RemoteModel) -> None:
    (one,) = found.find(remote.deployment.name)
    assert [each.id for each in found.find(one.id)] == [one.id]
    assert (one.target, one.owner, one.up) == ("docker", os.getpid(), True)
    assert (one.transport, one.created) == ("http", remote.deployment.created)
    assert one.main() == remote.deployment.main()
    assert one.models() == remote.status()


def test_a_container_may_do_little(containers: dict[str, Any]) -> None:
    for each in containers.values():
        host = each.attrs["HostConfig"]
        assert each.attrs["Config"]["User"] == "8888:0"
        assert host["ReadonlyRootfs"]
        assert not host["Privileged"]
        assert host["RestartPolicy"]["Name"] in ("", "no")
        assert (host["Memory"], host["NanoCpus"]) == (2**30, 1_500_000_000)
    tax = containers["tax"]
    _, status = printed(tax, "cat", "/proc/1/status")
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    for path, writes in {
        "/usr/x": 1,
        "/mnt/models/x": 1,
        "/tmp/x": 0,
        "/opt/mlserver/x": 0,
    }.items():
        assert tax.exec_run(["touch", path]).exit_code == writes


def test_a_container_has_what_the_operator_gives_it(containers: dict[str, Any]) -> None:
    config = containers["shop"].attrs["Config"]
    variables = dict(each.split("=", 1) for each in config["Env"])
    assert variables["MLSERVER_MODEL_NAME"] == variables["PREDICTIVE_UNIT_ID"] == "shop"
    assert variables["MLSERVER_MODEL_URI"] == "/mnt/models"
    assert variables["MLSERVER_HTTP_PORT"] == "9000"
    assert json.loads(variables["TEMPO_RUNTIME_MODELS"]) == {
        "prices": {"transport": "http", "url": "http://prices:9000"},
        "tax": {"transport": "http", "url": "http://tax:9000"},
    }
    assert config["Healthcheck"]["Test"] == ["CMD", "tempo-ready"]
    assert containers["shop"].exec_run(["tempo-ready"]).exit_code == 0


def test_labels_say_what_it_is_and_no_secret(
    engine: Any, containers: dict[str, Any], remote: RemoteModel
) -> None:
    for name, each in containers.items():
        labels = each.labels
        assert labels[f"{PREFIX}deployment"] == remote.deployment.id
        assert labels[f"{PREFIX}name"] == remote.deployment.name
        assert labels[f"{PREFIX}model"] == name
        assert json.loads(labels[f"{PREFIX}owner"])["pid"] == os.getpid()
        assert SECRET not in json.dumps(labels)
        assert SECRET not in remote.logs(name)
        assert f"TOKEN={SECRET}" in each.attrs["Config"]["Env"]
    (network,) = engine.networks.list(
        filters={"label": f"{PREFIX}deployment={remote.deployment.id}"}
    )
    assert network.name == f"tempo-{remote.deployment.id}"


def test_another_beside_it_is_called_over_grpc(
    shop: Path, remote: RemoteModel, options: DockerOptions
) -> None:
    env = {"TEMPO_RUNTIME_TRANSPORT": "grpc"}
    chosen = options.model_copy(update={"transport": "grpc", "env": env})
    with deploy_local(shop, chosen) as other:
        assert other.endpoint.startswith("grpc://127.0.0.1:")
        assert other.predict(ROWS, discount=2.0) == pytest.approx(6.0)
        assert remote.predict(ROWS, discount=2.0) == pytest.approx(6.0)
        known = [each.name for each in found.deployments()]
        assert {remote.deployment.name, other.deployment.name} <= {*known}


def test_a_model_of_one_file_is_deployed_until_it_is_undeployed(
    shop: Path, options: DockerOptions
) -> None:
    file = readable(shop.parent) / "prices/model.joblib"
    remote = deploy_local(
        Model("prices", platform=ModelFramework.SKLearn, local_folder=str(file)), options
    )
    np.testing.assert_allclose(remote.predict(ROWS), [6.0])
    url = remote.endpoint
    assert serves(url)
    remote.undeploy()
    remote.undeploy()
    assert remote.status() == []
    assert remote.logs() == ""
    with pytest.raises(DeploymentFailed, match="was undeployed or has ended; deploy it again"):
        remote.predict(ROWS)
    assert not serves(url)


def test_a_container_sees_of_a_model_of_one_file_that_file_alone(
    studio: Readable, options: DockerOptions, engine: Any
) -> None:
    studio.alone()
    file = (studio.folder / "line/model.joblib").rename(studio.folder / "line.joblib")
    readable(studio.folder)
    with deploy_local(
        Model("line", platform=ModelFramework.SKLearn, local_folder=str(file)), options
    ) as remote:
        assert remote.predict(np.array([[1.0]])) == [2.0]
        (model,) = remote.status()
        container = engine.containers.get(model.place.removeprefix("container "))
        assert printed(container, "ls", "/mnt/models") == (0, "line.joblib\n")


def test_another_port_is_chosen_if_it_is_taken_when_the_container_starts(
    studio: Readable, options: DockerOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    from docker.models.containers import Container

    start = Container.start
    with contextlib.ExitStack() as others:
        taken: list[int] = []

        def start_late(self: Container) -> None:
            self.reload()
            for bindings in self.attrs["HostConfig"]["PortBindings"].values():
                if bindings and not taken and (port := int(bindings[0]["HostPort"] or 0)):
                    others.enter_context(socket.create_server(("127.0.0.1", port)))
                    taken.append(port)
            start(self)

        monkeypatch.setattr(Container, "start", start_late)
        with deploy_local(studio.line, options) as remote:
            assert remote.status()[0].state == "ready"
        if not taken:
            pytest.skip("this engine chooses a port when it listens on it")


def test_a_container_runs_as_any_user_of_group_0(studio: Readable, options: DockerOptions) -> None:
    anybody = options.model_copy(update={"user": "1000650000:0"})
    with deploy_local(studio.line, anybody) as remote:
        assert remote.predict(np.array([[1.0]])) == [2.0]


def test_a_stream_gives_each_value(studio: Readable, options: DockerOptions) -> None:
    counting = studio.counting()
    readable(studio.folder)
    with deploy_local(counting, options) as remote:
        assert list(remote.stream(to=3)) == [1, 2, 3]


def test_an_environment_is_unpacked_to_a_volume_that_goes_with_it(
    project: Project, options: DockerOptions, engine: Any
) -> None:
    before = {each.name for each in engine.volumes.list()}
    with deploy_local(readable(project.artifact), options) as remote:
        answer = remote.predict("tempo")
        assert answer["prefix"].startswith("/opt/mlserver/environment.")
        own = {each.name for each in engine.volumes.list()} - before
        assert own
    assert own.isdisjoint(each.name for each in engine.volumes.list())
