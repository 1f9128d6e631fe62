"""deploy_local with processes: what is deployed, called, and ended."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import subprocess
import sys
import time
import uuid
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from tempo_runtime import (
    ArtifactMissing,
    AuthoringError,
    ChildFailed,
    DeploymentFailed,
    LocalOptions,
    RemoteModel,
    SettingsError,
    deploy_local,
    save,
)
from tempo_runtime._util.ports import reserved
from tempo_runtime.deploy.local import find, server
from tempo_runtime.deploy.local.records import Process, ServerRecord
from tests.deploy.conftest import MARK, alone
from tests.deploy.local.redeployed import Studio
from tests.deploy.local.test_rolling import places
from tests.helpers import pipelines
from tests.helpers.remaining import left, serves

pytestmark = pytest.mark.traced

X = np.array([[1.0], [2.0]])


def listened(pid: int) -> set[str]:
    """Return the addresses that a process listens on."""
    connections = psutil.Process(pid).net_connections("inet")
    return {each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN}


@contextlib.contextmanager
def lasting(factory: pytest.TempPathFactory) -> Iterator[tuple[Path, LocalOptions]]:
    """A folder and options of deployments that several tests only ask."""
    mark = uuid.uuid4().hex
    folder = factory.mktemp("lasting")
    with alone(folder / "state"):
        yield folder, LocalOptions(env={MARK: mark}, timeout=120)
    assert not left(MARK, mark)


@dataclass
class Lasting:
    """A deployment that several tests only ask: what was deployed, the options, and its model."""

    deployed: Any
    options: LocalOptions
    remote: RemoteModel


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lasting]:
    """A pipeline and its child, called over HTTP."""
    with lasting(tmp_path_factory) as (folder, options):
        pipeline = Studio(folder).plus(1.0)
        with deploy_local(pipeline, options) as remote:
            yield Lasting(pipeline, options, remote)


@pytest.fixture(scope="module")
def plus(twice: Lasting) -> RemoteModel:
    return twice.remote


@pytest.fixture(scope="module")
def over_grpc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteModel]:
    """The same called over gRPC, and the pipeline is reached from everywhere."""
    with lasting(tmp_path_factory) as (folder, options), pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEMPO_RUNTIME_MODELS__LINE__TRANSPORT", "grpc")
        chosen = options.model_copy(update={"transport": "grpc", "host": "0.0.0.0"})
        with deploy_local(Studio(folder).plus(1.0), chosen) as remote:
            yield remote


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lasting]:
    """The folder of an artifact, at a port that was asked for."""
    with lasting(tmp_path_factory) as (folder, options), reserved() as port:
        save(pipelines.Searched, str(folder / "searched"))
        chosen = options.model_copy(update={"port": port, "page": False})
        with deploy_local(folder / "searched", chosen) as remote:
            yield Lasting(folder / "searched", chosen, remote)


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lasting]:
    """A pipeline that yields."""
    with lasting(tmp_path_factory) as (folder, options):
        pipeline = Studio(folder).counting()
        with deploy_local(pipeline, options) as remote:
            yield Lasting(pipeline, options, remote)


def test_the_servers_of_all_models_announce_binary_data(plus: RemoteModel) -> None:
    for model in plus.status():
        answer = httpx.get(f"{model.url}/v2").json()
        assert answer["extensions"] == ["binary_tensor_data"], model


def test_each_server_has_a_page_and_the_pipeline_s_shows_the_child(plus: RemoteModel) -> None:
    urls = [model.url for model in plus.status()]
    assert [httpx.get(url).status_code for url in urls] == [200] * len(urls)
    [pipeline] = httpx.get(f"{urls[0]}/pipelines.json").json()["pipelines"]
    [child] = pipeline["children"]
    assert list(child["breakers"]) == urls[1:]
    assert child["way"] == urls[1]


def test_a_server_has_no_page_if_an_option_refuses_it(asked: Lasting) -> None:
    [model] = asked.remote.status()
    assert httpx.get(model.url).status_code == 404


def test_a_pipeline_and_its_child_each_have_a_server(plus: RemoteModel) -> None:
    pipeline, line = plus.status()
    assert (pipeline.name, pipeline.state) == ("plus", "ready")
    assert (line.name, line.state) == ("line", "ready")
    assert pipeline.place != line.place
    assert pipeline.url != line.url
    for model in (pipeline, line):
        assert httpx.get(f"{model.url}/v2/models/{model.name}/ready").status_code == 200
    np.testing.assert_array_equal(plus.predict(X), [3.0, 5.0])
    np.testing.assert_array_equal(plus.predict(x=X), [3.0, 5.0])
    assert asyncio.run(plus.aio.predict(X)).tolist() == [3.0, 5.0]
    assert httpx.post(
        f"{plus.endpoint}/infer",
        json={"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [4.0]}]},
    ).json()["outputs"][0]["data"] == [9.0]
    assert "HTTP server running" in plus.logs("line")
    assert "== plus" in plus.logs()


def test_servers_of_unchanged_artifacts_continue(twice: Lasting) -> None:
    before = places(twice.remote)
    remote = deploy_local(twice.deployed, twice.options)
    assert places(remote) == before
    assert remote.endpoint == twice.remote.endpoint


def test_a_bad_request_is_the_models_answer(plus: RemoteModel) -> None:
    with pytest.raises(ChildFailed, match="model 'plus' at http"):
        plus.predict(np.ones((2, 7)))


def test_grpc_and_a_child_over_grpc(over_grpc: RemoteModel) -> None:
    assert over_grpc.endpoint.startswith("grpc://127.0.0.1:")
    np.testing.assert_array_equal(over_grpc.predict(X), [3.0, 5.0])


def test_children_are_on_loopback_where_the_pipeline_is_not(over_grpc: RemoteModel) -> None:
    pipeline, line = over_grpc.status()
    assert "0.0.0.0" in listened(int(pipeline.place.split()[1]))
    assert listened(int(line.place.split()[1])) <= {"127.0.0.1", "::ffff:127.0.0.1"}
    body = {"inputs": [{"name": "x", "shape": [2, 1], "datatype": "FP64", "data": [1.0, 2.0]}]}
    answer = httpx.post(f"{pipeline.url}/v2/models/plus/infer", json=body)
    assert answer.json()["outputs"][0]["data"] == [3.0, 5.0]


def test_the_folder_of_an_artifact_is_deployed(asked: Lasting) -> None:
    assert asked.remote.predict()["the pipeline"]


def test_an_asked_port_is_used(asked: Lasting) -> None:
    endpoint = f"http://127.0.0.1:{asked.options.port}/v2/models/searched"
    assert asked.remote.endpoint == endpoint


def test_the_garbage_collector_leaves_out_what_the_server_imported(asked: Lasting) -> None:
    assert asked.remote.predict() == {"mlserver": False, "the pipeline": True}


def test_a_remote_model_that_is_forgotten_is_gone_at_once_with_its_connection(
    asked: Lasting,
) -> None:
    again = deploy_local(asked.deployed, asked.options)
    assert asyncio.run(again.aio.predict())["the pipeline"]
    known = weakref.ref(again)
    del again
    assert known() is None


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_a_stream_gives_each_value(counting: Lasting, transport: str) -> None:
    chosen = counting.options.model_copy(update={"transport": transport})
    remote = deploy_local(counting.deployed, chosen)
    assert remote.changes == {"counting": "unchanged"}
    assert list(remote.stream(to=3)) == [1, 2, 3]

    async def collected() -> list[int]:
        return [value async for value in remote.aio.stream(2)]

    assert asyncio.run(collected()) == [1, 2]


def test_no_one_else_gets_a_port_of_a_server_while_it_loads(
    studio: Studio, options: LocalOptions
) -> None:
    with deploy_local(studio.grabbing(), options) as remote:
        taken = os.strerror(errno.EADDRINUSE)
        assert remote.predict() == f"HTTP: {taken}, GRPC: {taken}, METRICS: {taken}"


def test_an_undeployed_model_says_so(studio: Studio, options: LocalOptions) -> None:
    remote = deploy_local(studio.alone(), options)
    url = remote.endpoint
    assert serves(url)
    remote.undeploy()
    remote.undeploy()
    assert remote.status() == []
    assert remote.logs() == ""
    with pytest.raises(DeploymentFailed, match="alone was undeployed; deploy it again"):
        remote.predict()
    assert not serves(url)


def test_an_exception_in_the_block_ends_all(studio: Studio, options: LocalOptions) -> None:
    with pytest.raises(ZeroDivisionError), deploy_local(studio.alone(), options):
        _ = 1 / 0
    assert not left(MARK, options.env[MARK])


def test_two_deployments_side_by_side(studio: Studio, options: LocalOptions) -> None:
    alone = studio.alone()
    with deploy_local(alone, options) as one:
        named = options.model_copy(update={"name": "other"})
        with deploy_local(alone, named) as two:
            assert one.endpoint != two.endpoint
            assert (one.predict(), two.predict()) == ("first", "first")
            assert [each.name for each in find.deployments()] == ["alone", "other"]
        assert one.predict() == "first"


def test_a_deployment_is_found_by_name_and_id(studio: Studio, options: LocalOptions) -> None:
    with deploy_local(studio.alone(), options) as remote:
        (one,) = find.find("alone")
        assert [each.id for each in find.find(one.id)] == [one.id]
        assert one.owner == remote.deployment.owner
        assert one.main() == remote.deployment.main()
        one.undeploy()
        assert remote.status() == []
        with pytest.raises(DeploymentFailed):
            remote.predict()


def test_a_detached_deployment_is_not_its_deployers(studio: Studio, options: LocalOptions) -> None:
    remote = deploy_local(studio.alone(), options.model_copy(update={"detached": True}))
    try:
        assert remote.deployment.owner is None
        assert remote.predict() == "first"
    finally:
        (one,) = find.find("alone")
        one.undeploy()


def test_a_server_that_ends_between_two_polls_is_reported_with_its_status(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = "raise SystemExit('the moon is in the wrong place')"
    log = tmp_path / server.LOG
    with log.open("wb") as written:
        child = subprocess.Popen([sys.executable, "-c", code], stderr=written)
    process = Process.of(child.pid)
    child.wait()
    seen = iter([None, child.returncode])
    monkeypatch.setattr(child, "poll", lambda: next(seen))
    monkeypatch.setitem(server._children, child.pid, child)
    record = ServerRecord("late", process, str(tmp_path), "127.0.0.1", 1, 2, 3, fingerprint="")
    starting = server.StartingServer(record, 4)
    starting.check(time.monotonic() + 60)
    with pytest.raises(DeploymentFailed, match="late failed: the moon is in the wrong place"):
        starting.check(time.monotonic() + 60)


def test_a_server_that_is_killed_while_others_still_load_is_reported_at_once_with_the_signal(
    studio: Studio, options: LocalOptions
) -> None:
    with pytest.raises(DeploymentFailed, match=r"dying failed: its server was killed by SIGKILL"):
        deploy_local(
            studio.dying(child=studio.stuck()), options.model_copy(update={"timeout": 20.0})
        )


def test_a_plain_model_is_deployed_whatever_broken_links_its_folder_has(
    studio: Studio, options: LocalOptions
) -> None:
    (studio.folder / "line/.#lock").symlink_to("nowhere")
    with deploy_local(studio.line, options) as remote:
        np.testing.assert_array_equal(remote(X), [2.0, 4.0])


def test_a_model_that_is_not_ready_in_time_is_ended(studio: Studio, options: LocalOptions) -> None:
    with pytest.raises(DeploymentFailed, match="alone was not ready in time"):
        deploy_local(studio.alone(), options.model_copy(update={"timeout": 0.1}))


@pytest.mark.parametrize("which", ["port", "grpc_port"])
def test_a_taken_port_is_refused(studio: Studio, options: LocalOptions, which: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DeploymentFailed, match=f"port {port} of 127.0.0.1 is taken by process"):
            deploy_local(studio.alone(), options.model_copy(update={which: port}))


def test_a_host_of_another_machine_is_refused(studio: Studio, options: LocalOptions) -> None:
    with pytest.raises(
        DeploymentFailed, match=r"192\.0\.2\.1 cannot be listened on .*choose another"
    ):
        deploy_local(studio.alone(), options.model_copy(update={"host": "192.0.2.1"}))


def test_an_unsaved_pipeline_is_refused(studio: Studio, options: LocalOptions) -> None:
    alone = studio.alone()
    (studio.folder / "alone/tempo.json").unlink()
    with pytest.raises(ArtifactMissing):
        deploy_local(alone, options)


def test_a_model_without_a_folder_is_refused(studio: Studio, options: LocalOptions) -> None:
    (studio.folder / "line/model.joblib").unlink()
    (studio.folder / "line").rmdir()
    with pytest.raises(ArtifactMissing, match="line: there is no"):
        deploy_local(studio.line, options)


def test_an_object_that_is_not_a_model_is_refused(options: LocalOptions) -> None:
    with pytest.raises(AuthoringError, match="3 is neither a pipeline"):
        deploy_local(3, options)


def test_options_of_other_targets_are_refused(studio: Studio) -> None:
    with pytest.raises(SettingsError, match="LocalOptions, DockerOptions or SeldonCoreOptions"):
        deploy_local(studio.line, {"port": 1})  # type: ignore[arg-type]


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(SettingsError, match="LocalOptions: prot: there is no such option"):
        LocalOptions(prot=1)


def test_a_folder_that_cannot_be_written_is_named(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(DeploymentFailed, match="XDG_STATE_HOME"):
        deploy_local(studio.alone())
