"""deploy_local with processes: what is deployed, called, and ended."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
import sys
import time
import weakref
from pathlib import Path

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
    SettingsError,
    deploy_local,
)
from tempo_runtime._util.ports import reserved
from tempo_runtime.deploy.local import find, server
from tempo_runtime.deploy.local.records import Process, ServerRecord
from tests.deploy.conftest import MARK
from tests.deploy.local.redeployed import Studio
from tests.helpers.remaining import left, serves

pytestmark = pytest.mark.traced

X = np.array([[1.0], [2.0]])


def listened(pid: int) -> set[str]:
    """Return the addresses that a process listens on."""
    connections = psutil.Process(pid).net_connections("inet")
    return {each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN}


def test_a_pipeline_and_its_child_each_have_a_server(studio: Studio, options: LocalOptions) -> None:
    with deploy_local(studio.plus(1.0), options) as remote:
        plus, line = remote.status()
        assert (plus.name, plus.state) == ("plus", "ready")
        assert (line.name, line.state) == ("line", "ready")
        assert plus.place != line.place
        assert plus.url != line.url
        for model in (plus, line):
            assert httpx.get(f"{model.url}/v2/models/{model.name}/ready").status_code == 200
        np.testing.assert_array_equal(remote.predict(X), [3.0, 5.0])
        np.testing.assert_array_equal(remote.predict(x=X), [3.0, 5.0])
        assert asyncio.run(remote.aio.predict(X)).tolist() == [3.0, 5.0]
        assert httpx.post(
            f"{remote.endpoint}/infer",
            json={"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [4.0]}]},
        ).json()["outputs"][0]["data"] == [9.0]
        assert "HTTP server running" in remote.logs("line")
        assert "== plus" in remote.logs()


def test_a_remote_model_that_is_forgotten_is_gone_at_once_with_its_connection(
    studio: Studio, options: LocalOptions
) -> None:
    alone = studio.alone()
    with deploy_local(alone, options):
        again = deploy_local(alone, options)
        assert asyncio.run(again.aio.predict()) == "first"
        known = weakref.ref(again)
        del again
        assert known() is None


def test_no_one_else_gets_a_port_of_a_server_while_it_loads(
    studio: Studio, options: LocalOptions
) -> None:
    with deploy_local(studio.grabbing(), options) as remote:
        taken = os.strerror(errno.EADDRINUSE)
        assert remote.predict() == f"HTTP: {taken}, GRPC: {taken}, METRICS: {taken}"


def test_grpc_and_a_child_over_grpc(
    studio: Studio, options: LocalOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPO_RUNTIME_MODELS__LINE__TRANSPORT", "grpc")
    with deploy_local(studio.plus(1.0), options.model_copy(update={"transport": "grpc"})) as remote:
        assert remote.endpoint.startswith("grpc://127.0.0.1:")
        np.testing.assert_array_equal(remote.predict(X), [3.0, 5.0])


def test_a_plain_model_is_deployed(studio: Studio, options: LocalOptions) -> None:
    with deploy_local(studio.line, options) as remote:
        np.testing.assert_array_equal(remote(X), [2.0, 4.0])


def test_the_folder_of_an_artifact_is_deployed(studio: Studio, options: LocalOptions) -> None:
    studio.alone()
    with deploy_local(studio.folder / "alone", options) as remote:
        assert remote.predict() == "first"


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_a_stream_gives_each_value(studio: Studio, options: LocalOptions, transport: str) -> None:
    chosen = options.model_copy(update={"transport": transport})
    with deploy_local(studio.counting(), chosen) as remote:
        assert list(remote.stream(to=3)) == [1, 2, 3]

        async def collected() -> list[int]:
            return [value async for value in remote.aio.stream(2)]

        assert asyncio.run(collected()) == [1, 2]


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


def test_a_model_that_fails_says_why(studio: Studio, options: LocalOptions) -> None:
    with pytest.raises(DeploymentFailed, match=r"alone failed: .*the moon is in the wrong place"):
        deploy_local(studio.alone(fails=True), options)


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


def test_a_server_that_is_killed_while_it_loads_says_by_what(
    studio: Studio, options: LocalOptions
) -> None:
    with pytest.raises(DeploymentFailed, match=r"dying failed: its server was killed by SIGKILL"):
        deploy_local(studio.dying(), options)


def test_a_failure_is_reported_while_others_still_load(
    studio: Studio, options: LocalOptions
) -> None:
    with pytest.raises(DeploymentFailed, match="dying failed"):
        deploy_local(
            studio.dying(child=studio.stuck()), options.model_copy(update={"timeout": 20.0})
        )


def test_a_broken_link_is_not_an_obstacle(studio: Studio, options: LocalOptions) -> None:
    (studio.folder / "line/.#lock").symlink_to("nowhere")
    with deploy_local(studio.line, options) as remote:
        np.testing.assert_array_equal(remote(X), [2.0, 4.0])


def test_children_are_on_loopback_where_the_pipeline_is_not(
    studio: Studio, options: LocalOptions
) -> None:
    with deploy_local(studio.plus(1.0), options.model_copy(update={"host": "0.0.0.0"})) as remote:
        plus, line = (listened(int(each.place.split()[1])) for each in remote.status())
        assert "0.0.0.0" in plus
        assert line <= {"127.0.0.1", "::ffff:127.0.0.1"}
        np.testing.assert_array_equal(remote.predict(X), [3.0, 5.0])


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


def test_an_asked_port_is_used(studio: Studio, options: LocalOptions) -> None:
    with (
        reserved() as port,
        deploy_local(studio.alone(), options.model_copy(update={"port": port})) as remote,
    ):
        assert remote.endpoint == f"http://127.0.0.1:{port}/v2/models/alone"


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


def test_a_bad_request_is_the_models_answer(studio: Studio, options: LocalOptions) -> None:
    with (
        deploy_local(studio.plus(1.0), options) as remote,
        pytest.raises(ChildFailed, match="model 'plus' at http"),
    ):
        remote.predict(np.ones((2, 7)))
