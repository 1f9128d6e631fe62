"""`tempo-runtime serve`, with real servers."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tempo_runtime._util.http_request import request
from tempo_runtime._util.ports import reserved
from tempo_runtime.cli.doctor import facts
from tests.helpers.command_line import Serving
from tests.helpers.command_line import run as command
from tests.helpers.nested_pipeline import saved_shop

pytestmark = pytest.mark.traced

GOOD = """
from tempo_runtime import model, predictmethod

@model("flowers", local_folder="artifacts/flowers")
class Flowers:
    @predictmethod
    def predict(self, petals: int = 0) -> int:
        return 2
"""
TEMPO = [sys.executable, "-c", "from tempo_runtime.cli import main; main()"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_shop(tmp_path_factory.mktemp("shop"))


def test_its_curl_line_reaches_the_pipeline_and_its_children_and_ctrl_c_leaves_nothing(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Serving(tmp_path, str(shop), "--port", "0") as serving:
        serving.wait_for("Ctrl-C stops the server")
        printed = serving.printed()
        assert_the_doctor_knows(printed, monkeypatch)
        assert "prices: prices, same server" in printed
        assert "tax: tax, same server" in printed
        assert json.loads(ask(printed, "curl "))["outputs"][0]["data"] == [pytest.approx(9.0)]
        page = re.search(r"Open its page in a browser: (http://\S+/)$", printed, re.MULTILINE)
        assert page is not None
        assert request(page[1], 30).status == 200
        assert json.loads(ask(printed, "tempo-runtime predict ")) == pytest.approx(9.0)
        assert serving.stop(signal.SIGINT) == 130
        assert serving.left() == []
        assert list(serving.temporary.iterdir()) == []
        assert "Uvicorn running" not in serving.told()  # of the start
        assert "Shutting down" in serving.told()
        assert "Traceback" not in serving.told()


def assert_the_doctor_knows(printed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    http, grpc, metrics = map(int, re.findall(r"127\.0\.0\.1:(\d+)", printed)[:3])
    monkeypatch.setattr(facts, "PORTS", (http, grpc, metrics))
    _, found, _ = command("doctor", "--json")
    (ours,) = [finding for finding in json.loads(found) if str(http) in finding["check"]]
    assert ours["level"] == "ok"
    assert ours["found"].startswith("your server of shop, tax answers there")
    assert f"predict http://127.0.0.1:{http}/v2/models/shop" in ours["remedy"]
    if sys.platform == "linux":  # elsewhere the system does not say which process has a port
        assert ours["found"].endswith(f", and at {grpc}, {metrics}")
        assert "or kill " in ours["remedy"]


def test_in_process_it_serves_the_pipeline_only_and_sigterm_ends_it_in_order(
    shop: Path, tmp_path: Path
) -> None:
    arguments = (str(shop), "--port", "0", "--in-process", "--json", "--no-page")
    with Serving(tmp_path, *arguments) as serving:
        serving.wait_for("}\n}")
        found = json.loads(serving.printed())
        assert found["page"] is None
        assert request(found["url"], 30).status == 404
        assert found["models"] == {
            "shop": {"prices": "prices, in process", "tax": "tax, in process"}
        }
        assert serving.stop(signal.SIGTERM) == 0
        assert serving.left() == []
        assert list(serving.temporary.iterdir()) == []


def test_a_pipeline_of_a_module_that_was_edited_is_served_as_it_is_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.py").write_text(GOOD)
    assert subprocess.run([*TEMPO, "save", "good:Flowers"], capture_output=True).returncode == 0
    (tmp_path / "good.py").write_text(GOOD.replace("2", "3"))
    refused = subprocess.run(
        [*TEMPO, "serve", "good:Flowers", "--port", "0", "--stale", "refuse"], capture_output=True
    )
    assert refused.returncode == 1
    assert b"Error: good.py changed since artifacts/flowers was saved: save" in refused.stderr
    with Serving(tmp_path, "good:Flowers", "--port", "0") as serving:
        serving.wait_for("Ctrl-C stops the server")
        told = "good.py changed since artifacts/flowers was saved; saved it again"
        assert told in serving.told()
        printed = serving.printed()
        assert json.loads(ask(printed, "curl "))["outputs"][0]["data"] == [3]
        assert serving.stop(signal.SIGINT) == 130


def test_a_model_of_a_module_is_served_from_its_folder(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shop.parent)
    with Serving(tmp_path, "a_shop:prices", "--port", "0", "--json") as serving:
        serving.wait_for("}\n}")
        assert json.loads(serving.printed())["models"] == {"prices": {}}
        assert serving.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("good:flowrs", "module 'good' has no attribute 'flowrs'; did you mean 'Flowers'?"),
        ("good:Petals", "module 'good' has no attribute 'Petals'; it has Flowers"),
        ("god:Flowers", "there is no module 'god' here; did you mean 'good'?"),
        ("absent", "'absent' is neither a folder nor MODULE:NAME, such as shop:Shop"),
    ],
)
@pytest.mark.parametrize("verb", ["serve", "deploy", "save"])
def test_a_mistyped_name_is_reported_with_the_probable_one(
    verb: str, name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "good.py").write_text(GOOD)
    try:
        code, _, told = command(verb, name)
    finally:
        sys.modules.pop("good", None)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert code == 2
    assert said in told


def test_killed_at_once_it_leaves_no_process(shop: Path, tmp_path: Path) -> None:
    with Serving(tmp_path, str(shop.parent / "tax"), "--port", "0", "--json") as serving:
        serving.wait_for("}\n}")
        serving.stop(signal.SIGKILL)
        while serving.left():
            time.sleep(0.05)


def test_a_model_that_does_not_load_is_reported_and_exits_with_1(
    shop: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken").mkdir()
    settings = {"name": "broken", "implementation": "broken_code.Model"}
    (tmp_path / "broken/model-settings.json").write_text(json.dumps(settings))
    (tmp_path / "broken/broken_code.py").write_text(
        "from mlserver import MLModel\n\nclass Model(MLModel):\n"
        "    async def load(self):\n        raise RuntimeError('no such thing')\n"
    )
    with Serving(tmp_path, str(tmp_path / "broken"), "--port", "0") as serving:
        assert serving.process.wait() == 1
        told = serving.told()
        assert "Error: the server ended: broken: RuntimeError: no such thing at " in told
        assert "/broken/broken_code.py:5\n" in told
        assert serving.left() == []
        assert list(serving.temporary.iterdir()) == []


def test_a_taken_port_is_reported_with_the_process_that_has_it(shop: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, told = run(str(shop), "--port", str(port))
    assert code == 1
    assert f"port {port} of 127.0.0.1 is taken by process {os.getpid()} (" in told
    assert "choose another with --port" in told


def test_the_same_number_for_two_ports_is_refused(shop: Path) -> None:
    with reserved() as port:
        code, told = run(str(shop), "--port", str(port), "--grpc-port", str(port))
    assert code == 1
    assert f"port {port} of 127.0.0.1 was chosen for two of the server's ports" in told


def test_a_host_of_another_machine_is_reported(shop: Path) -> None:
    code, told = run(str(shop), "--host", "192.0.2.1")
    assert code == 1
    assert "192.0.2.1 cannot be listened on" in told


def test_no_workers_for_an_environment_is_refused_with_the_reason(tmp_path: Path) -> None:
    settings = {
        "name": "m",
        "implementation": "some.Model",
        "parameters": {"environment_tarball": "environment.tar.gz"},
    }
    (tmp_path / "model-settings.json").write_text(json.dumps(settings))
    (tmp_path / "environment.tar.gz").touch()
    code, told = run(str(tmp_path), "--workers", "0", "--port", "0")
    assert code == 1
    assert "m: an environment_tarball needs a parallel worker" in told


def test_its_help_shows_examples_line_by_line() -> None:
    _, printed, _ = command("serve", "--help")
    assert "\n      tempo-runtime serve artifacts/check\n" in printed


def ask(printed: str, start: str) -> str:
    """Runs the line that begins so."""
    line = next(line for line in printed.splitlines() if line.startswith(start))
    path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        line, shell=True, env={**os.environ, "PATH": path}, capture_output=True, check=True
    )
    return done.stdout.decode()


def run(*arguments: str) -> tuple[int, str]:
    before = signal.getsignal(signal.SIGTERM)
    try:
        code, _, told = command("serve", *arguments)
    finally:
        signal.signal(signal.SIGTERM, before)
    return code, told
