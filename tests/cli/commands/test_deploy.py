"""`tempo-runtime deploy`, `undeploy`, `ps`, `logs`, and `predict` on a deployment, with real servers."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tempo_runtime.cli.doctor import facts
from tempo_runtime.cli.options import complete_deployments, complete_targets
from tempo_runtime.deploy.local import find, records
from tests.deploy.conftest import alone
from tests.deploy.local.redeployed import Studio
from tests.helpers.command_line import run

_CODE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
_CODE += "from tempo_runtime.cli import main; main()"


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio(tmp_path_factory.mktemp("studio"))


@pytest.fixture(scope="module", autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where deployments are written down; none is left."""
    with alone(tmp_path_factory.mktemp("state")) as folder:
        yield folder
        left = [each.name for each in find.deployments()]
        for each in find.deployments():
            each.undeploy()
        assert left == []


@pytest.fixture(scope="module")
def plus(studio: Studio, state: Path) -> Iterator[Path]:
    """A pipeline that is deployed, to stay."""
    studio.plus(1.0)
    folder = studio.folder / "plus"
    code, printed, told = run("deploy", folder, "--json")
    assert code == 0, told
    assert [model["change"] for model in json.loads(printed)["models"]] == ["started", "started"]
    yield folder
    assert run("undeploy", "plus") == (0, "Undeployed plus\n", "")


def test_an_unchanged_deployment_keeps_running_when_deployed_again(plus: Path) -> None:
    code, printed, told = run("deploy", plus)
    assert code == 0, told
    assert "plus is ready at http://127.0.0.1:" in printed
    assert printed.count("unchanged") == 2
    assert "curl -s http://127.0.0.1:" in printed
    assert "tempo-runtime undeploy plus" in printed


def test_the_printed_lines_call_the_deployment(plus: Path) -> None:
    lines = run("deploy", plus)[1].splitlines()
    (curl,) = [line for line in lines if line.startswith("curl ")]
    words = [*shlex.split(curl), "-w", "%{http_code}"]
    answered = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert answered.endswith("200"), answered
    (predict,) = [line for line in lines if line.startswith("tempo-runtime predict ")]
    code, _, told = run(*shlex.split(predict)[1:])
    assert (code, told) == (0, "")


def test_ps_shows_each_model(plus: Path) -> None:
    code, printed, _ = run("ps")
    assert code == 0
    heading, first, second = printed.splitlines()
    assert heading.split() == ["deployment", "model", "state", "address", "runs", "as"]
    assert first.split()[:3] == ["plus", "plus", "ready"]
    assert second.split()[:2] == ["line", "ready"]
    (one,) = json.loads(run("ps", "--json")[1])
    assert (one["name"], one["target"], one["owner"]) == ("plus", "process", None)
    assert [model["state"] for model in one["models"]] == ["ready", "ready"]


