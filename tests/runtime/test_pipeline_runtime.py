"""TempoPipelineRuntime in a real MLServer."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from tempo_runtime import model, save
from tempo_runtime.authoring.decorators import describe
from tempo_runtime.protocol.binding import decode_results, encode_arguments
from tempo_runtime.protocol.messages import Request, request_to_json, response_from_json
from tempo_runtime.testing import Server, ServerFailed, serve
from tests.helpers import pipelines

pytestmark = pytest.mark.traced


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One artifact a pipeline, each child in the folder beside."""
    root = tmp_path_factory.mktemp("artifacts")
    for target in pipelines.ALL:
        save(target, str(root / describe(target).details.name))
    for settings in root.glob("*/model-settings.json"):
        content = json.loads(settings.read_text())
        children = json.loads((settings.parent / "tempo.json").read_text())["children"]
        content["parameters"]["extra"] = {
            "timeout": "30",
            "models": {
                alias: {"transport": "http", "uri": f"../{child['name']}"}
                for alias, child in children.items()
            },
        }
        settings.write_text(json.dumps(content))
    return root


@pytest.fixture(scope="module", params=[0, 1, 2], ids=lambda workers: f"workers={workers}")
def server(request: pytest.FixtureRequest, artifacts: Path) -> Iterator[Server]:
    with serve(artifacts, settings={"parallel_workers": request.param}) as server:
        server.workers = request.param  # type: ignore[attr-defined]
        yield server


def save_adder(folder: Path, number: int) -> None:
    @model("adder")
    def adder(x: int) -> int:
        return x + number

    save(adder, str(folder))


@dataclass(frozen=True)
class Apart:
    """A server whose models tests unload and load, and the folder of the one that adds 1."""

    server: Server
    adder: Path


