"""`tempo-runtime kubernetes` and `deploy --to kubernetes`, against an API on a real socket."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import deploy_remote, save
from tempo_runtime._util import extras
from tempo_runtime.cli.commands.kubernetes.common import complete_models
from tempo_runtime.kubernetes import diff
from tempo_runtime.testing import FakeModel
from tests.deploy.kubernetes.api_server import ApiServer, Object, failure
from tests.deploy.kubernetes.conftest import options, plus
from tests.deploy.kubernetes.test_deploy import there
from tests.deploy.kubernetes.test_pod_logs import put, put_pod
from tests.helpers.command_line import run

HERE = ("-n", "production")
pipeline = plus()
TARGET = f"{__name__}:pipeline"
AT = "http://{}-default.production.svc.cluster.local:9000"
STATES: list[Object] = [
    {"state": "Available"},
    {"state": "Creating"},
    {"state": "Failed", "description": "it rains"},
]


def command(*words: object) -> tuple[int, str, str]:
    return run("kubernetes", *words)


def deployed(api: ApiServer, *states: Object) -> None:
    """A pipeline and the model it calls, and how each gets on."""
    for name, state in zip(("plus", "line"), states, strict=False):
        put(api, name)
        api.state("seldondeployments", name, **state)


@pytest.mark.usefixtures("operator", "served")
@pytest.mark.parametrize("words", [("kubernetes", "deploy"), ("deploy", "--to", "kubernetes")])
def test_a_pipeline_is_deployed_and_reported_as_json(
    api: ApiServer, words: tuple[str, ...]
) -> None:
    code, printed, told = run(*words, TARGET, *HERE, "--secret", "minio", "--json")
    assert (code, told) == (0, "")
    found = json.loads(printed)
    models = found.pop("models")
    assert found == {
        "name": "plus",
        "id": api.objects["seldondeployments", "plus"]["metadata"]["uid"],
        "platform": "seldon",
        "namespace": "production",
        "endpoint": f"{AT.format('plus')}/v2/models/plus",
        "headers": {},
    }
    keys = ("name", "state", "url")
    assert [tuple(model[key] for key in keys) for model in models] == [
        (name, "ready", AT.format(name)) for name in ("plus", "line")
    ]
    assert api.objects["seldondeployments", "line"]["spec"]["predictors"][0]["graph"][
        "envSecretRefName"
    ]


@pytest.mark.usefixtures("operator", "served")
def test_the_lines_that_a_deployment_prints_can_be_run(api: ApiServer, tmp_path: Path) -> None:
    file = tmp_path / "production.yaml"
    file.write_text("namespace: production\nreplicas: 2\n")
    folder = save(plus(), str(tmp_path / "plus"))
    code, printed, told = run("deploy", "--to=kubernetes", folder, "-f", file)
    assert (code, told) == (0, "")
    assert f"✓ plus is ready at {AT.format('plus')}/v2/models/plus\n" in printed
    python = printed.partition("Call it from Python:")[2].partition("Watch it")[0]
    done = subprocess.run([sys.executable, "-c", python], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "[2.]\n"
    lines = [line for line in printed.splitlines() if line.startswith("tempo-runtime ")]
    assert [shlex.split(line)[2] for line in lines] == ["status", "logs", "undeploy"]
    for line in lines:
        code, _, told = run(*shlex.split(line)[1:])
        assert code == 0, told
    assert there(api) == set()


@pytest.mark.usefixtures("operator")
def test_a_failure_has_the_same_message_as_in_python(api: ApiServer) -> None:
    api.fault("PATCH", "/plus?", 403, failure(403, "forbidden"), times=2)
    code, printed, told = command("deploy", TARGET, *HERE)
    assert (code, printed) == (1, "")
    assert told.startswith("Error: you may not patch seldondeployments.machinelearning.seldon.io")
    assert told.count("\n") == 1


def test_ctrl_c_names_what_was_applied(api: ApiServer) -> None:
    words = ["kubernetes", "deploy", TARGET, *HERE]
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += f"from tempo_runtime.cli import main; main({words})"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert api.watches(3)
            with api.changed:
                assert api.changed.wait_for(lambda: there(api) == {"plus", "line"}, 30)
            process.send_signal(signal.SIGINT)
            printed, told = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, printed) == (130, "")
    assert "Stopped; applied so far: SeldonDeployment line" in told
    assert "deploy again to continue, or undeploy" in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--to", "kubernetes", "--docker"), "--docker needs --to here"),
        (("--to=kubernetes", "--stale", "save"), "--stale needs --to here"),
        (("-n", "production"), "-n needs --to kubernetes"),
        (("--platform", "kserve"), "--platform needs --to kubernetes"),
        (("--to", "kubernetes", "--dcker"), "--dcker"),
        (("--to", "moon"), "'moon' is not one of 'here', 'kubernetes'"),
        (("--to", "here", "--to=kubernetes", "--docker"), "--docker needs --to here"),
        (("--to", "kubernetes", "--to", "here", "-n", "x"), "-n needs --to kubernetes"),
        (("--to", "kubernetes", "--", "--docker"), "unexpected extra argument (--docker)"),
    ],
)
def test_options_of_the_other_target_are_refused_by_name(words: Any, told: str) -> None:
    code, printed, said = run("deploy", TARGET, *words)
    assert (code, printed) == (2, "")
    assert told in said


@pytest.mark.parametrize(
    ("states", "expected", "told"),
    [
        ((STATES[0], STATES[0]), 0, []),
        ((STATES[0], STATES[1]), 3, ["line is not ready: it is being created"]),
        (
            (STATES[1], STATES[2]),
            3,
            ["plus is not ready: it is being created", "line has failed: it rains"],
        ),
    ],
)
def test_status_shows_each_model_and_why_it_is_not_ready(
    api: ApiServer, states: Any, expected: int, told: list[str]
) -> None:
    deployed(api, *states)
    code, printed, said = command("status", "plus", *HERE)
    assert (code, said) == (expected, "")
    heading, first, second, *more = printed.splitlines()
    assert heading.split() == ["model", "state", "address"]
    assert [first.split()[0], second.split()[0]] == ["plus", "line"]
    assert first.split()[2] == f"{AT.format('plus')}/v2/models/plus"
    assert more[1:] == told
    code, printed, said = command("status", "plus", *HERE, "--json")
    assert (code, said) == (expected, "")
    found = json.loads(printed)
    assert [each["name"] for each in found] == ["plus", "line"]
    assert set(found[0]) == {"name", "state", "reason", "url", "headers"}


def test_a_file_of_options_leads_each_command_to_its_platform(
    api: ApiServer, tmp_path: Path
) -> None:
    file = tmp_path / "production.yaml"
    file.write_text("platform: kserve\nnamespace: production\n")
    put(api, "plus", "inferenceservices", predictor={"minReplicas": 1})
    ready = [{"type": "Ready", "status": "True"}]
    api.state("inferenceservices", "plus", conditions=ready)
    labels = {"serving.kserve.io/inferenceservice": "plus"}
    api.pod("plus-predictor-7d-a", labels, conditions=ready)
    api.logs["plus-predictor-7d-a", "model"] = "one\n"
    at = "http://plus-predictor.production.svc.cluster.local/v2/models/plus"
    assert at in command("status", "plus", "-f", file)[1]
    assert command("wait", "plus", "-f", file)[0] == 0
    assert "plus" in command("list", "--options", file)[1]
    assert command("logs", "plus", "--options", file) == (0, "plus/a | one\n", "")
    code, _, told = command("status", "plus", "-f", file, "--platform", "seldon")
    assert (code, told[:40]) == (1, "Error: there is no SeldonDeployment plus")
    assert command("undeploy", "plus", "-f", file)[0] == 0
    assert ("inferenceservices", "plus") not in api.objects


def test_a_model_behind_the_mesh_is_shown_with_the_header_that_finds_it(api: ApiServer) -> None:
    put(api, "plus", "models")
    code, printed, _ = command("status", "plus", *HERE, "--platform", "seldon2", "--json")
    [found] = json.loads(printed)
    assert code == 3
    assert found["url"] == "http://seldon-mesh.production.svc.cluster.local/v2/models/plus"
    assert found["headers"] == {"seldon-model": "plus"}


@pytest.mark.parametrize("words", [("status",), ("wait",), ("logs",), ("undeploy",)])
def test_a_name_that_is_not_there_suggests_one_that_is(
    api: ApiServer, words: tuple[str, ...]
) -> None:
    deployed(api, STATES[0], STATES[0])
    start = "Error: there is no SeldonDeployment {} in production; "
    for name, remedy in (("pluss", "did you mean 'plus'?"), ("zzz", "there are: line, plus")):
        assert command(*words, name, *HERE) == (1, "", f"{start.format(name)}{remedy}\n")
    assert there(api) == {"plus", "line"}


def test_wait_ends_when_it_is_ready_or_says_why_it_is_not(api: ApiServer) -> None:
    deployed(api, STATES[0])
    assert command("wait", "plus", *HERE) == (0, "plus is ready\n", "")
    deployed(api, STATES[1])
    code, printed, told = command("wait", "plus", *HERE, "--timeout", "0.5")
    assert (code, printed) == (1, "")
    assert told == "Error: plus is not ready after 0.5 seconds: it is being created\n"
    deployed(api, STATES[2])
    assert command("wait", "plus", *HERE) == (1, "", "Error: plus has failed: it rains\n")


@pytest.mark.usefixtures("operator", "served")
def test_list_shows_what_is_deployed(api: ApiServer) -> None:
    assert command("list", *HERE) == (
        0,
        "Nothing is deployed in production (platform seldon)\n",
        "",
    )
    deploy_remote(plus(), options(), timeout=30)
    api.objects["seldondeployments", "line"]["metadata"]["annotations"][
        "seldon.io/tempo-artifact-digest"
    ] = f"sha256:{'a' * 64}"
    code, printed, told = command("list", *HERE)
    assert (code, told) == (0, "")
    assert [line.split() for line in printed.splitlines()] == [
        ["model", "state", "framework", "digest", "deployed", "with", "uri"],
        ["line", "ready", "sklearn", "sha256:aaaaaaaaaaaa", "plus", "s3://models/line"],
        ["plus", "ready", "tempo", "s3://models/plus"],
    ]
    [line, pipeline] = json.loads(command("list", *HERE, "--json")[1])
    assert line == {
        "name": "line",
        "framework": "sklearn",
        "state": "ready",
        "reason": "",
        "uri": "s3://models/line",
        "digest": f"sha256:{'a' * 64}",
        "deployed_with": ["plus"],
    }
    assert (pipeline["name"], pipeline["digest"]) == ("plus", None)


@pytest.mark.usefixtures("operator", "served")
def test_diff_shows_the_changes_and_ends_with_3_if_there_are_any(api: ApiServer) -> None:
    changed = ("--set", "replicas=2")
    deploy_remote(plus(), options(), timeout=30)
    before = api.version()
    assert command("diff", TARGET, *HERE) == (0, "", "")
    expected = diff(plus(), options(replicas=2))
    assert command("diff", TARGET, *HERE, *changed) == (3, expected, "")
    assert run("manifest", TARGET, *HERE, *changed, "--diff") == (0, expected, "")
    assert api.version() == before


def test_logs_begin_with_the_model_and_the_pod(api: ApiServer) -> None:
    deployed(api, STATES[0], STATES[0])
    put_pod(api, "plus", "a", "one\ntwo\x1b[2J\n")
    put_pod(api, "plus", "bc", "three\n")
    creating = {"waiting": {"reason": "ContainerCreating"}}
    put_pod(api, "line", "d", state=creating, ready=False)
    expected = "plus/a  | one\nplus/a  | two\\u001b[2J\nplus/bc | three\n"
    said = "line/d has not started (ContainerCreating)\n"
    assert command("logs", "plus", *HERE) == (0, expected, said)
    assert command("logs", "plus", *HERE, "--pod", "bc") == (0, "plus/bc | three\n", "")
    assert command("logs", "plus", *HERE, "--model", "line") == (0, "", said)
    code, _, told = command("logs", "plus", *HERE, "-f", "-p")
    assert (code, "leave out --previous or --follow" in told) == (2, True)


def test_a_deployment_without_pods_says_where_the_reason_is(api: ApiServer) -> None:
    deployed(api, STATES[1])
    told = "plus has no pods; `tempo-runtime kubernetes status plus -n production` says why\n"
    assert command("logs", "plus", *HERE) == (0, "", told)


def test_logs_whose_reader_goes_away_end_quietly(api: ApiServer) -> None:
    deployed(api, STATES[0])
    put_pod(api, "plus", "a", "a line\n" * 1000)
    words = [sys.executable, "-c", "from tempo_runtime.cli import main; main()"]
    words += ["kubernetes", "logs", "plus", *HERE, "--follow"]
    read, write = os.pipe()
    with subprocess.Popen(words, stdout=write, stderr=subprocess.PIPE, text=True) as process:
        os.close(write)
        assert os.read(read, 9) == b"plus/a | "
        os.close(read)
        put_pod(api, "plus", "a", "a line\n" * 2000)
        _, told = process.communicate(timeout=30)
    assert (process.returncode, told) == (1, "")


@pytest.mark.usefixtures("operator")
def test_undeploy_leaves_what_another_pipeline_needs_and_says_so(
    api: ApiServer, served: FakeModel
) -> None:
    api.services["other-default:9000"] = served.url
    deployed(api, STATES[0], STATES[0])
    line = api.objects["seldondeployments", "line"]
    line["metadata"]["labels"]["deployment.tempo-runtime/other"] = ""
    code, printed, told = command("undeploy", "line", *HERE)
    assert (code, printed) == (1, "")
    assert told == (
        "Error: line stays, because it was deployed with other and plus as well; to remove it, "
        "undeploy other and plus\n"
    )
    assert command("undeploy", "plus", *HERE) == (0, "Undeployed SeldonDeployment plus\n", "")
    assert there(api) == {"line"}


def test_undeploy_of_all_asks_and_leaves_what_is_not_ours(api: ApiServer) -> None:
    deployed(api, STATES[0], STATES[0])
    api.put("seldondeployments", {"metadata": {"name": "foreign"}})
    code, _, told = command("undeploy", "--all", *HERE)
    assert (code, "standard input is not a terminal; add --yes" in told) == (2, True)
    assert command("undeploy", *HERE)[0] == 2
    code, printed, told = command("undeploy", "--all", "-y", *HERE)
    assert (code, told) == (0, "")
    assert printed == "Undeployed SeldonDeployment plus, SeldonDeployment line\n"
    assert there(api) == {"foreign"}
    assert command("undeploy", "--all", "-y", *HERE)[1] == (
        "Nothing is deployed in production (platform seldon)\n"
    )
    code, _, told = command("undeploy", "foreign", *HERE)
    assert (code, "belongs to someone else and was not deployed by tempo-runtime" in told) == (
        1,
        True,
    )


def test_the_remains_of_an_interrupted_deployment_are_undeployed_by_name(api: ApiServer) -> None:
    put(api, "line")
    code, printed, told = command("undeploy", "plus", *HERE)
    assert (code, printed, told) == (0, "Undeployed SeldonDeployment line\n", "")


@pytest.mark.parametrize("words", [("status", "plus"), ("list",), ("diff", TARGET)])
def test_a_failed_connection_to_the_cluster_is_explained(
    kubeconfig: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, printed, told = command(*words, *HERE)
    assert (code, printed) == (1, "")
    assert told.startswith(f"Error: the kubeconfig {kubeconfig} has no usable cluster")
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    code, _, told = command(*words, *HERE)
    assert (code, extras.command("k8s") in told) == (1, True)


def test_names_are_completed_by_the_cluster(api: ApiServer) -> None:
    deployed(api, STATES[0], STATES[0])
    from tempo_runtime.cli.commands.kubernetes.status import status

    for words, found in ((["-n", "production"], ["plus"]), ([], ["plus"])):
        context = status.make_context("status", [*words], resilient_parsing=True)
        items = complete_models(context, status.params[0], "pl")
        assert [each.value for each in items] == found


def test_names_are_not_completed_without_a_cluster(kubeconfig: Path) -> None:
    from tempo_runtime.cli.commands.kubernetes.status import status

    context = status.make_context("status", [], resilient_parsing=True)
    assert complete_models(context, status.params[0], "pl") == []


@pytest.mark.usefixtures("operator", "served")
@pytest.mark.parametrize("words", [("-n", "production"), ("--set", "namespace=production")])
def test_the_printed_lines_lead_to_the_namespace_however_it_was_given(
    api: ApiServer, words: tuple[str, ...]
) -> None:
    printed = command("deploy", TARGET, *words)[1]
    assert "\ntempo-runtime kubernetes status plus -n production\n" in printed


@pytest.mark.parametrize("seconds", ["nan", "inf", "1e300"])
def test_a_timeout_that_no_thread_can_wait_for_is_refused(api: ApiServer, seconds: str) -> None:
    deployed(api, STATES[1])
    code, printed, told = command("wait", "plus", *HERE, "--timeout", seconds)
    assert (code, printed) == (2, "")
    assert "is not a number of seconds up to a year (31536000)" in told


@pytest.mark.parametrize("name", ["", "../plus", "Plus"])
def test_undeploy_asks_for_no_name_that_is_not_valid(api: ApiServer, name: str) -> None:
    code, _, told = command("undeploy", name, *HERE)
    assert (code, f"{name!r} is not a valid model name" in told) == (1, True)
    assert not api.requests


def test_undeploy_takes_names_or_all_of_them() -> None:
    code, _, told = command("undeploy", "plus", "--all")
    assert (code, "give names or --all, not both" in told) == (2, True)


def test_a_second_file_of_options_is_refused_and_not_ignored(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.touch()
    second.touch()
    code, _, told = command("list", "-f", first, "-f", second)
    assert (code, "--options names one file; put all options into it" in told) == (2, True)


def test_logs_without_previous_servers_say_so(api: ApiServer) -> None:
    deployed(api, STATES[0])
    put_pod(api, "plus", "a", "one\n")
    told = "no server of plus ran before the current ones\n"
    assert command("logs", "plus", *HERE, "--previous") == (0, "", told)
