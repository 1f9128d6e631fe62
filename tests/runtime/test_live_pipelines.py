"""`GET /pipelines.json`: what the pipelines of real servers call, and their state."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tempo_runtime import __version__, save
from tempo_runtime.testing import FakeModel, Hang, Server, serve
from tests.helpers import pipelines
from tests.helpers.nested_pipeline import saved_shop
from tests.helpers.waiting import wait_until


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeModel]:
    with FakeModel("double", lambda x: x * 2) as fake:
        yield fake


@pytest.fixture(scope="module", params=[0, 1], ids=["no workers", "a worker"])
def server(
    request: pytest.FixtureRequest, fake: FakeModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("models")
    shop = saved_shop(root)
    save(pipelines.SyncParent, str(root / "parent"))
    model = {"implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": "."}}
    (root / "prices/model-settings.json").write_text(json.dumps({"name": "prices", **model}))
    extra = {"models": {"tax": {"transport": "http"}}}
    settings = json.loads((shop / "model-settings.json").read_text())
    settings["parameters"] = {**settings.get("parameters", {}), "extra": extra}
    (shop / "model-settings.json").write_text(json.dumps(settings))
    env = {
        "TEMPO_RUNTIME_PAGE": "true",
        "TEMPO_RUNTIME_MODELS__DOUBLE__URL": fake.url,
        "TEMPO_RUNTIME_UNAVAILABLE_TIMEOUT": "0",
    }
    workers = {"parallel_workers": request.param}
    folders = (shop, root / "tax", root / "parent", root / "prices")
    with serve(*folders, settings=workers, env=env, timeout=180) as server:
        yield server


def asked(server: Server) -> dict[str, Any]:
    answer = server.http.get("/pipelines.json")
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def node(server: Server, name: str, alias: str | None = None) -> dict[str, Any]:
    [pipeline] = [node for node in asked(server)["pipelines"] if node["name"] == name]
    nodes = [pipeline] if alias is None else pipeline["children"]
    [found] = [node for node in nodes if alias is None or node["alias"] == alias]
    return dict(found)


def test_it_lists_the_pipelines_by_name_and_the_other_models(server: Server) -> None:
    content = asked(server)
    assert content["version"] == __version__
    assert content["problem"] is None
    assert [pipeline["name"] for pipeline in content["pipelines"]] == ["shop", "sync-parent", "tax"]
    assert content["models"] == [{"name": "prices", "kind": "sklearn", "ready": True}]


def test_children_have_the_words_of_the_graph(server: Server, fake: FakeModel) -> None:
    ways = {child["alias"]: child["way"] for child in node(server, "shop")["children"]}
    assert ways == {"prices": "in process", "tax": "same server"}
    double = node(server, "sync-parent", "double")
    assert (double["kind"], double["way"]) == ("custom", fake.url)
    assert (double["breakers"], double["ready"]) == ({fake.url: "closed"}, True)


def test_calls_are_counted_for_the_pipeline_and_for_each_child(server: Server) -> None:
    before = node(server, "shop")["calls"]["outcomes"].get("ok", 0)
    server.infer("shop", np.array([[1.0, 2.0]]))
    calls = node(server, "shop")["calls"]
    assert calls["outcomes"]["ok"] == before + 1
    assert calls["running"] == 0
    assert 0 < calls["seconds"]["p50"] <= calls["seconds"]["p95"]
    for alias in ("prices", "tax"):
        assert node(server, "shop", alias)["calls"]["outcomes"]["ok"] == before + 1


def test_a_child_on_the_same_server_is_ready_if_that_model_is(server: Server) -> None:
    assert node(server, "shop", "tax")["ready"] is True
    assert server.http.post("/v2/repository/models/tax/unload").status_code == 200
    try:
        assert [one["name"] for one in asked(server)["pipelines"]] == ["shop", "sync-parent"]
        tax = node(server, "shop", "tax")
        assert (tax["ready"], tax["problem"]) == (False, "this server does not have the model tax")
    finally:
        assert server.http.post("/v2/repository/models/tax/load").status_code == 200
    assert node(server, "shop", "tax")["ready"] is True


def test_a_call_under_way_is_seen(server: Server, fake: FakeModel) -> None:
    fake.script(Hang())
    caller = threading.Thread(target=post, args=(server, "?tempo_timeout=20"))
    caller.start()
    try:
        wait_until(lambda: node(server, "sync-parent", "double")["calls"]["running"] == 1)
        assert node(server, "sync-parent")["calls"]["running"] == 1
    finally:
        fake.stop()
        fake.start()
        caller.join()


def test_a_child_that_is_down_is_not_ready_and_says_why(server: Server, fake: FakeModel) -> None:
    fake.stop()
    try:
        for breaker in ("closed", "open"):
            while node(server, "sync-parent", "double")["breakers"] != {fake.url: breaker}:
                assert post(server) == 503
            double = node(server, "sync-parent", "double")
            assert double["ready"] is False
            assert f"cannot be reached at {fake.url}" in double["problem"]
        assert double["calls"]["outcomes"]["ChildUnavailable"] > 0
        assert node(server, "sync-parent")["ready"] is True
    finally:
        fake.start()
    wait_until(lambda: post(server) == 200)
    assert node(server, "sync-parent", "double")["breakers"] == {fake.url: "closed"}


def post(server: Server, query: str = "") -> int:
    answer = server.http.post(f"/v2/models/sync-parent/predict{query}", json={"x": [1.0]})
    return int(answer.status_code)


def test_nobody_may_keep_it(server: Server) -> None:
    headers = server.http.get("/pipelines.json").headers
    assert headers["cache-control"] == "no-cache"
    assert headers["x-content-type-options"] == "nosniff"
    assert server.http.head("/pipelines.json").status_code == 200