def test_the_doctor_knows_the_servers_of_a_deployment(
    plus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = json.loads(run("ps", "--json")[1])
    ports = {model["name"]: int(model["url"].rpartition(":")[2]) for model in one["models"]}
    monkeypatch.setattr(facts, "PORTS", tuple(ports.values()))
    findings = {finding["check"]: finding for finding in json.loads(run("doctor", "--json")[1])}
    for name, port in ports.items():
        found = findings[f"port {port}"]
        assert (found["level"], found["found"]) == ("ok", f"your server of {name} answers there")
        assert "stop it: tempo-runtime undeploy plus" in found["remedy"]


def test_predict_calls_a_deployment_by_its_name(plus: Path) -> None:
    code, printed, told = run("predict", "plus", "--arg", "x=[[1.0], [2.0]]")
    assert (code, json.loads(printed)) == (0, [3.0, 5.0]), told


def test_an_unknown_name_is_reported_with_the_known_ones(plus: Path) -> None:
    code, _, told = run("predict", "pluss")
    assert code == 2
    assert (
        "'pluss' is neither a folder nor a URL, and there is no deployment 'pluss'; there are: plus"
        in (" ".join(told.split()))
    )
    assert run("undeploy", "pluss")[0] == 1
    assert run("logs", "pluss")[0] == 1


def test_the_name_of_a_deployment_precedes_a_folder_without_an_artifact(
    plus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("plus", "other"):
        (tmp_path / name).mkdir()
    code, printed, told = run("predict", "plus", "--arg", "x=[[1.0]]")
    assert (code, json.loads(printed)) == (0, [3.0]), told
    for folder in ("./plus", "other"):
        code, _, told = run("predict", folder, "--arg", "x=[[1.0]]")
        assert code == 1
        assert "there is no artifact in" in told


@pytest.mark.parametrize("command", ["predict", "explain"])
def test_help_says_that_a_deployment_can_be_called(command: str) -> None:
    assert "the name of a deployment" in " ".join(run(command, "--help")[1].split())


def test_logs_are_of_all_models_or_of_one(plus: Path) -> None:
    code, printed, _ = run("logs", "plus")
    assert code == 0
    assert {line.split(" | ")[0].strip() for line in printed.splitlines()} == {"plus", "line"}
    assert "HTTP server running on port" in run("logs", "plus", "--model", "line")[1]
    assert len(run("logs", "plus", "--model", "line", "-n", 2)[1].splitlines()) == 2
    assert run("logs", "plus", "-n", 0)[1] == ""
    code, _, told = run("logs", "plus", "--model", "other")
    assert (code, told) == (1, "Error: plus has no model 'other'; it has plus, line\n")


def test_names_are_completed(plus: Path) -> None:
    assert [item.value for item in complete_deployments(None, None, "pl")] == ["plus"]  # type: ignore[arg-type]
    assert [item.type for item in complete_targets(None, None, "x")] == ["dir"]  # type: ignore[arg-type]


@contextlib.contextmanager
def in_front(studio: Studio, name: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that deploys and stays, and the number of its server's."""
    studio.alone()
    command = ["deploy", str(studio.folder / "alone"), "--name", name, "--foreground", "--json"]
    with subprocess.Popen(
        [sys.executable, "-c", _CODE, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            printed = "".join(iter(process.stdout.readline, "}\n")) + "}"
            (model,) = json.loads(printed)["models"]
            yield process, int(model["place"].removeprefix("process "))
        finally:
            process.kill()
    assert not any(each.name == name for each in find.deployments())


def test_a_foreground_deployment_ends_at_ctrl_c(studio: Studio, state: Path) -> None:
    with in_front(studio, "front") as (process, server):
        assert any(each.name == "front" for each in find.deployments())
        servers = psutil.Process(process.pid).children(recursive=True)
        assert server in [each.pid for each in servers]
        os.kill(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert psutil.wait_procs(servers, timeout=60)[1] == []


def test_a_foreground_deployment_ends_with_its_server(studio: Studio, state: Path) -> None:
    with in_front(studio, "dies") as (process, server):
        os.kill(server, signal.SIGKILL)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Error: alone has ended: " in told


def test_following_a_log_ends_with_its_deployment(studio: Studio, state: Path) -> None:
    studio.alone()
    assert run("deploy", studio.folder / "alone")[0] == 0
    with subprocess.Popen(
        [sys.executable, "-c", _CODE, "logs", "alone", "--follow"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert "Started server process" in process.stdout.readline()
        assert run("undeploy", "alone", "--yes")[0] == 0
        process.stdout.read()
        assert process.wait(30) == 0


def test_all_are_undeployed(studio: Studio, plus: Path, state: Path) -> None:
    # Of the deployment that other tests use nothing is asked.
    studio.alone()
    with alone(state.parent / "another"):
        for name in ("one", "two"):
            assert run("deploy", studio.folder / "alone", "--name", name)[0] == 0
        assert run("undeploy", "--all")[1] == "Undeployed one\nUndeployed two\n"
        assert run("undeploy", "--all")[1] == "Nothing is deployed here\n"
        assert "tempo-runtime deploy" in run("ps")[1]


def test_several_of_one_name_are_told_apart_by_their_ids(state: Path) -> None:
    made = [records.create("twins", records.Process.of(os.getpid()), "http") for _ in range(2)]
    try:
        code, _, told = run("undeploy", "twins")
        assert code == 1
        assert "several deployments are called 'twins'; name one by its id: twins-" in told
        id_ = Path(made[0].folder).name
        assert run("undeploy", id_, id_) == (0, "Undeployed twins\n", "")
        assert find.get("twins").id == Path(made[1].folder).name
    finally:
        for each in made:
            each.remove()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["deploy", "nowhere"], "'nowhere' is neither a folder nor MODULE:NAME, such as shop:Shop"),
        (["deploy", "x:y", "--image", "a"], "--image needs --docker"),
        (["deploy", "x:y", "--docker", "--image", "a", "--image", "b"], "there is no module 'x'"),
        (["deploy", "x:y", "--env", "TOKEN"], "--env takes KEY=VALUE"),
        (["undeploy"], "name deployments, or give --all"),
        (["undeploy", "x", "--all"], "give names or --all, not both"),
    ],
)
def test_a_command_that_cannot_be_right_is_refused(command: list[str], said: str) -> None:
    code, _, told = run(*command)
    assert code == 2
    assert said in " ".join(told.split())


def test_a_pipeline_that_fails_is_one_line(studio: Studio, state: Path) -> None:
    studio.alone(fails=True)
    code, printed, told = run("deploy", studio.folder / "alone", "--name", "bad")
    assert (code, printed) == (1, "")
    assert told.splitlines()[-1].startswith(
        "Error: alone failed: pipeline 'alone': load raised ValueError: the moon is in the wrong place"
    )
    assert [each.name for each in find.deployments() if each.name == "bad"] == []
