"""`tempo-runtime serve --reload`, with a real server."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tempo_runtime._util.http_request import request
from tempo_runtime.artifact import store
from tests.helpers.command_line import Serving
from tests.helpers.command_line import run as command
from tests.helpers.waiting import wait_until

TAX = """
from tempo_runtime import model

@model("tax", local_folder="artifacts/tax")
def tax(price: float) -> float:
    return price * 2
"""
SHOP = """
import prices
print("a module may print")
from tax import tax
from tempo_runtime import Children, PipelineModels, pipeline, predictmethod

@pipeline("shop", local_folder="artifacts/shop", models=PipelineModels(tax=tax))
class Shop:
    models: Children

    @predictmethod
    def predict(self, amount: float) -> float:
        return self.models.tax(amount * prices.PRICE)
"""
PRICES = "PRICE = {}\n"
TEMPO = [sys.executable, "-c", "from tempo_runtime.cli import main; main()"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "shop.py").write_text(SHOP)
    (folder / "prices.py").write_text(PRICES.format(1))
    (folder / "tax.py").write_text(TAX)
    for name in ("tax:tax", "shop:Shop"):
        done = subprocess.run([*TEMPO, "save", name], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def serving(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    monkeypatch.chdir(project)
    (project / "tax.py").write_text(TAX)
    (project / "prices.py").write_text(PRICES.format(1))
    with Serving(tmp_path, "shop:Shop", "--port", "0", "--reload") as server:
        server.wait_for("Ctrl-C stops the server")
        yield server
        assert server.stop(signal.SIGINT) == 130
        assert server.left() == []
        assert list(server.temporary.iterdir()) == []


def url(serving: Serving) -> str:
    found = re.search(r"ready at (http://\S+)", serving.printed())
    assert found is not None
    return f"{found[1]}/v2/models/shop/infer"


def ask(address: str) -> float:
    inputs = [{"name": "amount", "datatype": "FP64", "shape": [1], "data": [1]}]
    answer = request(address, 30, body=json.dumps({"inputs": inputs}).encode())
    assert answer.status == 200, answer.body
    return float(json.loads(answer.body)["outputs"][0]["data"][0])


def problem(address: str) -> str | None:
    """Return what the page says about the last change."""
    answer = request(address.replace("/v2/models/shop/infer", "/pipelines.json"), 30)
    assert answer.status == 200, answer.body
    text: str | None = json.loads(answer.body)["problem"]
    return text


def wait_for(serving: Serving, words: str) -> None:
    try:
        wait_until(lambda: words in serving.told(), 60)
    except AssertionError:
        raise AssertionError(serving.told()) from None


def test_an_edit_of_a_module_that_the_pipeline_imports_is_served(
    serving: Serving, project: Path
) -> None:
    address = url(serving)
    assert ask(address) == 2
    (project / "prices.py").write_text(PRICES.format(3))
    wait_for(serving, "prices.py changed: reloaded shop in")
    assert ask(address) == 6


def test_the_access_log_goes_on_after_a_reload(serving: Serving, project: Path) -> None:
    address = url(serving)
    (project / "prices.py").write_text(PRICES.format(4))
    wait_for(serving, "prices.py changed: reloaded shop in")
    before = serving.told().count("id=")
    ask(address)
    wait_until(lambda: serving.told().count("id=") > before, 30)


def test_a_mistake_in_a_declaration_keeps_the_version_that_serves(
    serving: Serving, project: Path
) -> None:
    address = url(serving)
    more = SHOP.replace("tax=tax)", 'tax=tax, other=Model("other", local_folder="none"))')
    (project / "shop.py").write_text(more.replace("import Children", "import Children, Model"))
    wait_for(serving, "The server keeps the version that it has.")
    assert ask(address) == 2
    assert "cannot locate child 'other'" in str(problem(address))
    (project / "shop.py").write_text(SHOP)
    wait_until(lambda: problem(address) is None)


def test_an_edit_of_a_child_reloads_what_it_changes(serving: Serving, project: Path) -> None:
    address = url(serving)
    assert ask(address) == 2
    (project / "tax.py").write_text(TAX.replace("price * 2", "price * 5"))
    wait_for(serving, "tax.py changed: reloaded shop, tax in")
    assert ask(address) == 5


def test_nothing_is_lost_through_ten_changes_of_which_one_is_broken(
    serving: Serving, project: Path
) -> None:
    """1,000 calls by four clients, of which each answer is that of a version that was saved."""
    address = url(serving)
    answers: list[float] = []
    failures: list[object] = []
    changed = threading.Event()

    def call() -> None:
        count = 0
        while count < 250 or not changed.is_set():
            count += 1
            try:
                answers.append(ask(address))
            except Exception as error:
                failures.append(error)

    clients = [threading.Thread(target=call) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        for number in range(2, 11):
            (project / "prices.py").write_text(PRICES.format(number))
            wait_until(lambda n=number: 2 * n in answers[-20:], 60)  # type: ignore[misc]
            if number == 5:
                (project / "prices.py").write_text("PRICE = = 1\n")
                wait_for(serving, "The server keeps the version that it has.")
                assert "prices.py" in serving.told()
    finally:
        changed.set()
        for client in clients:
            client.join()
    assert failures == []
    assert len(answers) >= 1000
    assert set(answers) <= {2.0 * number for number in range(1, 11)}
    assert ask(address) == 20


def test_it_needs_a_module(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    code, _, told = command("serve", "artifacts/shop", "--reload")
    assert code == 2
    assert "give MODULE:NAME" in " ".join(told.split())


def test_it_cannot_refuse_changes_as_well(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    code, _, told = command("serve", "shop:Shop", "--reload", "--stale", "refuse")
    assert code == 2
    assert "--stale refuse refuses it" in " ".join(told.split())


def test_a_server_that_demands_signatures_does_not_reload(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    digests = ",".join(
        store.read_description(str(project / "artifacts" / name)).digest for name in ("shop", "tax")
    )
    monkeypatch.setenv("TEMPO_RUNTIME_EXPECTED_DIGEST", digests)
    code, _, told = command("serve", "shop:Shop", "--reload")
    assert code == 2
    assert "which changes the digests that are demanded" in " ".join(told.split())