@pytest.fixture(scope="module")
def apart(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    adder = tmp_path_factory.mktemp("apart") / "adder"
    save_adder(adder, 1)
    with serve(artifacts / "waiter", artifacts / "count-up", adder) as server:
        yield Apart(server, adder)


def stream(server: Server, model: str, **arguments: Any) -> list[Any]:
    body = request_to_json(Request(encode_arguments(None, (), arguments)))
    headers = {"content-type": "application/json"}
    url = f"{server.url}/v2/models/{model}/infer_stream"
    with httpx.stream("POST", url, content=body, headers=headers, timeout=60) as answer:
        events = [line[6:] for line in answer.iter_lines() if line.startswith("data: ")]
    responses = [response_from_json(event.encode()) for event in events]
    return [decode_results(None, found.tensors) for found in responses]


VALUES: dict[str, Any] = {
    "rank 0": np.float64(2.5),
    "rank 1": np.arange(3),
    "rank 2 of one column": np.ones((3, 1)),
    "rank 3": np.zeros((2, 1, 2), np.float32),
    "empty": np.zeros((0, 4), np.int16),
    "not finite": np.array([np.inf, -np.inf, np.nan]),
    "booleans": np.array([True, False]),
    "float16": np.array([1.5], np.float16),
    "large": np.array([2**64 - 1], np.uint64),
    "text": "käse",
    "texts": ["a", "", "ü"],
    "bytes": b"\xff\x00",
    "a list": [1, "a", None],
    "a dict": {"a": [1.5, float("inf")], "b": 2**70},
}


@pytest.mark.parametrize("case", VALUES)
def test_a_value_comes_back_as_it_went(case: str, server: Server) -> None:
    value = VALUES[case]
    found = server.infer("echo", x=value)
    if isinstance(value, np.ndarray | np.generic):
        assert found.dtype == value.dtype
        np.testing.assert_array_equal(found, value)
        assert found.shape == value.shape
    else:
        assert (type(found), found) == (type(value), value)


def test_several_outputs_keep_their_order_and_types(server: Server) -> None:
    array, dtype, rank = server.infer("shapes", x=np.ones((1, 2), np.float32))
    assert (array.shape, dtype, rank) == ((1, 2), "float32", 2)


def test_pydantic_models_come_in_and_go_out(server: Server) -> None:
    orders = [{"item": "tea", "amount": 2}, {"item": "cake"}]
    assert server.infer("bill", orders=orders)["total"] == 6.0
    assert server.infer("bill", orders=orders, price=3.0)["total"] == 9.0


def test_a_wrong_field_of_a_pydantic_model_is_named(server: Server) -> None:
    tensors = encode_arguments(None, (), {"orders": [{"item": "tea", "amount": "two"}]})
    answer = server.post("bill", request_to_json(Request(tensors)))
    assert answer.status_code == 422
    assert "'orders.0.amount'" in answer.json()["error"]


def test_a_data_frame_comes_in_as_columns_and_goes_out_as_one(server: Server) -> None:
    frame = pd.DataFrame({"n": [1, 2], "who": ["a", "b"]})
    columns = encode_arguments(None, (frame,), {})
    answer = server.post("frames", request_to_json(Request(columns, parameters={"factor": 10})))
    found = response_from_json(answer.content)
    pd.testing.assert_frame_equal(
        decode_results(None, found.tensors, found.content_type), frame.assign(n=[10, 20])
    )


def test_the_load_method_runs_once_and_predict_off_the_main_thread(server: Server) -> None:
    for _ in range(2):
        found = server.infer("counter")
        assert (found["loads"], found["main_thread"]) == (1, False)
        assert Path(found["folder"]).name == "counter"


def test_children_over_http_are_called_sync_async_and_nested(server: Server) -> None:
    x = np.arange(3.0)
    np.testing.assert_array_equal(server.infer("sync-parent", x), 2 * x + 1)
    np.testing.assert_array_equal(server.infer("async-parent", x), 4 * x)
    np.testing.assert_array_equal(server.infer("grandparent", x), 6 * x + 1)


def test_children_in_the_same_process_give_the_same(artifacts: Path) -> None:
    x = np.arange(3.0)
    aliases = ("PARENT", "APARENT", "DOUBLE", "OTHER")  # also those of the pipelines inside
    env = {f"TEMPO_RUNTIME_MODELS__{alias}__TRANSPORT": "in_process" for alias in aliases}
    with serve(artifacts / "grandparent", env=env) as server:
        assert server.models == ["grandparent"]
        found = server.infer("grandparent", x)
    assert found.dtype == x.dtype
    np.testing.assert_array_equal(found, 6 * x + 1)


@pytest.mark.parametrize("model", ["count-up", "acount-up"])
def test_a_generator_streams(model: str, server: Server) -> None:
    assert [item.item() for item in stream(server, model, to=3)] == [1, 2, 3]


@pytest.mark.parametrize("model", ["count-up", "acount-up"])
def test_a_generator_asked_for_one_answer_gives_its_last(model: str, server: Server) -> None:
    assert server.infer(model, to=5) == 5


def test_a_failing_pipeline_is_500_with_its_error_and_no_traceback(server: Server) -> None:
    answer = server.post("broken", request_to_json(Request(encode_arguments(None, ("value",), {}))))
    assert answer.status_code == 500
    said = answer.json()["error"]
    assert "pipeline 'broken'" in said
    assert "ValueError: this is wrong" in said
    assert "Traceback" not in answer.text
    assert "this is wrong" in server.log()


def test_the_loop_is_free_while_a_sync_pipeline_works(server: Server, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(4) as clients:
        waiting = [clients.submit(server.infer, "waiter", str(gate)) for _ in range(3)]
        np.testing.assert_array_equal(server.infer("double", np.ones(1)), [2.0])
        assert server.http.get("/v2/health/live").status_code == 200
        assert not any(each.done() for each in waiting)
        gate.touch()
        assert [each.result() for each in waiting] == ["done"] * 3


def test_a_sync_pipeline_stops_at_its_next_child_call_when_its_time_is_up(
    server: Server, tmp_path: Path
) -> None:
    gates = [tmp_path / "first", tmp_path / "second"]
    body = Request(
        encode_arguments(None, ([str(gate) for gate in gates],), {}),
        parameters={"tempo_timeout": 0.3},
    )
    answer = server.post("patient", request_to_json(body))
    assert answer.status_code == 504
    assert "0.3 s" in answer.json()["error"]
    gates[0].touch()
    assert server.infer("waiter", str(gates[0])) == "done"
    assert gates[0].read_text() == ""  # the pipeline did not go on after its first call


def test_a_seed_in_the_request_makes_numpy_s_global_generator_repeat(server: Server) -> None:
    def roll(**parameters: Any) -> list[int]:
        body = Request(encode_arguments(None, (), {"n": 5}), parameters=parameters)
        answer = server.post("dice", request_to_json(body))
        return list(answer.json()["outputs"][0]["data"])

    expected = np.random.RandomState(3).randint(0, 1_000_000, 5).tolist()
    with ThreadPoolExecutor(4) as clients:
        rolls = list(clients.map(lambda _: roll(tempo_seed=3), range(8)))
    assert rolls == [expected] * 8
    assert roll() != roll()


def test_metadata_is_the_signature(server: Server) -> None:
    found = server.http.get("/v2/models/bill").json()
    assert found["platform"] == "tempo"
    assert [tensor["name"] for tensor in found["inputs"]] == ["orders", "price"]
    assert found["inputs"][1]["parameters"]["optional"] is True


def test_unloading_waits_for_the_request_that_runs(apart: Apart, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    server = apart.server
    with ThreadPoolExecutor(2) as clients:
        answer = clients.submit(server.infer, "waiter", str(gate))
        while not Path(f"{gate}.called").exists():
            time.sleep(0.01)
        unload = clients.submit(server.http.post, "/v2/repository/models/waiter/unload")
        gate.touch()
        assert answer.result() == "done"
        assert unload.result().status_code == 200


def test_reloading_serves_what_was_saved_again(apart: Apart) -> None:
    assert apart.server.infer("adder", 1) == 2
    save_adder(apart.adder, 10)
    assert apart.server.http.post("/v2/repository/models/adder/load").status_code == 200
    assert apart.server.infer("adder", 1) == 11


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"max_batch_size": 5, "max_batch_time": 0.1}, "adaptive batching"),
        ({"cache_enabled": True}, "response cache"),
    ],
)
def test_settings_that_would_mix_up_requests_are_refused(
    more: dict[str, Any], told: str, tmp_path: Path
) -> None:
    save(pipelines.double, str(tmp_path / "double"))
    settings = tmp_path / "double" / "model-settings.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | more))
    with pytest.raises(ServerFailed, match=told), serve(tmp_path / "double"):
        pass


