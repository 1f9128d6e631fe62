"""Changes of a deployment, and what it keeps when it is deployed again."""

from __future__ import annotations

import os
import signal

import numpy as np
import psutil
import pytest

from tempo_runtime import (
    ArtifactError,
    DockerOptions,
    LocalOptions,
    SettingsError,
    deploy_local,
    save,
)
from tempo_runtime._util.ports import reserved
from tempo_runtime.deploy.deployment import with_child_addresses
from tempo_runtime.deploy.local import find
from tempo_runtime.deploy.local.records import Record
from tempo_runtime.deploy.options import LocalDeploymentOptions
from tempo_runtime.servers.repository import Served
from tempo_runtime.testing import FakeModel
from tests.deploy.conftest import MARK, eventually
from tests.deploy.local.deploying_process import starting
from tests.deploy.local.redeployed import Studio
from tests.deploy.local.test_rolling import places
from tests.helpers.remaining import left

X = np.array([[1.0]])
_DEPLOYER = """
import sys
from tempo_runtime import LocalOptions, TempoError, deploy_local
try:
    deploy_local(sys.argv[1], LocalOptions.model_validate_json(sys.argv[2]))
    print("deployed")
except TempoError as error:
    print(error)
"""


def test_a_model_in_the_process_of_its_pipeline_that_was_trained_again_is_a_change(
    studio: Studio, options: LocalOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPO_RUNTIME_MODELS__LINE__TRANSPORT", "in_process")
    plus = studio.plus(1.0)
    with deploy_local(plus, options) as remote:
        assert remote.predict(X) == [3.0]
        studio.train(10.0)
        assert deploy_local(plus, options).changes == {"plus": "replaced"}
        assert remote.predict(X) == [11.0]


def test_a_changed_object_is_saved_and_deployed(studio: Studio, options: LocalOptions) -> None:
    plus = type(studio.plus(1.0))
    with deploy_local(plus(2.0), options) as remote:
        assert remote.predict(X) == [4.0]
        assert deploy_local(plus(2.0), options).changes == {
            "plus": "unchanged",
            "line": "unchanged",
        }
        assert deploy_local(plus(3.0), options).changes == {"plus": "replaced", "line": "unchanged"}
        assert remote.predict(X) == [5.0]
        with pytest.raises(ArtifactError, match=r"changed since .* was saved: save it again"):
            deploy_local(plus(4.0), options, stale="refuse")
        assert remote.predict(X) == [5.0]
        folder = str(studio.folder / "plus")
        assert deploy_local(folder, options, stale="refuse").changes["plus"] == "unchanged"


def test_a_changed_child_in_its_pipelines_process_replaces_both(
    studio: Studio, options: LocalOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPO_RUNTIME_MODELS__WORD__TRANSPORT", "in_process")
    word, says = studio.saying("one")
    save(word)
    save(says)
    with deploy_local(says, options) as remote:
        assert remote.predict() == "says one"
        _, says = studio.saying("two")
        assert deploy_local(says, options).changes == {"says": "replaced"}
        assert remote.predict() == "says two"


def test_a_setting_in_the_environment_is_a_change(
    studio: Studio, options: LocalOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    plus = studio.plus(1.0)
    with FakeModel("line", np.array([5.0])) as first, FakeModel("line", np.array([7.0])) as second:
        monkeypatch.setenv("TEMPO_RUNTIME_MODELS__LINE__URL", first.url)
        with deploy_local(plus, options) as remote:
            assert remote.predict(X) == [6.0]
            monkeypatch.setenv("TEMPO_RUNTIME_MODELS__LINE__URL", second.url)
            deploy_local(plus, options)
            assert remote.predict(X) == [8.0]


def test_a_port_that_it_has_can_be_asked_for_again_beside_another_for_grpc(
    studio: Studio, options: LocalOptions
) -> None:
    alone = studio.alone()
    with (
        reserved() as port,
        reserved() as grpc_port,
        deploy_local(alone, options.model_copy(update={"port": port})) as remote,
    ):
        before = places(remote)
        both = options.model_copy(update={"port": port, "grpc_port": grpc_port})
        again = deploy_local(alone, both)
        assert places(again) != before
        assert again.status()[0].grpc == f"grpc://127.0.0.1:{grpc_port}"
        assert again.predict() == "first"


def test_a_host_with_a_name_is_the_same_the_second_time(
    studio: Studio, options: LocalOptions
) -> None:
    with reserved() as port:
        chosen = options.model_copy(update={"host": "localhost", "port": port})
        with deploy_local(studio.alone(), chosen) as remote:
            assert deploy_local(studio.alone(), chosen).changes == {"alone": "unchanged"}
            assert remote.predict() == "first"


def test_a_host_of_ipv6_is_refused() -> None:
    with pytest.raises(SettingsError, match="host: MLServer cannot listen on an IPv6 address"):
        LocalOptions(host="::1")


@pytest.mark.parametrize("options", [LocalOptions, DockerOptions])
def test_one_port_for_both_protocols_is_refused(options: type[LocalDeploymentOptions]) -> None:
    with pytest.raises(SettingsError, match="grpc_port: 9000 is already the port for HTTP"):
        options(port=9000, grpc_port=9000)
    assert options(port=0, grpc_port=0).grpc_port == 0


@pytest.mark.parametrize("said", ["nojson", "5", "[1]", '{"other'])
def test_settings_of_models_that_are_not_an_object_are_reported_with_the_variable(
    said: str,
) -> None:
    environ = {"TEMPO_RUNTIME_MODELS": said}
    with pytest.raises(SettingsError, match=r"^TEMPO_RUNTIME_MODELS: .*; correct the variable$"):
        with_child_addresses(environ, Served("m", {}, "/m"), {})


def test_servers_that_were_replaced_leave_no_process_behind(
    studio: Studio, options: LocalOptions
) -> None:
    before = {child.pid for child in psutil.Process().children()}
    with deploy_local(studio.alone("first"), options):
        for answer in ("second", "third", "fourth"):
            deploy_local(studio.alone(answer), options)
    assert {child.pid for child in psutil.Process().children()} <= before


def test_two_processes_deploy_one_name_one_after_the_other(
    studio: Studio, options: LocalOptions
) -> None:
    studio.alone("first")
    chosen = options.model_copy(update={"detached": True})
    told = [str(studio.folder / "alone"), chosen.model_dump_json()]
    try:
        with starting(_DEPLOYER) as start:
            both = [start(*told), start(*told)]
            assert [process.communicate()[0] for process in both] == ["deployed\n"] * 2
        assert len(list(find.find("alone"))) == 1
        assert len(left(MARK, options.env[MARK])) == 1
    finally:
        for each in find.find("alone"):
            each.undeploy()


def test_a_deployer_learns_that_its_deployment_was_undeployed_meanwhile(
    studio: Studio, options: LocalOptions
) -> None:
    studio.alone("first")
    chosen = options.model_copy(update={"detached": True})
    with starting(_DEPLOYER) as start:
        process = start(str(studio.folder / "alone"), chosen.model_dump_json())
        assert eventually(lambda: len(left(MARK, options.env[MARK])) == 1, 60)
        for each in find.find("alone"):
            each.undeploy()
        assert process.communicate()[0] == "alone was undeployed in the meantime\n"


def test_a_deployment_whose_servers_end_before_its_record_is_removed_says_that_it_was_undeployed(
    studio: Studio, options: LocalOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio.alone("first")
    chosen = options.model_copy(update={"detached": True})
    with starting(_DEPLOYER) as start:
        process = start(str(studio.folder / "alone"), chosen.model_dump_json())
        assert eventually(lambda: len(left(MARK, options.env[MARK])) == 1, 60)
        told: list[str] = []
        remove = Record.remove

        def remove_once_told(record: Record) -> None:
            told.append(process.communicate()[0])
            remove(record)

        monkeypatch.setattr(Record, "remove", remove_once_told)
        for each in find.find("alone"):
            each.undeploy()
    assert told == ["alone was undeployed in the meantime\n"]


def test_a_detached_deployment_is_still_known_with_its_log_when_its_server_has_died(
    studio: Studio, options: LocalOptions
) -> None:
    chosen = options.model_copy(update={"detached": True})
    remote = deploy_local(studio.alone(), chosen)
    try:
        (server,) = left(MARK, options.env[MARK])
        os.kill(server.pid, signal.SIGKILL)
        assert eventually(lambda: remote.status()[0].state == "ended", 30)
        assert "HTTP server running" in find.get("alone").logs()["alone"]
    finally:
        for each in find.find("alone"):
            each.undeploy()
