"""`tempo-runtime doctor`: what is found for which facts, and that this machine can be looked at."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import PipelineModels, pipeline, save
from tempo_runtime.artifact import store, trust
from tempo_runtime.cli.doctor import artifact as artifacts
from tempo_runtime.cli.doctor import facts as gathering
from tempo_runtime.cli.doctor import machine, own_servers
from tempo_runtime.cli.doctor.facts import Facts, normal
from tempo_runtime.cli.doctor.findings import Finding, numbers
from tempo_runtime.cli.doctor.own_servers import OwnServer
from tests.helpers import pipelines
from tests.helpers.command_line import run

WELL = Facts(
    python=(3, 11, 7),
    packages={
        "mlserver": "1.7.1",
        "mlserver-sklearn": "1.7.1",
        "mlserver-alibi-explain": "1.6.1",
        "uvloop": "0.21.0",
        "pandas": "2.3.3",
        "pydantic": "2.14.4",
        "setuptools": "84.2.1",
        "scikit-learn": "1.9.1",
        "alibi": "0.9.4",
        "cryptography": "50.0.2",
        "redis": "8.1.0",
    },
    ports={8080: None, 8081: None, 8082: None},
    tools=dict.fromkeys(gathering.TOOLS, "/usr/bin/it"),
    space={"/tmp": 10**11},
)


def with_packages(**versions: str | None) -> Facts:
    packages = {**WELL.packages, **{normal(name): found for name, found in versions.items()}}
    return replace(
        WELL, packages={name: found for name, found in packages.items() if found is not None}
    )


def test_a_machine_on_which_all_is_well_is_all_ok() -> None:
    assert {finding.level for finding in machine.examine(WELL)} == {"ok"}


@pytest.mark.parametrize(
    ("facts", "level", "check", "words"),
    [
        (replace(WELL, python=(3, 13, 1)), "problem", "Python", "3.13.1.*uv venv --python 3.12"),
        (replace(WELL, python=(3, 9, 1)), "problem", "Python", "3.9.1"),
        (with_packages(mlserver=None), "problem", "MLServer", "not installed.*pip install"),
        (with_packages(mlserver="1.5.0"), "problem", "MLServer", "1.5.0.*pip install"),
        (with_packages(mlserver="1.8.0"), "problem", "MLServer", "1.8.0.*pip install"),
        (with_packages(uvloop="0.22.1"), "problem", "uvloop", "worker.*'uvloop<0.22'"),
        (with_packages(pandas="3.0.0"), "problem", "pandas", "KeyError.*'pandas<3'"),
        (with_packages(mlserver="1.6.1"), "problem", "setuptools", "pkg_resources.*<80"),
        (with_packages(pydantic="1.10.2"), "problem", "pydantic", "1.10.2.*pydantic>=2.7"),
        (
            with_packages(mlserver_sklearn="1.6.1"),
            "warning",
            "mlserver-sklearn",
            "1.6.1, and MLServer is 1.7.1.*mlserver-sklearn==1.7.1",
        ),
        (
            replace(WELL, broken={"grpc": "ImportError: no symbol"}),
            "problem",
            "import grpc",
            "ImportError: no symbol",
        ),
        (with_packages(scikit_learn=None), "info", "scikit-learn", r"tempo_runtime\[sklearn\]"),
        (with_packages(redis=None), "info", "redis", r"\[state\]"),
        (with_packages(alibi="0.9.6"), "info", "alibi", "Business Source.*alibi==0.9.4"),
        (
            replace(WELL, ports={8080: "is taken by process 7 (java)", 8081: None}),
            "warning",
            "port 8080",
            "process 7.*--port",
        ),
        (replace(WELL, tools={}), "info", "docker, podman", "not on the PATH.*containers"),
        (
            replace(WELL, engine=("tcp://nowhere:2375", "refused")),
            "info",
            "container engine",
            "refused.*set DOCKER_HOST",
        ),
        (
            replace(
                WELL, engine=("tcp://nowhere:2375", "refused"), environ={"DOCKER_HOST": "tcp:"}
            ),
            "warning",
            "container engine",
            "refused.*correct DOCKER_HOST",
        ),
        (
            replace(WELL, space={"/tmp": 10**9}),
            "warning",
            "disk space",
            "/tmp: 1.0 GB free.*TMPDIR",
        ),
        (replace(WELL, space={"/tmp": 10**8}), "problem", "disk space", "/tmp: 0.1 GB free"),
        (
            replace(WELL, environ={"MLSERVER_DEBUG": "true"}),
            "warning",
            "MLSERVER_DEBUG",
            "tracebacks",
        ),
        (
            replace(WELL, environ={"MLSERVER_MODEL_URI": "/mnt"}),
            "warning",
            "MLSERVER_MODEL_URI",
            "/mnt.*unset MLSERVER_MODEL_URI",
        ),
        (replace(WELL, environ={"IMPLEMENTATION": "x"}), "warning", "IMPLEMENTATION", "unset"),
        (replace(WELL, dotenv=("MLSERVER_HOST",)), "warning", ".env", "MLSERVER_HOST"),
    ],
)
def test_a_trap_is_found_with_its_remedy(facts: Facts, level: str, check: str, words: str) -> None:
    found = worse(machine.examine(facts))
    assert (level, check) in {(finding.level, finding.check) for finding in found}
    (finding,) = [finding for finding in found if finding.check == check]
    assert re.search(words, f"{finding.found} {finding.remedy}", re.DOTALL)
    assert finding.remedy


SERVED = replace(
    WELL,
    ports=dict.fromkeys((8080, 8081), "is taken by process 4711 (python)")
    | {8082: "is taken by process 7 (java)"},
)


@pytest.mark.parametrize(
    ("deployment", "stop"),
    [(None, "stop it: Ctrl-C where it was started, or kill 4711"), ("shop", "undeploy shop")],
)
def test_a_server_of_ours_is_not_a_conflict_and_is_named_with_what_to_do(
    deployment: str | None, stop: str
) -> None:
    facts = replace(SERVED, servers={8080: OwnServer(("shop", "tax"), deployment)})
    ours, other = machine.ports(facts)
    assert (ours.check, ours.level) == ("port 8080", "ok")
    assert ours.found == "your server of shop, tax answers there, and at 8081"
    call, ended, beside = ours.remedy.splitlines()
    assert call == "call it: tempo-runtime predict http://127.0.0.1:8080/v2/models/shop"
    assert ended.endswith(stop)
    assert "serve --port 0" in beside
    assert (other.check, other.level) == ("port 8082", "warning")


def test_a_server_of_ours_is_named_where_the_system_does_not_name_processes() -> None:
    ports = {port: f"is taken by another process (`lsof -i :{port}` shows it)" for port in (1, 2)}
    facts = replace(WELL, ports=ports, servers={1: OwnServer(("shop",))})
    ours, other = machine.ports(facts)
    assert (ours.found, other.check) == ("your server of shop answers there", "port 2")
    assert "kill" not in ours.remedy


def test_a_server_that_is_not_ours_is_not_taken_for_ours() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert own_servers.on({silent.getsockname()[1]: "is taken", 1: "is taken", 2: None}) == {}


def test_runtimes_for_another_version_of_mlserver_are_accepted() -> None:
    assert worse(machine.examine(with_packages(uvloop=None))) == []
    assert worse(machine.examine(with_packages(mlserver_alibi_explain="1.6.1"))) == []
    older = with_packages(mlserver="1.6.1", mlserver_sklearn="1.6.1", setuptools="79.0.1")
    assert worse(machine.examine(older)) == []


@pytest.mark.parametrize(
    ("version", "found"), [("1.7.1", (1, 7, 1)), ("0.22rc1", (0, 22)), ("", ()), ("dev", ())]
)
def test_a_version_s_numbers(version: str, found: tuple[int, ...]) -> None:
    assert numbers(version) == found


@pytest.fixture(name="bill")
def bill_artifact(tmp_path: Path) -> Path:
    return Path(save(pipelines.bill, str(tmp_path / "bill")))


def test_an_artifact_that_can_be_served_here_is_well(bill: Path) -> None:
    found = artifacts.examine(str(bill), gathering.gather())
    assert [finding.check for finding in worse(found)] == ["trust"]
    assert f"sha256:{'0' * 64}"[:7] in worse(found)[0].remedy


def test_an_artifact_of_another_python_is_a_problem_unless_its_environment_brings_it(
    bill: Path,
) -> None:
    edit(bill / "tempo.json", lambda manifest: manifest.update(python="3.8"))
    facts = gathering.gather()
    (found,) = problems(artifacts.examine(str(bill), facts))
    assert found.check == "saved with Python"
    assert "serve it with Python 3.8" in found.remedy
    pack(bill)
    assert problems(artifacts.examine(str(bill), facts)) == []


def test_packages_that_differ_are_warned_of_and_missing_ones_are_problems(bill: Path) -> None:
    packages = {"pandas": "2.3.3", "Scikit_Learn": "1.0", "gone": "2.0"}
    description = store.read_description(str(bill)).model_copy(update={"packages": packages})
    found = list(artifacts.packages(description, {}, WELL))
    assert [(each.check, each.level) for each in found] == [
        ("Scikit_Learn", "warning"),
        ("gone", "problem"),
    ]
    assert found[1].remedy == "pip install 'gone==2.0'"


def test_no_workers_for_an_environment_are_a_problem(bill: Path) -> None:
    pack(bill)
    (bill / "settings.json").write_text('{"parallel_workers": 0}')
    facts = gathering.gather()
    assert [each.check for each in problems(artifacts.examine(str(bill), facts))] == [
        "parallel workers"
    ]
    facts = replace(facts, environ={"MLSERVER_PARALLEL_WORKERS": "2"})
    assert problems(artifacts.examine(str(bill), facts)) == []


def test_an_interpreter_that_is_not_here_is_a_problem(bill: Path) -> None:
    environment = {"maker": "venv", "python": "3.11.7", "interpreter": "/no/such/python3.11"}
    edit(bill / "tempo.json", lambda manifest: manifest.update(environment=environment))
    pack(bill)
    (found,) = problems(artifacts.examine(str(bill), gathering.gather()))
    assert "/no/such/python3.11" in found.found
    assert "install Python 3.11.7 there" in found.remedy


def test_a_child_without_an_address_is_a_problem(tmp_path: Path) -> None:
    @pipeline("lonely", models=PipelineModels(double=pipelines.double))
    def lonely(x: int) -> int:
        return x

    save(lonely, str(tmp_path))
    (found,) = problems(artifacts.examine(str(tmp_path), gathering.gather()))
    assert "cannot locate child 'double' (double)" in found.found
    assert "TEMPO_RUNTIME_MODELS__DOUBLE__URL" in found.remedy


def test_a_file_that_is_not_the_saved_one_is_a_problem(bill: Path) -> None:
    (bill / store.PIPELINE).write_bytes(b"")
    assert [each.check for each in problems(artifacts.examine(str(bill), gathering.gather()))] == [
        "files"
    ]


def test_the_trust_policy_of_the_environment_is_checked(bill: Path) -> None:
    digest = store.read_description(str(bill)).digest
    facts = replace(gathering.gather(), environ={trust.EXPECTED_DIGEST: digest})
    assert worse(artifacts.examine(str(bill), facts)) == []
    other = f"sha256:{'0' * 64}"
    facts = replace(facts, environ={trust.EXPECTED_DIGEST: other})
    assert [each.check for each in problems(artifacts.examine(str(bill), facts))] == ["trust"]


def test_this_machine_is_examined(bill: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, printed, _ = run("doctor", bill)
    assert code == 0, printed
    for words in ("Python", "MLServer", "uvloop", "container engine", "saved with Python"):
        assert words in printed
    assert "no problems" in printed


def test_a_problem_exits_with_1_and_machines_get_json(
    bill: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "gather", lambda: replace(WELL, python=(3, 13, 0)))
    code, printed, _ = run("doctor", "--json")
    assert code == 1
    assert json.loads(printed)[0] == {
        "check": "Python",
        "level": "problem",
        "found": "3.13.0: MLServer supports 3.10, 3.11 and 3.12",
        "remedy": "create an environment with one of these: uv venv --python 3.12",
    }
    code, printed, _ = run("doctor")
    assert code == 1
    assert "1 problem, no warnings" in printed


def test_a_folder_without_an_artifact_is_reported(tmp_path: Path) -> None:
    code, _, told = run("doctor", tmp_path)
    assert code == 1
    assert "there is no artifact" in told


def test_facts_are_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("# a comment=1\nexport MLSERVER_HOST=0.0.0.0\nOTHER = 2\n")
    monkeypatch.setenv("TEMPO_RUNTIME_CACHE", str(tmp_path / "not/made"))
    with socket.create_server(("127.0.0.1", 0)) as engine:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{engine.getsockname()[1]}")
        found = gathering.gather()
    assert found.dotenv == ("MLSERVER_HOST", "OTHER")
    assert found.space[str(tmp_path / "not/made/environments")] > 0
    assert found.engine[1] is None
    assert found.packages["tempo-runtime"]
    assert found.broken == {}


def worse(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level != "ok"]


def problems(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level == "problem"]


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def pack(folder: Path) -> None:
    def change(settings: dict[str, Any]) -> None:
        settings["parameters"]["environment_tarball"] = "./environment.tar.gz"

    edit(folder / store.MODEL_SETTINGS, change)
    (folder / "environment.tar.gz").touch()