def test_a_stream_that_fails_says_why_in_its_last_event(server: Server) -> None:
    url = f"{server.url}/v2/models/count-up/infer_stream"
    with httpx.stream("POST", url, json={"inputs": []}, timeout=30) as answer:
        [event] = [json.loads(line[6:]) for line in answer.iter_lines() if line]
    assert event["outputs"] == []
    assert event["parameters"]["status"] == 422
    assert "'to' is missing" in event["parameters"]["error"]


def test_a_stream_its_client_left_is_ended(apart: Apart) -> None:
    server = apart.server
    body = request_to_json(Request(encode_arguments(None, (10**9,), {})))
    headers = {"content-type": "application/json"}
    url = f"{server.url}/v2/models/count-up/infer_stream"
    with httpx.stream("POST", url, content=body, headers=headers) as answer:
        next(answer.iter_lines())
    # Unloading waits for requests that run, so it would not be done soon if this one still did.
    done = threading.Event()

    def unload() -> None:
        server.http.post("/v2/repository/models/count-up/unload", timeout=30)
        done.set()

    threading.Thread(target=unload, daemon=True).start()
    assert done.wait(9)
    assert "different Context" not in server.log()


# -- what JSON lacks -------------------------------------------------------------------------------


def posted(server: Server, data: str, tensor: dict[str, Any], **parameters: Any) -> httpx.Response:
    inputs = [
        {"name": "x", "shape": [1], "datatype": "BYTES", "data": [data], "parameters": tensor}
    ]
    return server.post("echo", {"inputs": inputs, "parameters": parameters})


def test_a_client_that_reads_tags_receives_them(server: Server) -> None:
    tags = {"content_type": "json", "tagged": True}
    answer = posted(server, '{"t": {"$tuple": [1, 2]}}', tags, tempo_tagged=True)
    [output] = answer.json()["outputs"]
    assert output["data"] == ['{"t":{"$tuple":[1,2]}}']
    assert output["parameters"] == tags


def test_a_value_that_needs_tags_is_refused_by_name_for_other_clients(
    server: Server,
) -> None:
    answer = posted(server, '{"t": {"$tuple": [1, 2]}}', {"content_type": "json", "tagged": True})
    assert answer.status_code == 500
    assert (
        "returned a result that cannot be sent: 'output-0': output-0['t'] is of type tuple, which plain"
        in answer.text
    )


def test_json_of_another_client_that_looks_tagged_is_what_it_says(server: Server) -> None:
    answer = posted(server, '{"$tuple": [1, 2]}', {"content_type": "json"})
    [output] = answer.json()["outputs"]
    assert output["data"] == ['{"$tuple":[1,2]}']
    assert "tagged" not in output["parameters"]


def test_the_parameter_that_asks_for_tags_is_not_an_argument(server: Server) -> None:
    x = {"name": "x", "shape": [2], "datatype": "FP64", "data": [1.0, 2.0]}
    answer = server.post("double", {"inputs": [x], "parameters": {"tempo_tagged": True}})
    assert answer.json()["outputs"][0]["data"] == [2.0, 4.0]
